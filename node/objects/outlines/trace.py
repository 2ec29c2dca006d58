"""From a mask to polygons, slice by slice, that give the mask back, whoever fills them.

A polygon runs along the edges of pixels, between their centres: its area is that of its pixels, and filling it at the
centres gives back exactly the mask. Pixels that touch at a corner only are in different polygons. A hole is joined to
what surrounds it by a channel of no width, the "keyhole" of PS3.3 C.8.8.6.3, so that every polygon stands for a region
of its own, disjoint from all others: then it does not matter whether a reader fills by even-odd or by winding number,
or combines polygons by XOR or by union.

Each polygon is drawn `INSET` of a pixel inside of these edges. Midway between two pixels, readers that round to whole
pixels go either way; so they all go inwards, where filling with the border gives back exactly the mask, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.float64]

#: of a pixel: more than coordinates lose by rounding, far less than matters to an area
INSET = 0.002
#: a channel runs this much beside the centres of a column of pixels: none of them lies on it
BESIDE = 0.25
#: which of the four pixels around a corner are inside (1 upper left, 2 upper right, 4 lower left, 8 lower right) -> the
#: one that is unlike the others: (rows, columns) towards it, and 1 where it is inside, -1 where it is not
TURNS = {
    1: (-1, -1, 1),
    2: (-1, 1, 1),
    4: (1, -1, 1),
    8: (1, 1, 1),
    14: (-1, -1, -1),
    13: (-1, 1, -1),
    11: (1, -1, -1),
    7: (1, 1, -1),
}
#: where two pixels touch at a corner only, each has a turn of its own
TOUCHING = {9: (1, 8), 6: (2, 4)}


@dataclass(frozen=True)
class Polygon:
    """A closed polygon in a slice; its last point is not its first again.

    Attributes:
        slice: index of it.
        points: (n, 2) columns and rows; whole numbers are the centres of pixels.
    """

    slice: int
    points: Numbers


@dataclass(frozen=True)
class _Corners:
    """Where boundaries turn, in the order of slices, rows and columns.

    Attributes:
        slice, row, column: of the pixel to the lower right.
        to_row, to_column: -1 or 1: towards the pixel that is unlike the other three around; along it lie both edges.
        inside: 1 where that pixel is inside, else -1.
    """

    slice: Integers
    row: Integers
    column: Integers
    to_row: Integers
    to_column: Integers
    inside: Integers


def trace(mask: Mask, first_voxel: tuple[int, int, int] = (0, 0, 0)) -> list[Polygon]:
    """The polygons of a mask, in the order of its slices.

    Args:
        mask: (slices, rows, columns); or a part of one, where
        first_voxel: says which voxel of the whole the part begins with.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    corners = _corners(padded)
    along = _partners(corners.slice, corners.row, corners.column, corners.to_column)
    across = _partners(corners.slice, corners.column, corners.row, corners.to_row)
    # inside lies to the right of the way, so the way leaves a corner along its row or along its column
    following = np.where(corners.to_row * corners.to_column * corners.inside > 0, along, across)
    firsts = _firsts(following)
    is_outer = corners.inside[firsts] > 0
    columns = corners.column - 0.5 + INSET * corners.to_column * corners.inside
    rows = corners.row - 0.5 + INSET * corners.to_row * corners.inside
    links, ends = _with_channels(padded, corners, following, firsts[~is_outer])
    points = np.concatenate([np.column_stack([columns, rows]), ends]) + first_voxel[:0:-1]
    return [
        Polygon(int(corners.slice[first]) + first_voxel[0], points[_way(links, first)])
        for first in firsts[is_outer].tolist()
    ]


