"""RLE Lossless (PS3.5 Annex G), vectorised: a frame as one array of runs, never a loop over its bytes."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

#: a run or a literal is no longer than this, because its length stands in seven bits (PS3.5 G.3)
LONGEST = 128
MOST_SEGMENTS = 15


def encoded(frame: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """One frame.

    Args:
        frame: (rows, columns), unsigned, of 8 or 16 bits.

    Returns:
        The header of 64 bytes, and one RLE segment per byte of a pixel, the most significant first (PS3.5 G.2, G.5).
    """
    count = frame.dtype.itemsize
    of_each_pixel = np.ascontiguousarray(frame, frame.dtype.newbyteorder(">")).view(np.uint8)
    planes = [_plane(of_each_pixel[:, byte::count]) for byte in range(count)]
    offsets = np.cumsum([64] + [len(plane) for plane in planes])[:-1]
    header = struct.pack(f"<{1 + MOST_SEGMENTS}I", count, *offsets, *[0] * (MOST_SEGMENTS - count))
    return header + b"".join(planes)


def _plane(plane: NDArray[np.uint8]) -> bytes:
    """One RLE segment, of even length; each row is coded by itself (PS3.5 G.3.1).

    Equal bytes side by side become a replicate run. What lies between such runs becomes literal runs.
    """
    starts, lengths = _runs(plane)
    alone = lengths == 1
    opens = alone.copy()  # a literal run begins here
    opens[1:] &= ~alone[:-1] | (starts[1:] % plane.shape[1] == 0)
    order = np.arange(len(starts))
    in_literal = order - np.maximum.accumulate(np.where(opens, order, 0))
    opens |= alone & (in_literal % LONGEST == 0)
    size = np.where(alone, 1 + opens, 2)
    at = np.cumsum(size) - size
    coded = np.zeros((int(size.sum()) + 1) // 2 * 2, np.uint8)
    again = ~alone
    coded[at[again]] = 257 - lengths[again]
    coded[at[opens]] = np.bincount(np.cumsum(opens)[alone] - 1, minlength=int(opens.sum())) - 1
    coded[at + size - 1] = plane.ravel()[starts]
    return coded.tobytes()


def _runs(plane: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each run of equal bytes within a row starts, and how long it is; longer ones cut at 128."""
    flat, columns = plane.ravel(), plane.shape[1]
    differs = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=differs[1:])
    differs[::columns] = True
    starts = np.flatnonzero(differs)
    lengths = np.diff(starts, append=flat.size)
    pieces = -(-lengths // LONGEST)
    if len(starts) == pieces.sum():
        return starts, lengths
    first = np.cumsum(pieces) - pieces
    nth = np.arange(int(pieces.sum())) - np.repeat(first, pieces)
    cut = np.repeat(starts, pieces) + nth * LONGEST
    left = np.repeat(lengths, pieces) - nth * LONGEST
    return cut, np.minimum(left, LONGEST)
