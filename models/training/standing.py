"""Where a run stands: what is counted over all its starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .validation import Validated


@dataclass
class Standing:
    """Counts that a checkpoint keeps.

    Attributes:
        steps: optimisation steps done.
        epochs: whole epochs done.
        loss_sum, loss_count: of the present epoch.
        best: the best validation Dice; None before the first.
        best_epoch, best_at: the epoch and the step it was reached at.
        without_gain: validations since.
        validated_at: the step of the last validation; -1 before the first.
        by: what `best` is: "dice", or the bundle's metric.
        why_ended: "" while it goes on.
        seconds_before: of training, in earlier starts.
    """

    steps: int = 0
    epochs: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_at: int = -1
    without_gain: int = 0
    validated_at: int = -1
    by: str = "dice"
    why_ended: str = ""
    seconds_before: float = 0.0
    leaving: bool = field(default=False, metadata={"kept": False})
    last: Validated = field(default_factory=lambda: Validated(None, {}), metadata={"kept": False})
    begun: float = field(default=0.0, metadata={"kept": False})

    def begin(self) -> None:
        self.begun = time.monotonic()

    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.begun

    def add(self, loss: float) -> None:
        self.steps += 1
        self.loss_sum += loss
        self.loss_count += 1

    def close_epoch(self) -> float:
        """The mean loss of the epoch; the next one begins."""
        mean = self.loss_sum / max(1, self.loss_count)
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def validated(self, result: Validated, epoch: int) -> bool:
        """Take a validation in; whether it is the best so far. One in which no class could be measured never is."""
        self.last = result
        self.validated_at = self.steps
        self.by = result.by
        if result.dice is not None and (self.best is None or result.dice > self.best):
            self.best, self.best_epoch, self.best_at, self.without_gain = result.dice, epoch, self.steps, 0
            return True
        self.without_gain += 1
        return False

    def saved(self) -> dict[str, Any]:
        kept = (name for name, one in self.__dataclass_fields__.items() if one.metadata.get("kept", True))
        return {name: getattr(self, name) for name in kept} | {"seconds_before": self.seconds()}
