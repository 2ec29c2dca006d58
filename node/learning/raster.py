"""Polygons to pixels: by the even-odd rule, at the centres of the pixels.

A pixel is inside where a ray from its centre crosses the outlines an odd number of times; several polygons combine by
XOR, as PS3.3 C.8.8.6.3 has it for CLOSEDPLANAR_XOR, and key-holes need no care. No vertex is rounded, and no border is
painted, so that the area is right in the mean also where a structure is a few pixels wide.

A centre that lies on an outline belongs to what is to the right of it, or below. So of two polygons that share an edge
exactly one has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Refused

#: of outlines with rows of pixels: far more than any outline has, and half a gigabyte
MOST_CROSSINGS = 1 << 24

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """Pixels as runs along rows; they do not overlap, and may lie outside of any image.

    Attributes:
        row, first, last: (runs,) of each; `last` is the column behind its last pixel.
    """

    row: Integers
    first: Integers
    last: Integers

    def count(self) -> int:
        """How many pixels."""
        return int((self.last - self.first).sum())

    def within(self, rows: int, columns: int) -> Integers:
        """The pixels that lie in an image, (pixels,), each as row * columns + column."""
        there = (self.row >= 0) & (self.row < rows)
        first, last = self.first[there].clip(0, columns), self.last[there].clip(0, columns)
        lengths = last - first
        before = np.cumsum(lengths) - lengths
        return np.repeat(self.row[there] * columns + first - before, lengths) + np.arange(int(lengths.sum()))


def runs(polygons: Sequence[NDArray[np.float64]]) -> Runs:
    """The pixels inside of closed polygons.

    Args:
        polygons: each (points, 2): column and row, finite; the centre of the first pixel is (0, 0). The last point is
            joined to the first.

    Raises:
        Refused: `label-too-large`: the polygons cross more rows of pixels than any image has.
    """
    polygons = [points for points in polygons if len(points)]
    sizes = np.array([len(points) for points in polygons], np.int64)
    x, y = np.concatenate([*polygons, np.empty((0, 2))]).T
    following = np.arange(1, len(x) + 1)
    following[np.cumsum(sizes) - 1] -= sizes
    # the row of an edge's lower end is that of the next edge, so that a vertex counts once
    first = np.ceil(y).astype(np.int64)
    edge = np.flatnonzero(first != first[following])
    # from its upper end, whichever way it was drawn: two neighbours find the very same crossings of the edge they share
    down = y[edge] < y[following[edge]]
    upper, lower = np.where(down, edge, following[edge]), np.where(down, following[edge], edge)
    crossed = first[lower] - first[upper]
    if crossed.sum() > MOST_CROSSINGS:
        raise Refused("label-too-large", "the contours are longer than those of any structure")
    of = np.repeat(np.arange(len(edge)), crossed)
    row = np.arange(len(of)) + np.repeat(first[upper] - (np.cumsum(crossed) - crossed), crossed)
    slope = (x[lower] - x[upper]) / (y[lower] - y[upper])
    column = np.ceil(x[upper][of] + (row - y[upper][of]) * slope[of]).astype(np.int64)
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    return Runs(row[::2], column[::2], column[1::2])


def fill(polygons: Sequence[NDArray[np.float64]], rows: int, columns: int) -> NDArray[np.bool_]:
    """The pixels of an image that lie inside of closed polygons, (rows, columns).

    Args:
        polygons: as for `runs`; they may leave the image.

    Raises:
        Refused: `label-too-large`.
    """
    mask = np.zeros((rows, columns), bool)
    mask.ravel()[runs(polygons).within(rows, columns)] = True
    return mask
