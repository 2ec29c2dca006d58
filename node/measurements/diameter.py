"""The largest diameter of a segment in three dimensions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from .runs import Runs

#: more points than this are first reduced to the corners of their convex hull
MANY = 500
#: so many points are compared with all others at a time
AT_ONCE = 256
#: room for the rounding of lengths, in parts
SAME = 1e-9

Numbers = NDArray[np.float64]
#: from a voxel's centre to its corners, as (column, row, slice)
TO_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


def diameter_3d_mm(runs: Runs, affine: Numbers) -> float | None:
    """The largest distance between any two corners of a segment's voxels; exact. None where it is empty.

    A few steps from a point to the one farthest from it give a distance that is nearly the largest. Around the middle
    of the two there is a sphere that holds everything; a point well inside of it cannot be the end of a longer one.
    What is left lies near the ends, or is the shell of a ball.

    Args:
        affine: 4x4, from (column, row, slice) to mm; it may be sheared.
    """
    if not runs.voxels:
        return None
    to_mm = affine[:3, :3]
    centres = _row_ends(runs.outline)
    reach = float(np.linalg.norm(TO_CORNERS @ to_mm.T, axis=1).max())
    kept = centres[_may_be_ends(centres @ to_mm.T, reach)]
    corners = np.unique((kept[:, None] + TO_CORNERS).reshape(-1, 3), axis=0)
    corners = corners[_may_be_ends(corners @ to_mm.T, 0.0)]
    if len(corners) > MANY:
        solid = np.concatenate([centres[:1] + TO_CORNERS, corners])  # with a whole voxel, which no plane holds
        corners = solid[ConvexHull(solid).vertices]
    return _farthest(corners @ to_mm.T)


def _row_ends(outline: Runs) -> Numbers:
    """The centres of the first and the last voxel of each row: no other has a corner of the convex hull."""
    columns = np.concatenate([outline.starts, outline.stops - 1])
    return np.stack([columns, np.tile(outline.rows, 2), np.tile(outline.slices, 2)], 1).astype(np.float64)


def _may_be_ends(points: Numbers, reach: float) -> NDArray[np.bool_]:
    """Which points may be within `reach` of an end of the longest distance."""
    one, longest = points[0], -1.0
    while True:
        apart = np.linalg.norm(points - one, axis=1)
        farthest = points[apart.argmax()]
        if apart.max() <= longest * (1 + SAME):
            break
        one, longest, middle = farthest, float(apart.max()), (one + farthest) / 2
    away = np.linalg.norm(points - middle, axis=1) + reach
    return np.asarray(away + away.max() >= longest * (1 - SAME))


def _farthest(points: Numbers) -> float:
    longest = 0.0
    points = points - points.mean(0)  # the smaller the numbers, the less is lost in the difference of squares
    squares = (points**2).sum(1)
    for at in range(0, len(points), AT_ONCE):
        some = slice(at, at + AT_ONCE)
        apart = squares[some, None] + squares[None, at:] - 2 * points[some] @ points[at:].T
        longest = max(longest, float(apart.max()))
    return float(np.sqrt(longest))
