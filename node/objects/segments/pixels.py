"""The pixels of a segmentation: one bit each, or segment numbers in RLE, written frame by frame."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.membership import Labels, inside

from ...errors import Refused
from . import rle
from .elements import UNDEFINED, head, item
from .frames import Layout, Values

PIXEL_DATA = 0x7FE00010
SEQUENCE_DELIMITATION = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
#: a length is even, and 0xFFFFFFFF means none
LARGEST = 0xFFFFFFFE


def write_bits(stream: BinaryIO, labels: Labels, values: Sequence[Values], layout: Layout) -> None:
    """BINARY: frame after frame without a gap, the first pixel in the lowest bit (PS3.5 8.1.1, 8.2).

    Where rows x columns is no multiple of 8, a frame begins inside the last byte of the one before.

    Raises:
        Refused: `result-too-large`.
    """
    used = -(-len(layout.frames) * labels[0].size // 8)
    size = used + used % 2
    _must_fit(size)
    stream.write(head(PIXEL_DATA, "OB", size))
    left = np.zeros(0, bool)
    for number, k in layout.frames:
        mask = inside(labels[k], values[number - 1]).ravel()
        bits = np.concatenate([left, mask]) if left.size else mask
        whole = bits.size // 8 * 8
        stream.write(np.packbits(bits[:whole], bitorder="little").data)
        left = bits[whole:]
    stream.write(np.packbits(left, bitorder="little").data)
    stream.write(b"\0" * (size - used))


def write_numbers(stream: BinaryIO, labels: Labels, values: Sequence[Values], layout: Layout) -> None:
    """LABELMAP: each frame one fragment in RLE Lossless, behind a Basic Offset Table (PS3.5 A.4).

    Raises:
        Refused: `result-too-large`.
    """
    fragments = [item(rle.encoded(frame)) for frame in _numbered(labels, values, layout)]
    starts = np.cumsum([0] + [len(fragment) for fragment in fragments])
    _must_fit(int(starts[-1]))
    stream.write(head(PIXEL_DATA, "OB", UNDEFINED))
    stream.write(item(starts[:-1].astype("<u4").tobytes()))
    stream.writelines(fragments)
    stream.write(SEQUENCE_DELIMITATION)


def bits_of(segments: int) -> int:
    """Bits Allocated of a label map of so many segments."""
    return 8 if segments <= np.iinfo(np.uint8).max else 16


def _numbered(labels: Labels, values: Sequence[Values], layout: Layout) -> Iterable[Labels]:
    """The frames with segment numbers in place of label values."""
    dtype = np.dtype(f"u{bits_of(len(values)) // 8}")
    highest = max(*(one[-1] for one in values), int(np.iinfo(labels.dtype).max))
    numbers: NDArray[np.uint8] | NDArray[np.uint16] = np.zeros(highest + 1, dtype)
    for number, of_segment in enumerate(values, 1):
        numbers[list(of_segment)] = number
    already = labels.dtype == dtype and list(values) == [(number,) for number in range(1, len(values) + 1)]
    return (labels[k] if already else numbers[labels[k]] for _, k in layout.frames)


def _must_fit(size: int) -> None:
    if size > LARGEST:
        raise Refused("result-too-large", "the segmentation would be larger than a DICOM object can be (4 GiB)")
