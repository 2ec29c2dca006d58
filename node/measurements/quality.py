"""Doubts about a result, before anybody trusts it: what a person would see at a glance, and what a card expects.

A flag says what was found and what was expected, and never that the result is wrong. What the headers do not say, or
cannot be read there, is not judged. Numbers are judged as they are printed, so that no sentence contradicts itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from pydicom.dataset import Dataset

from models.card import Card, Segment

from ..study.facts import UNREADABLE, text
from ..study.geometry import Geometry
from .values import Flag, Measured

Range = tuple[float, float]

DIGITS = 4
#: the same study again, on another GPU, must say the same: the third digit of a mean entropy may differ there
ENTROPY_DIGITS = 2
#: the days of a year in each unit of PatientAge (PS3.5 6.2, VR AS)
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
#: nobody is older; who is, or is 0, has the age of a placeholder
OLDEST_YEARS = 130
CHILD_YEARS = 2
KERNEL_LETTERS = 64
#: the end of the scan in patient coordinates (LPS): negative and positive
TOWARDS = (("right", "left"), ("front", "back"), ("feet", "head"))
#: the axis of the affine that an end lies on, and its direction there
ENDS = {
    "first column": (0, -1),
    "last column": (0, 1),
    "first row": (1, -1),
    "last row": (1, 1),
    "first slice": (2, -1),
    "last slice": (2, 1),
}


@dataclass(frozen=True)
class Sureness:
    """How sure a network was, by label value; absent where it gives no probabilities.

    Attributes:
        entropy: mean entropy inside the segment, 0 (sure) ... 1 (guessing).
        confidence, disagreement: of several passes; absent where it was asked once.
    """

    entropy: Mapping[int, float] = field(default_factory=dict)
    confidence: Mapping[int, float] = field(default_factory=dict)
    disagreement: Mapping[int, float] = field(default_factory=dict)

    def record(self, value: int) -> dict[str, float]:
        """What is kept of one segment: plain JSON values."""
        known = {"entropy": self.entropy, "confidence": self.confidence, "disagreement": self.disagreement}
        return {name: of_each[value] for name, of_each in known.items() if value in of_each}


def flags(
    measured: Sequence[Measured], card: Card, header: Dataset, geometry: Geometry, sureness: Sureness
) -> tuple[Flag, ...]:
    """Everything to be doubted: segment by segment in the order of the card, then the input.

    An empty segment has one flag at most: that it is empty.

    Args:
        measured: of the segments of the card.
        header: of the first slice.
        geometry: of the volume or the images.
        sureness: of the network.
    """
    found: list[Flag] = []
    by_value = {one.value: one for one in measured}
    for segment in card.segment:
        if one := by_value.get(segment.value):
            for code, sentence in _of_segment(one, segment, geometry, sureness):
                found.append(Flag(code=code, segment=segment.value, sentence=sentence))
    of_input = (Flag(code="outside-training", segment=None, sentence=one) for one in _of_input(card, header, geometry))
    return (*found, *of_input)


def slice_thickness_mm(header: Dataset) -> float | None:
    """SliceThickness; None where it is absent or no thickness."""
    said = _text(header, "SliceThickness")
    try:
        thickness = float(said)
    except ValueError:
        return None
    return thickness if math.isfinite(thickness) and thickness > 0 else None


def age_years(header: Dataset) -> float | None:
    """The patient's age at the study; None where nobody can tell.

    It is PatientAge, else what lies between PatientBirthDate and StudyDate. From two years on it is in full years.
    """
    age = 0.0
    if said := re.fullmatch(r"(\d{1,3})([DWMY])", _text(header, "PatientAge"), re.IGNORECASE | re.ASCII):
        age = int(said[1]) / PER_YEAR[said[2].upper()]
    born, studied = (_date(header, keyword) for keyword in ("PatientBirthDate", "StudyDate"))
    if not age and born and studied:
        had_birthday = (studied.month, studied.day) >= (born.month, born.day)
        years = studied.year - born.year - (not had_birthday)
        age = years if years >= CHILD_YEARS else (studied - born).days / PER_YEAR["D"]
    return age if 0 < age <= OLDEST_YEARS else None


def _of_segment(one: Measured, segment: Segment, geometry: Geometry, sureness: Sureness) -> Iterator[tuple[str, str]]:
    """The codes and sentences of one segment."""
    name = segment.label
    if sentence := _implausible(one, segment):
        yield "volume-implausible", sentence
    if not one.voxels:
        return
    if one.touches and not segment.touches_edge:
        ends = ", ".join(_end(end, geometry) for end in one.touches)
        yield "touches-edge", f"{name} reaches the edge of the scan, where a part of it may lie outside: {ends}"
    most = segment.maximum_components
    if most is not None and one.components > most:
        yield "too-many-components", f"{name} is in {one.components} separate pieces; at most {most} expected"
    if doubts := "; ".join(_unsure(segment, sureness)):
        yield "low-confidence", f"The network was not sure of {name}: {doubts}"


def _unsure(segment: Segment, sureness: Sureness) -> Iterator[str]:
    """Where a network was less sure than its card expects, each by its measure."""
    value = segment.value
    for found, most, what, scale in (
        (sureness.entropy.get(value), segment.maximum_entropy, "mean entropy", "0 is sure, 1 is guessing"),
        (sureness.disagreement.get(value), segment.maximum_disagreement, "its passes disagree by", "0 is not at all"),
    ):
        if found is not None and most is not None and round(found, ENTROPY_DIGITS) > most:
            yield f"{what} {round(found, ENTROPY_DIGITS)}, at most {most} expected ({scale})"
    confidence, least = sureness.confidence.get(value), segment.minimum_confidence
    if confidence is not None and least is not None and round(confidence, ENTROPY_DIGITS) < least:
        yield f"confidence {round(confidence, ENTROPY_DIGITS)}, at least {least} expected (1 is sure)"


def _implausible(one: Measured, segment: Segment) -> str:
    expected = segment.plausible_ml
    if one.volume_ml is None or expected is None:
        return ""
    if not one.voxels:
        return f"{segment.label} was not found; {_range(expected, 'ml')} expected" if expected[0] else ""
    if not _is_outside(one.volume_ml, expected):
        return ""
    return f"The volume of {segment.label} is {_shown(one.volume_ml)} ml; {_range(expected, 'ml')} expected"


def _end(name: str, geometry: Geometry) -> str:
    """An end of the scan, and where in the patient it is: "first slice (feet)"."""
    if name not in ENDS or not geometry.in_patient:
        return name
    axis, sign = ENDS[name]
    direction = geometry.affine[:3, axis] * sign
    along = int(np.abs(direction).argmax())
    return f"{name} ({TOWARDS[along][int(direction[along] > 0)]})"


def _of_input(card: Card, header: Dataset, geometry: Geometry) -> Iterator[str]:
    """Sentences on an input that is not like what the network was trained on."""
    trained = card.trained_on
    between_pixels = np.linalg.norm(geometry.affine[:3, :2], axis=0) if geometry.is_calibrated else np.empty(0)
    step_mm = geometry.slice_step_mm if geometry.in_patient else None
    judged: list[tuple[str, float | None, Range | None, str]] = [
        *(
            ("The distance between pixels", float(spacing_mm), trained.pixel_spacing_mm, "mm")
            for spacing_mm in np.unique(between_pixels.round(DIGITS))
        ),
        ("The distance between slices", step_mm, trained.slice_spacing_mm, "mm"),
        ("The slice thickness", slice_thickness_mm(header), trained.slice_thickness_mm, "mm"),
        ("The patient's age", age_years(header), trained.age_years, "years"),
    ]
    for what, found, expected, unit in judged:
        if found is not None and expected is not None and _is_outside(found, expected):
            yield f"{what} is {_shown(found)} {unit}; the network was trained on {_range(expected, unit)}"
    if kernel := _unknown_kernel(header, trained.kernel):
        yield f"The reconstruction kernel is {kernel}, which the network was not trained on"


def _unknown_kernel(header: Dataset, patterns: Sequence[str]) -> str:
    """ConvolutionKernel, where no pattern is found in one of its values or in all of them together; else empty."""
    said = _text(header, "ConvolutionKernel")
    values = (said, *said.split("\\"))
    if not said or not patterns:
        return ""
    if any(re.search(pattern, value.strip(), re.IGNORECASE) for pattern in patterns for value in values):
        return ""
    # the sentence goes into reports, whatever a scanner wrote there
    return re.sub(r"[^ -~]", "?", said.replace("\\", " "))[:KERNEL_LETTERS]


def _is_outside(found: float, expected: Range) -> bool:
    return not expected[0] <= float(_shown(found)) <= expected[1]


def _shown(value: float) -> str:
    """A number as it is printed and judged."""
    return np.format_float_positional(value, precision=DIGITS, fractional=False, trim="-")


def _range(expected: Range, unit: str) -> str:
    least, most = (np.format_float_positional(end, trim="-") for end in expected)
    return f"{least} to {most} {unit}" if expected[0] else f"at most {most} {unit}"


def _date(header: Dataset, keyword: str) -> date | None:
    """A date; None where it is none, as in "19700000" or "unknown"."""
    said = re.fullmatch(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", _text(header, keyword), re.ASCII)
    try:
        return date(int(said[1]), int(said[2]), int(said[3])) if said else None
    except ValueError:
        return None


def _text(header: Dataset, keyword: str) -> str:
    """An element's value as text; empty where it cannot be read."""
    try:
        return text(header, keyword)
    except UNREADABLE:
        return ""