def _corners(padded: Mask) -> _Corners:
    bits = padded.view(np.uint8)
    around = bits[:, :-1, :-1] | bits[:, :-1, 1:] << 1 | bits[:, 1:, :-1] << 2 | bits[:, 1:, 1:] << 3
    turns = np.array([code in TURNS or code in TOUCHING for code in range(16)])
    where = np.argwhere(turns[around])
    codes = around[tuple(where.T)].astype(np.int64)
    first, second = codes.copy(), np.zeros_like(codes)
    for code, (one, other) in TOUCHING.items():
        first[codes == code], second[codes == code] = one, other
    twice = second > 0
    order = np.argsort(np.concatenate([np.arange(len(codes)), np.flatnonzero(twice)]), kind="stable")
    where = np.concatenate([where, where[twice]])[order]
    towards = np.array([TURNS.get(code, (0, 0, 0)) for code in range(16)])
    towards = towards[np.concatenate([first, second[twice]])[order]]
    return _Corners(*where.T, *towards.T)


def _partners(slices: Integers, line: Integers, place: Integers, side: Integers) -> Integers:
    """The corner at the other end of each one's edge along a line: on each line, the first and the second belong
    together, the third and the fourth, and so on. Of two corners in one place the one whose edge ends there is first.
    """
    order = np.lexsort((side, place, line, slices))
    partners = np.empty_like(order)
    partners[order[0::2]], partners[order[1::2]] = order[1::2], order[0::2]
    return partners


def _firsts(following: Integers) -> Integers:
    """The first corner of each loop: the leftmost of the topmost ones. (Pointer doubling.)"""
    first, jump = np.arange(len(following)), following
    while True:
        lower = np.minimum(first, first[jump])
        if np.array_equal(lower, first):
            return np.unique(first)
        first, jump = lower, jump[jump]


def _with_channels(padded: Mask, corners: _Corners, following: Integers, holes: Integers) -> tuple[list[int], Numbers]:
    """Join every hole to the boundary above it.

    From the left end of a hole's topmost edge a channel runs upwards, to the last pixel that is inside. The boundary
    there is that of the region, or of another hole whose top lies higher; so in the end all are joined to the region's.

    Args:
        holes: the first corner of each.

    Returns:
        What follows each corner on its way, and then each of the four points of every channel: two where it leaves the
        boundary above and meets the hole, two for the way back; and the places of these, (column, row).
    """
    slices, rows, columns = corners.slice[holes], corners.row[holes], corners.column[holes]
    tops = np.empty_like(rows)
    for n, (k, row, column) in enumerate(zip(slices, rows, columns, strict=True)):
        tops[n] = np.flatnonzero(~padded[k, : row + 1, column + 1])[-1]
    edges = _top_edges(corners, padded.shape, slices, tops, columns)
    links, before = [*following.tolist(), *[0] * (4 * len(holes))], np.argsort(following)
    tails: dict[int, int] = {}
    for n in np.lexsort((columns, edges)).tolist():  # of several on one edge, the leftmost is left first
        hole, edge, leaves = int(holes[n]), int(edges[n]), len(following) + 4 * n
        tail = tails.get(edge, edge)
        links[leaves : leaves + 4] = [leaves + 1, hole, leaves + 3, links[tail]]
        links[tail], links[int(before[hole])] = leaves, leaves + 2
        tails[edge] = leaves + 3
    at, upper, lower = columns + BESIDE, tops - 0.5 + INSET, rows - 0.5 - INSET
    ends = np.stack([np.column_stack([at, row]) for row in (upper, lower, lower, upper)], axis=1)
    return links, ends.reshape(-1, 2)


def _top_edges(
    corners: _Corners, shape: tuple[int, ...], slices: Integers, rows: Integers, columns: Integers
) -> Integers:
    """The left corners of the edges on which the given pixels, inside and with nothing above them, lie."""
    left = np.flatnonzero(corners.to_column > 0)
    starts = np.ravel_multi_index((corners.slice[left], corners.row[left], corners.column[left]), shape)
    wanted = np.ravel_multi_index((slices, rows, columns), shape)
    return np.asarray(left[np.searchsorted(starts, wanted, side="right") - 1])


def _way(links: list[int], start: int) -> list[int]:
    way, at = [start], links[start]
    while at != start:
        way.append(at)
        at = links[at]
    return way
