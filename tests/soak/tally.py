"""What a fault came to, counted."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Tally:
    """Counts of one fault; the four that must stay 0 come first.

    Attributes:
        lost: instances whose sender was told Success, and that are not stored, or not as they were sent.
        partial: stored or delivered objects that are not whole.
        duplicates: results that a destination holds twice with different content, or jobs too many.
        missing: results that no destination has, or studies without an end.
        trials: how often the fault was made.
        acknowledged: instances that the oracle looked at.
        delivered: result objects that it looked at.
        recoveries: seconds from each fault until the node served again.
        figures: what else is worth telling on the page, by its name; counts are added up.
        complaints: what went wrong, in words; empty where all went well.
    """

    lost: int = 0
    partial: int = 0
    duplicates: int = 0
    missing: int = 0
    trials: int = 0
    acknowledged: int = 0
    delivered: int = 0
    recoveries: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.partial or self.duplicates or self.missing or self.complaints)

    def add(self, other: Tally) -> None:
        """Take in what another trial of the same fault came to."""
        for name in ("lost", "partial", "duplicates", "missing", "trials", "acknowledged", "delivered"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.recoveries += other.recoveries
        self.complaints += other.complaints
        for name, value in other.figures.items():
            known = self.figures.get(name, 0)
            self.figures[name] = known + value if isinstance(value, int) and isinstance(known, int) else value

    def recovery(self, share: float = 0.95) -> float | None:
        """Seconds within which this share of the faults was over; None where none was timed."""
        if not self.recoveries:
            return None
        return sorted(self.recoveries)[max(0, math.ceil(share * len(self.recoveries)) - 1)]

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"recovery_p50": self.recovery(0.5), "recovery_p95": self.recovery(0.95)}


@dataclass(frozen=True)
class Trials:
    """What a fault is given.

    Attributes:
        folder: empty, its own; removed after a clean end.
        count: how many trials.
        random: seeded; whatever is drawn is drawn from it.
        step: to be called after each trial, for the progress bar.
        stopped: set when a person has had enough: end after this trial.
    """

    folder: Path
    count: int
    random: random.Random
    step: Callable[[], None]
    stopped: threading.Event


@dataclass(frozen=True)
class Fault:
    """One line of the plan.

    Attributes:
        name: as in `python -P -m tests.soak NAME`.
        ids: its lines in the fault plan, F1 to F13.
        what: in a sentence, for docs/reliability.md.
        run: makes it, and asks the oracle.
        long, short: trials of `make soak`, and of `--short`.
        tests: what shows it in CI, as pytest names them.
        needs: programs without which it cannot be made.
    """

    name: str
    ids: tuple[str, ...]
    what: str
    run: Callable[[Trials], Tally]
    long: int
    short: int
    tests: Sequence[str] = ()
    needs: Sequence[str] = ()
