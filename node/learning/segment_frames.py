"""What a segmentation says of its frames: where each lies, what it shows, what it was made from (PS3.3 C.7.6.16).

There may be ten thousand, and most of what they say is said many times over. So a sequence that stands in a frame's
groups is decoded once for each distinct run of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from ..errors import Refused
from ..study.frames import FUNCTIONAL_GROUPS, MOST_FRAMES
from .label_file import LabelFile, item, items, numbers, text, value, whole_number
from .slices import Reference

Numbers = NDArray[np.float64]

#: in place of a segment number: a frame of a label map shows every segment
EVERY = 0
SHORTEST_MM, LONGEST_MM = 1e-4, 1e3
RIGHT_ANGLE = 1e-2
NOWHERE = np.full(3, np.nan)


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        segment: that it shows, or EVERY.
        position: of the centre of its first pixel, mm LPS; not a number where none is stated.
        across, down: from one column and from one row to the next, mm LPS; likewise.
        depth_mm: between frames, as stated (SpacingBetweenSlices); 0 where it is not.
        references: the images that it was made from.
    """

    segment: int
    position: Numbers
    across: Numbers
    down: Numbers
    depth_mm: float
    references: frozenset[Reference]

    @property
    def is_placed(self) -> bool:
        return bool(np.isfinite([*self.position, *self.across, *self.down]).all())

    @property
    def normal(self) -> Numbers:
        """Across it, of length 1."""
        across = np.cross(self.across, self.down)
        return np.asarray(across / np.linalg.norm(across))


class _Groups:
    """The functional groups of one frame, or else those that all share; each distinct sequence is read once."""

    def __init__(self, shared: Dataset) -> None:
        self._shared = shared
        self._known: dict[tuple[str, bytes], Any] = {}

    def say(self, own: Dataset, keyword: str, what: Callable[[Dataset], Any]) -> Any:
        groups = own if keyword in own else self._shared
        element = groups.get_item(keyword, keep_deferred=True)
        key = (keyword, element.value) if isinstance(element, RawDataElement) and element.value else None
        if key is None:
            return what(groups)
        if key not in self._known:
            self._known[key] = what(groups)
        return self._known[key]


def frames_of(label: LabelFile) -> list[Frame]:
    """The frames of a segmentation, in their order.

    Raises:
        Refused: `label-frames`, `label-unreadable`.
    """
    header = label.header
    own = items(header, FUNCTIONAL_GROUPS[1])
    if len(own) != (stated := count(header)) or not own:
        said = f"describes {len(own)} frames and has {stated} (NumberOfFrames)"
        raise Refused("label-frames", f"the segmentation {said}")
    groups, everything = _Groups(item(header, FUNCTIONAL_GROUPS[0])), _of_all(header)
    made = []
    for one in own:
        across, down, depth_mm = groups.say(one, "PixelMeasuresSequence", _measures)
        row, column = groups.say(one, "PlaneOrientationSequence", _orientation)
        made.append(
            Frame(
                groups.say(one, "SegmentIdentificationSequence", _segment),
                groups.say(one, "PlanePositionSequence", _position),
                row * across,
                column * down,
                depth_mm,
                groups.say(one, "DerivationImageSequence", _references) or everything,
            )
        )
    return made


def count(header: Dataset) -> int:
    """NumberOfFrames.

    Raises:
        Refused: `label-unreadable`, `label-too-large`.
    """
    stated = whole_number(header, "NumberOfFrames", 1)
    if stated > MOST_FRAMES:
        raise Refused("label-too-large", f"the segmentation declares {stated} frames")
    return stated


def _segment(groups: Dataset) -> int:
    return whole_number(item(groups, "SegmentIdentificationSequence"), "ReferencedSegmentNumber", EVERY)


def _position(groups: Dataset) -> Numbers:
    found = numbers(item(groups, "PlanePositionSequence"), "ImagePositionPatient", 3)
    return found if len(found) else NOWHERE


def _orientation(groups: Dataset) -> tuple[Numbers, Numbers]:
    found = numbers(item(groups, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    if not len(found):
        return NOWHERE, NOWHERE
    row, column = found[:3], found[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > RIGHT_ANGLE or abs(row @ column) > RIGHT_ANGLE:
        raise Refused("label-frames", "a frame of the segmentation does not lie along two directions at a right angle")
    return row / lengths[0], column / lengths[1]


def _measures(groups: Dataset) -> tuple[float, float, float]:
    """From column to column, from row to row, from frame to frame."""
    measures = item(groups, "PixelMeasuresSequence")
    spacing, depth = numbers(measures, "PixelSpacing", 2), numbers(measures, "SpacingBetweenSlices", 1)
    if not len(spacing):
        return np.nan, np.nan, 0.0
    if not all(SHORTEST_MM <= one <= LONGEST_MM for one in spacing):
        raise Refused("label-frames", "a frame of the segmentation has pixels of an impossible size")
    depth_mm = abs(float(depth[0])) if len(depth) else 0.0  # below zero in some: against the normal
    return float(spacing[1]), float(spacing[0]), depth_mm if SHORTEST_MM <= depth_mm <= LONGEST_MM else 0.0


def _references(groups: Dataset) -> frozenset[Reference]:
    return frozenset(
        reference
        for derivation in items(groups, "DerivationImageSequence")
        for image in items(derivation, "SourceImageSequence")
        for reference in references_of(image)
    )


def references_of(image: Dataset) -> list[Reference]:
    """What an item of an image reference names: an image, or frames of it."""
    uid, stated = text(image, "ReferencedSOPInstanceUID"), value(image, "ReferencedFrameNumber")
    if not uid:
        return []
    if isinstance(stated, (int, str)) or stated is None:
        return [(uid, whole_number(image, "ReferencedFrameNumber", 0))]
    return [(uid, int(number)) for number in numbers(image, "ReferencedFrameNumber", len(stated))]


def _of_all(header: Dataset) -> frozenset[Reference]:
    """The image that the whole object was made from, where it is one: it stands for what a frame leaves out."""
    listed = [image for series in items(header, "ReferencedSeriesSequence") for image in instances_of(series)]
    named = {one for image in [*items(header, "SourceImageSequence"), *listed] for one in references_of(image)}
    return frozenset(named) if len({uid for uid, _ in named}) == 1 else frozenset()


def instances_of(series: Dataset) -> list[Dataset]:
    """The image references of an item of ReferencedSeriesSequence."""
    return items(series, "ReferencedInstanceSequence")
