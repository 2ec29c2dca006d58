"""The surface of a mask: closed, lightly smoothed, and of the mask's volume.

Marching cubes on the voxels' centres gives a closed surface of stairs. Taubin's smoothing (Taubin 1995: each step that
shrinks is followed by one that swells) takes the stairs away; then the surface is moved along its normals until it
holds the volume of the voxels, which cut corners and smoothing had made a little less. All of it is done in the grid of
the voxels, so that no point moves far in voxels, however thick the slices are; the affine comes last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from skimage.measure import marching_cubes

Numbers: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

#: just below one half: at one half, faces on which two corners are inside are ambiguous, and the surface is not closed
LEVEL = 0.499
#: Taubin's two factors, and how often both are applied
SHRINK, SWELL, ROUNDS = 0.5, -0.53, 10
#: no point moves farther than this in any direction, in voxels: the two sides of a sheet one voxel thick stay apart
FARTHEST = 0.4
#: a surface of more triangles, 50 bytes each, is made of coarser voxels: printers and viewers do not take more
MOST_TRIANGLES = 2_000_000


@dataclass(frozen=True)
class Surface:
    """A closed surface, seen from outside: the corners of each triangle run counter-clockwise.

    Attributes:
        points: (n, 3) float64, mm, LPS.
        triangles: (m, 3) indices of points.
        merged: how many voxels along (slices, rows, columns) were merged into one; 1 where none were.
    """

    points: Numbers
    triangles: Integers
    merged: tuple[int, int, int] = (1, 1, 1)


def surface(mask: NDArray[np.bool_], affine: Numbers, most_triangles: int = MOST_TRIANGLES) -> Surface:
    """The surface of a mask.

    Args:
        mask: (slices, rows, columns), with at least one voxel.
        affine: 4x4, from (column, row, slice) to mm.
        most_triangles: about as many at most; voxels are merged, the shortest first, until that holds.
    """
    voxels = float(np.count_nonzero(mask))
    spacing_mm = np.linalg.norm(affine[:3, 2::-1], axis=0)
    merged = np.ones(3, np.int64)
    field = mask.astype(np.float32)
    while _triangles(field) > most_triangles:
        axis = int(np.argmin(spacing_mm * merged))
        coarser = _halved(field, axis)
        if coarser.max() <= LEVEL:  # dust: there would be nothing left
            break
        field, merged[axis] = coarser, 2 * merged[axis]
    points, triangles, _, _ = marching_cubes(np.pad(field, 1), LEVEL)
    triangles = triangles.astype(np.int64)
    points = _of_volume(_smooth(points.astype(np.float64) - 1, triangles), triangles, voxels / float(merged.prod()))
    points = (points + 0.5) * merged - 0.5
    placed = points[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
    if volume_mm3(placed, triangles) < 0:  # the affine may be a mirror, and so may marching cubes
        triangles = triangles[:, ::-1]
    return Surface(placed, triangles, (int(merged[0]), int(merged[1]), int(merged[2])))


def volume_mm3(points: Numbers, triangles: Integers) -> float:
    """The volume inside a closed surface; negative where it is inside out."""
    middle = points.mean(axis=0)
    a, b, c = (points[triangles[:, corner]] - middle for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6


def _triangles(field: NDArray[np.float32]) -> int:
    """About how many there will be: two for each face of a voxel that lies on the surface."""
    inside = field > LEVEL
    padded = np.pad(inside, 1)
    return 2 * sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in range(3))


def _halved(field: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Of each two neighbours along an axis the mean."""
    even = field if field.shape[axis] % 2 == 0 else np.pad(field, [(0, int(n == axis)) for n in range(3)])
    first, second = ([slice(None)] * axis + [slice(start, None, 2)] for start in (0, 1))
    return np.asarray((even[tuple(first)] + even[tuple(second)]) / 2)


def _smooth(points: Numbers, triangles: Integers) -> Numbers:
    """Taubin's smoothing, each point towards the mean of its neighbours and back."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = len(points)
    # each edge has two triangles, which run along it in opposite directions: both directions are there
    neighbours = sparse.csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    mean = sparse.diags_array(1 / neighbours.sum(axis=1)) @ neighbours
    moved = points
    for factor in (SHRINK, SWELL) * ROUNDS:
        moved = moved + factor * (mean @ moved - moved)
    return points + (moved - points).clip(-FARTHEST, FARTHEST)


def _of_volume(points: Numbers, triangles: Integers, wanted: float) -> Numbers:
    """Move a surface along its normals until it holds a volume; in a few steps, since the surface grows with it."""
    sign = 1.0 if volume_mm3(points, triangles) > 0 else -1.0
    for _ in range(4):
        a, b, c = (points[triangles[:, corner]] for corner in range(3))
        across = sign * np.cross(b - a, c - a)  # outwards, twice the area long
        area = float(np.linalg.norm(across, axis=1).sum()) / 2
        normals = np.zeros_like(points)
        for corner in range(3):
            for axis in range(3):
                normals[:, axis] += np.bincount(triangles[:, corner], across[:, axis], len(points))
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
        away = (wanted - sign * volume_mm3(points, triangles)) / area
        points = points + normals * min(max(away, -FARTHEST), FARTHEST)
    return points
