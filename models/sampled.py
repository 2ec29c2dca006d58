"""Means of what is known of a network's voxels, over the segments of the label map that came of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .entropy import DIGITS
from .result import LARGEST

#: voxels that are looked up at a time
SLAB_VOXELS = 4_000_000

Affine = NDArray[np.float64]


class Means:
    """Sums over one label map, or over the pictures of one."""

    def __init__(self) -> None:
        self._sums: NDArray[np.float64] = np.zeros((0, LARGEST + 1))
        self._counts = np.zeros(LARGEST + 1, np.int64)

    def add(self, maps: NDArray[np.float16], affine: Affine, labels: NDArray[np.uint8], at: Affine) -> None:
        """Add the voxels of a grid, each to the segment that it lies in.

        Args:
            maps: (map, x, y, z).
            affine: 4x4, from (x, y, z) index to mm.
            labels: (slices, rows, columns).
            at: 4x4, from (column, row, slice) index to the same mm.
        """
        if not len(self._sums):
            self._sums = np.zeros((len(maps), LARGEST + 1))
        planes = max(1, SLAB_VOXELS // max(1, int(np.prod(maps.shape[2:]))))
        for first in range(0, maps.shape[1], planes):
            part = maps[:, first : first + planes]
            found = _at(labels, np.linalg.inv(at) @ affine, first, part.shape[1:])
            inside = found > 0
            values = found[inside]
            self._counts += np.bincount(values, minlength=LARGEST + 1)
            for sums, one in zip(self._sums, part, strict=True):
                sums += np.bincount(values, one[inside].astype(np.float64), minlength=LARGEST + 1)

    def of_each(self, parts: Mapping[int, tuple[int, ...]]) -> list[dict[int, float]]:
        """Of each map: segment -> mean; a segment that has no voxel of the grid is not there.

        Args:
            parts: a segment's value -> the values of the label map that are of it (`membership.parts`).
        """
        there = {segment: list(values) for segment, values in parts.items() if self._counts[list(values)].any()}
        return [
            {one: round(float(sums[at].sum() / self._counts[at].sum()), DIGITS) for one, at in there.items()}
            for sums in self._sums
        ]


def _at(labels: NDArray[np.uint8], to_source: Affine, first: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The label of the source voxel nearest to each voxel of a grid, from plane `first` on; 0 beyond the source."""
    x, y, z = np.ogrid[first : first + shape[0], : shape[1], : shape[2]]
    inside: NDArray[np.bool_] = np.ones(shape, bool)
    index = []
    for axis, size in enumerate(labels.shape[::-1]):
        row = to_source[axis]
        near = np.rint((row[0] * x + row[1] * y) + (row[2] * z + row[3])).astype(np.int32)
        inside &= (near >= 0) & (near < size)
        index.append(near.clip(0, size - 1))
    return np.where(inside, labels[index[2], index[1], index[0]], np.uint8(0))
