"""The surface of a segment: the area of its marching cubes mesh (IBSI C0JK).

The mesh is that of the mask as it is, at the level 0.5, as the Image Biomarker Standardisation Initiative defines it.
It follows the steps of the voxels, bevelled: its area is above that of a smooth body, by 9 % for a large ball of cubic
voxels, by 20 % where the slices are four times as far apart as the pixels and by about 25 % where they are farther; by
none for a plane along the grid. The excess does not go away with smaller voxels, so surfaces of unlike scans do not
compare.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from models.membership import inside

from .runs import Runs

#: so many slices are looked at together
AT_ONCE = 8


def surface_mm2(
    labels: NDArray[np.uint8], values: Collection[int], runs: Runs, affine: NDArray[np.float64]
) -> float | None:
    """The area of the boundary of a segment; what reaches the end of the scan is closed there. None where it is empty.

    A mask has no more than 256 different cubes of two by two by two voxels. So the triangles of each kind are made
    once, and what is left is to count how often each kind occurs; the sum is that of the whole mesh.

    Args:
        labels: (slices, rows, columns).
        values: the segment's.
        runs: of it.
        affine: 4x4, from (column, row, slice) to mm; it may be sheared.
    """
    if not runs.voxels:
        return None
    return float(_kinds(labels, values, runs) @ _areas(affine))


def _kinds(labels: NDArray[np.uint8], values: Collection[int], runs: Runs) -> NDArray[np.int64]:
    """How often each kind of cube occurs; bit 4 * slice + 2 * row + column of the kind is that voxel of the cube."""
    first, last = int(runs.slices[0]), int(runs.slices[-1])
    top, bottom, left, right = runs.box()
    counts = np.zeros(256, np.int64)
    for k in range(first, last + 2, AT_ONCE):  # cubes between a slice and the one before
        mask = np.zeros((AT_ONCE + 1, bottom - top + 2, right - left + 2), np.uint8)
        begin, end = max(k - 1, first), min(k + AT_ONCE, last + 1)
        labelled = labels[begin:end, top:bottom, left:right]
        here = mask[begin - k + 1 : end - k + 1, 1:-1, 1:-1]
        if len(values) == 1:
            np.equal(labelled, next(iter(values)), out=here, casting="unsafe")
        else:
            here[...] = inside(labelled, values)
        edges = mask[..., :-1] | mask[..., 1:] << 1
        squares = edges[:, :-1] | edges[:, 1:] << 2
        cubes = squares[:-1] | squares[1:] << 4
        counts += np.bincount(cubes[cubes + np.uint8(1) > 1], minlength=256)  # 255 + 1 is 0: no boundary in either
    return counts


def _areas(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area in mm2 of the triangles in each kind of cube."""
    kinds, triangles = _triangles()
    corners = triangles @ affine[:3, :3].T
    twice = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.bincount(kinds, np.linalg.norm(twice, axis=1) / 2, minlength=256).astype(np.float64)


@cache
def _triangles() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every triangle of every kind of cube: its kind; its corners, (triangles, 3, 3), as (column, row, slice)."""
    kinds: list[int] = []
    triangles = []
    for kind in range(1, 255):  # the first and the last kind have no boundary
        cube = np.array([kind >> bit & 1 for bit in range(8)], np.float32).reshape(2, 2, 2)
        vertices, faces, _, _ = marching_cubes(cube, 0.5)
        kinds += [kind] * len(faces)
        triangles.append(vertices[faces][..., ::-1].astype(np.float64))
    return np.array(kinds), np.concatenate(triangles)
