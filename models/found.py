"""What a network without a label map has found in a volume: boxes with scores, or probabilities. Plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Index = tuple[float, float, float]

#: a thousandth of a voxel, a hundredth of a per cent: what is said of two runs is equal where these are
PLACE_DIGITS, SCORE_DIGITS = 4, 4


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box of a detector.

    Attributes:
        value: its label.
        score: 0 ... 1.
        low, high: corners (column, row, slice) on the grid of the images, as indices: a voxel's centre is whole.
    """

    value: int
    score: float
    low: Index
    high: Index

    @classmethod
    def at(cls, value: int, score: float, low: Sequence[float], high: Sequence[float]) -> Box:
        """With numbers in as many digits as are said of it."""
        first, last = (tuple(round(float(part), PLACE_DIGITS) + 0.0 for part in corner) for corner in (low, high))
        return cls(
            value=value,
            score=round(float(score), SCORE_DIGITS),
            low=(first[0], first[1], first[2]),
            high=(last[0], last[1], last[2]),
        )


@dataclass(frozen=True, kw_only=True)
class Probability:
    """What a classifier says of one finding.

    Attributes:
        value: its output channel.
        probability: 0 ... 1; of several images, the highest.
        slice: the image that has it; None where it is of a volume.
    """

    value: int
    probability: float
    slice: int | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """All of it.

    Attributes:
        boxes: the highest score first.
        left_out: boxes that reach the threshold, beyond the most that the card wants.
        probabilities: in the order of the card's findings.
    """

    boxes: tuple[Box, ...] = ()
    left_out: int = 0
    probabilities: tuple[Probability, ...] = ()

    def message(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Found:
        """From what `message` gave."""
        boxes = (Box.at(one["value"], one["score"], one["low"], one["high"]) for one in message["boxes"])
        probabilities = (Probability(**one) for one in message["probabilities"])
        return cls(boxes=tuple(boxes), left_out=int(message["left_out"]), probabilities=tuple(probabilities))

    @property
    def sha256(self) -> str:
        """The hash of what was found."""
        return hashlib.sha256(json.dumps(self.message(), sort_keys=True).encode()).hexdigest()
