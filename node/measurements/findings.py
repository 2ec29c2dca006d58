"""What a detector's boxes and a classifier's probabilities come to: sizes and places in the patient, doubts.

Sizes of a box go along the images: its width along their rows, its height along their columns, its depth through them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from models.card import Card
from models.finding_rules import Finding
from models.found import Box, Found, Probability

from ..study.geometry import Geometry
from .quality import Sureness, flags
from .values import Flag

Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Detected:
    """One box.

    Attributes:
        finding: what it is, by the card.
        number: from 1 within its finding, the highest score first.
        score: 0 ... 1.
        size_mm: width, height, depth.
        centre_mm: in patient coordinates (LPS).
        slice: index of the slice that its centre is nearest to.
        slices: of the first and the last slice that it meets.
        low, high: corners (column, row) in that slice, in the coordinates of PS3.3 C.18.6.1.1: the outer corner of the
            first pixel is (0, 0), its centre (0.5, 0.5).
    """

    finding: Finding
    number: int
    score: float
    size_mm: Point
    centre_mm: Point
    slice: int
    slices: tuple[int, int]
    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def outline(self) -> tuple[tuple[float, float], ...]:
        """Its rectangle, closed."""
        (left, top), (right, bottom) = self.low, self.high
        return (left, top), (right, top), (right, bottom), (left, bottom), (left, top)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a classifier says of one finding.

    Attributes:
        probability: 0 ... 1.
        present: whether it reaches the card's threshold.
        slice: of the image that has it; None where it is of a volume.
    """

    finding: Finding
    probability: float
    present: bool
    slice: int | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All of one run.

    Attributes:
        boxes: by the card's findings, and the highest score first.
        absent: findings that a detector looked for, and has no box of.
        judged: in the order of the card.
        left_out: boxes beyond the most that the card wants.
    """

    boxes: tuple[Detected, ...] = ()
    absent: tuple[Finding, ...] = ()
    judged: tuple[Judged, ...] = ()
    left_out: int = 0


def findings(found: Found, card: Card, geometry: Geometry) -> Findings:
    """Measure what was found.

    Args:
        geometry: of the images that it was found in.
    """
    by_value = {one.value: one for one in found.probabilities}
    of_each = {one.value: [box for box in found.boxes if box.value == one.value] for one in card.finding}
    boxes = [
        _detected(box, one, number, geometry)
        for one in card.finding
        for number, box in enumerate(of_each[one.value], 1)
    ]
    return Findings(
        boxes=tuple(boxes),
        absent=tuple(one for one in card.finding if card.boxes is not None and not of_each[one.value]),
        judged=tuple(_judged(by_value[one.value], one) for one in card.finding if one.value in by_value),
        left_out=found.left_out,
    )


def _detected(box: Box, finding: Finding, number: int, geometry: Geometry) -> Detected:
    low, high = np.array(box.low), np.array(box.high)
    middle = (low + high) / 2
    last = geometry.shape[0] - 1
    first_slice, centre_slice, last_slice = (
        int(np.clip(np.floor(at + 0.5), 0, last)) for at in (low[2] + 1e-6, middle[2], high[2] - 1e-6)
    )
    width, height, depth = (np.linalg.norm(geometry.affine[:3, :3], axis=0) * (high - low)).tolist()
    x, y, z = (geometry.affine @ [*middle, 1])[:3].tolist()
    return Detected(
        finding=finding,
        number=number,
        score=box.score,
        size_mm=(width, height, depth),
        centre_mm=(x, y, z),
        slice=centre_slice,
        slices=(first_slice, last_slice),
        low=(float(low[0]) + 0.5, float(low[1]) + 0.5),
        high=(float(high[0]) + 0.5, float(high[1]) + 0.5),
    )


def _judged(one: Probability, finding: Finding) -> Judged:
    assert finding.present_from is not None
    present = one.probability >= finding.present_from
    return Judged(finding=finding, probability=one.probability, present=present, slice=one.slice)


def doubts(found: Findings, card: Card, header: Dataset, geometry: Geometry) -> tuple[Flag, ...]:
    """Scores between the thresholds of the card, boxes that were left out, an input unlike what it was trained on.

    Args:
        header: of the first slice.
    """
    of_result = (Flag(code=code, segment=None, sentence=sentence) for code, sentence in _of_result(found, card))
    return (*of_result, *flags((), card, header, geometry, Sureness()))


def _of_result(found: Findings, card: Card) -> Iterator[tuple[str, str]]:
    for box in found.boxes:
        if expected := _between(box.score, box.finding):
            yield "uncertain-score", f"{name_of(box)} has the score {percent(box.score)}; {expected} is uncertain"
    for one in found.judged:
        if expected := _between(one.probability, one.finding):
            said = f"{one.finding.label} has the probability {percent(one.probability)}"
            yield "uncertain-score", f"{said}; {expected} is uncertain"
    if found.left_out and card.boxes is not None:
        reported = card.boxes.maximum_boxes
        yield (
            "too-many-boxes",
            f"{reported + found.left_out} boxes reach the threshold; the {reported} with the highest scores are here",
        )


def _between(score: float, finding: Finding) -> str:
    if finding.doubtful is None or not finding.doubtful[0] <= score <= finding.doubtful[1]:
        return ""
    return f"{percent(finding.doubtful[0])} to {percent(finding.doubtful[1])}"


def name_of(box: Detected) -> str:
    """How a box is called in texts."""
    return f"{box.finding.label} {box.number}"


def percent(part: float) -> str:
    """As it is printed."""
    return f"{100 * part:.2f} %"


def records(found: Findings) -> list[dict[str, Any]]:
    """What is kept of a run."""
    boxes = [
        {
            "finding": one.finding.value,
            "label": one.finding.label,
            "number": one.number,
            "score": one.score,
            "size_mm": _kept(one.size_mm),
            "centre_mm": _kept(one.centre_mm),
        }
        for one in found.boxes
    ]
    judged = [
        {
            "finding": one.finding.value,
            "label": one.finding.label,
            "probability": one.probability,
            "present": one.present,
        }
        for one in found.judged
    ]
    absent = [{"finding": one.value, "label": one.label, "number": 0} for one in found.absent]
    return [*boxes, *absent, *judged]


def _kept(numbers: Sequence[float]) -> list[float]:
    return [round(number, 3) for number in numbers]
