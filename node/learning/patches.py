"""What a segmentation holds, cut out of its frames: nothing is kept of a frame where no segment is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import Refused
from ..study.decode import Decoders
from .label_file import LabelFile
from .segment_frames import EVERY, Frame
from .segment_pixels import Array, Format, decoded

#: of all patches together
MOST_BYTES = 1 << 32


@dataclass(frozen=True)
class Patch:
    """A part of one frame that holds all that is inside of one segment there.

    Attributes:
        frame: index of it.
        segment: its number.
        row, column: of the first pixel.
        inside: (rows, columns); something is, in each of the outer rows and columns.
    """

    frame: int
    segment: int
    row: int
    column: int
    inside: NDArray[np.bool_]

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of what is inside."""
        row, column = np.nonzero(self.inside)
        return row + self.row, column + self.column


def patches(
    label: LabelFile, frames: Sequence[Frame], stored: Format, fraction: float, decoders: Decoders | None
) -> list[Patch]:
    """What is inside of segments, in the order of the frames.

    Args:
        fraction: from which on a pixel of a fractional segmentation is inside.
        decoders: that compressed pixels may be decoded by; without, one is started for the call.

    Raises:
        Refused: `label-pixels`, `label-encoding`, `label-too-large`, `undecodable-pixels`, `pixel-data-truncated`.
        Failed: `decoder-not-started`.
    """
    found, taken = [], 0
    for one in each_patch(label, frames, stored, fraction, decoders):
        taken += one.inside.size
        if taken > MOST_BYTES:
            raise Refused("label-too-large", "the segmentation holds more than a volume is made of")
        found.append(one)
    return found


def each_patch(
    label: LabelFile, frames: Sequence[Frame], stored: Format, fraction: float, decoders: Decoders | None
) -> Iterator[Patch]:
    """The same one by one, for whoever keeps less of them than they are."""
    with closing(decoded(label, stored, decoders)) as values_of:
        for number, (frame, values) in enumerate(zip(frames, values_of, strict=True)):
            yield from _cut(values, number, frame, stored, fraction)


def _cut(values: Array, number: int, frame: Frame, stored: Format, fraction: float) -> Iterator[Patch]:
    if stored.kind == "LABELMAP":
        for segment, box in enumerate(ndimage.find_objects(values), 1):
            if box is not None:
                yield Patch(number, segment, box[0].start, box[1].start, values[box] == segment)
        return
    if frame.segment == EVERY:
        raise Refused("label-frames", "a frame of the segmentation does not say which segment it shows")
    inside = values >= max(fraction * stored.most, np.nextafter(0, 1)) if stored.kind == "FRACTIONAL" else values > 0
    rows = np.flatnonzero(inside.any(axis=1))
    if len(rows):
        columns = np.flatnonzero(inside.any(axis=0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        yield Patch(number, frame.segment, int(rows[0]), int(columns[0]), inside[box].copy())
