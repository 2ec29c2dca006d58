"""Validation while training: Dice of each class that was annotated, from the network's output, before anything else.

The bundle's own metric counts what nobody annotated as absent, may be computed after any post-processing, and is often
voxel accuracy; it is used only where the Dice cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

from .cases import ANNOTATED, CASE, LABEL

Measured = tuple[str, int, float]
"""case, label value, Dice"""


@dataclass(frozen=True)
class Validated:
    """What a validation gave.

    Attributes:
        dice: mean over the classes; None where no case has any of them and none was found.
        per_class: mean over the cases of each.
        by: "dice", or the name of the bundle's metric.
    """

    dice: float | None
    per_class: dict[int, float]
    by: str = "dice"


def dice_of(pred: torch.Tensor, label: torch.Tensor, value: int) -> float | None:
    """Dice of one class.

    Args:
        pred, label: label maps of the same shape.

    Returns:
        None where neither has it.
    """
    found, truth = pred == value, label == value
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else None


def mean_of(measured: list[Measured]) -> Validated:
    """The mean over classes of the mean over cases; each case counts once."""
    per_class: dict[int, dict[str, float]] = {}
    for case, value, dice in measured:
        per_class.setdefault(value, {})[case] = dice
    means = {value: sum(cases.values()) / len(cases) for value, cases in sorted(per_class.items())}
    return Validated(sum(means.values()) / len(means) if means else None, means)


class Validation:
    """Stands where a bundle has its ValidationHandler, with its arguments; validates after the last epoch too.

    Attributes:
        measure: runs the evaluator and makes of it what is to be made; to be set before training.
    """

    def __init__(
        self,
        interval: int = 1,
        validator: Any = None,
        epoch_level: bool = True,
        exec_at_start: bool = False,  # noqa: ARG002 - what it would tell is no result of this training
    ) -> None:
        self.interval = max(1, int(interval))
        self.validator = validator
        self.epoch_level = epoch_level
        self.measure: Callable[[], None] | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def due(self, engine: Engine) -> bool:
        """Whether it validates after this epoch."""
        state = engine.state
        every = self.interval if self.epoch_level else max(1, round(self.interval / state.epoch_length))
        return state.epoch % every == 0 or state.epoch == state.max_epochs

    def __call__(self, engine: Engine) -> None:
        if self.measure is not None and self.due(engine):
            self.measure()


class Measuring:
    """Takes the Dice of every case that the evaluator runs.

    Args:
        classes: label values, which are the channels of the network.
        leave: asked before each case; raises where validation is to be given up.
    """

    def __init__(self, evaluator: Any, classes: tuple[int, ...], leave: Callable[[], None]) -> None:
        self.evaluator = evaluator
        self.classes = classes
        self.measured: list[Measured] = []
        self.told = True
        evaluator.add_event_handler(Events.GET_BATCH_STARTED, lambda _: leave())
        evaluator.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._take)

    def run(self, epoch: int) -> list[Measured]:
        """Run the evaluator over its cases."""
        self.measured = []
        self.evaluator.run(epoch)
        return self.measured

    def instead(self) -> Validated | None:
        """The bundle's own metric, where the Dice could not be told; None where it has none."""
        name = self.evaluator.state.key_metric_name
        value = self.evaluator.state.metrics.get(name)
        return Validated(float(value), {}, name) if isinstance(value, int | float) else None

    def _take(self, engine: Any) -> None:
        batch, output = engine.state.batch, engine.state.output
        pred, label = output.get("pred"), output.get(LABEL)
        if not isinstance(pred, torch.Tensor) or not isinstance(label, torch.Tensor) or ANNOTATED not in batch:
            self.told = False
            return
        overlapping = label.shape[1] > 1 and bool((label.sum(1) > 1).any())
        maps, truths = pred.argmax(1), label[:, 0] if label.shape[1] == 1 else label.argmax(1)
        if overlapping or pred.shape[1] < 2 or maps.shape != truths.shape:
            self.told = False
            return
        for case, annotated, found, truth in zip(batch[CASE], batch[ANNOTATED], maps, truths, strict=True):
            for value in self.classes:
                dice = dice_of(found, truth, value) if annotated[value] else None
                if dice is not None:
                    self.measured.append((case, value, dice))
