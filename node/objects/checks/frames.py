"""What a segmentation says of each of its frames (PS3.3 C.7.6.16), as arrays.

There may be ten thousand frames, which pydicom takes a second each three thousand to read. Most of what they say is
said many times over: a place and an image by every segment that has a frame there. So each sequence that stands in a
frame's groups is decoded once for each distinct run of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

DERIVATION, CONTENT, POSITION, IDENTIFICATION = 0x00089124, 0x00209111, 0x00209113, 0x0062000A
#: an item that holds Dimension Index Values and nothing else: item tag and length, element's tag, VR and length
ITEM = b"\xfe\xff\x00\xe0"
INDEX_VALUES = b"\x20\x00\x57\x91UL"
HEADER = 16

Reference: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True)
class Frames:
    """The frames of a segmentation, in their order.

    Attributes:
        positions: (frames, 3) in mm; not a number where none is stated.
        segments: (frames,), the segment that each shows; 0 in a label map.
        index_values: (frames, dimensions).
        references: the images that each was made from: SOP class, SOP instance, number of the frame or 0.
        distinct: one item of each kind of sequence in the groups for every distinct content, decoded.
        tags: of what the groups hold.
    """

    positions: NDArray[np.float64]
    segments: NDArray[np.int64]
    index_values: NDArray[np.int64]
    references: list[tuple[Reference, ...]]
    distinct: list[Dataset]
    tags: frozenset[int]

    def __len__(self) -> int:
        return len(self.segments)


class _Once:
    """What a sequence says, by its bytes."""

    def __init__(self) -> None:
        self.items: list[Dataset] = []
        self._known: dict[tuple[int, bytes], Any] = {}

    def say(self, groups: Dataset, tag: int, what: Callable[[Dataset], Any], absent: Any) -> Any:
        element = groups.get_item(tag)
        if element is None:
            return absent
        key = (tag, element.value) if isinstance(element, RawDataElement) else None
        if key is not None and key in self._known:
            return self._known[key]
        (item,) = groups[tag].value
        self.items.append(item)
        said = what(item)
        if key is not None:
            self._known[key] = said
        return said


def frames_of(seg: Dataset) -> Frames:
    """The frames of a segmentation.

    Raises:
        UNREADABLE: as pydicom raises them; ValueError where frames have different numbers of dimensions.
    """
    once, groups = _Once(), seg.PerFrameFunctionalGroupsSequence
    shared = seg.SharedFunctionalGroupsSequence[0]
    segment = once.say(shared, IDENTIFICATION, _segment, 0)
    position = once.say(shared, POSITION, _position, (np.nan,) * 3)
    references = once.say(shared, DERIVATION, _references, ())
    return Frames(
        np.array([once.say(one, POSITION, _position, position) for one in groups]).reshape(-1, 3),
        np.array([once.say(one, IDENTIFICATION, _segment, segment) for one in groups], np.int64),
        np.array([_index_values(one) for one in groups], np.int64),
        [once.say(one, DERIVATION, _references, references) for one in groups],
        once.items,
        frozenset(int(tag) for one in groups for tag in one.keys()),  # noqa: SIM118 - iterating would decode them
    )


def _position(item: Dataset) -> tuple[float, ...]:
    x, y, z = (float(part) for part in item.ImagePositionPatient)
    return x, y, z


def _segment(item: Dataset) -> int:
    return int(item.ReferencedSegmentNumber)


def _references(item: Dataset) -> tuple[Reference, ...]:
    return tuple(
        (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID), int(one.get("ReferencedFrameNumber") or 0))
        for one in item.SourceImageSequence
    )


def _index_values(groups: Dataset) -> list[int]:
    """Of one frame. They differ in every one, so the usual form is read from the bytes."""
    element = groups.get_item(CONTENT)
    raw = element.value if isinstance(element, RawDataElement) else b""
    if raw[:4] == ITEM and raw[8:14] == INDEX_VALUES and len(raw) == HEADER + int.from_bytes(raw[14:16], "little"):
        return [int(value) for value in np.frombuffer(raw, "<u4", offset=HEADER)]
    values = groups.FrameContentSequence[0].DimensionIndexValues
    return [int(values)] if isinstance(values, int) else [int(value) for value in values]
