"""Probabilities, and doubts, of a network's own grid on the grid of the images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def onto(
    probability: NDArray[np.float16],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    to_affine: NDArray[np.float64],
) -> NDArray[np.float16]:
    """One class on another grid, interpolated linearly; the outermost values go on where the network saw nothing.

    Args:
        probability: (x, y, z).
        affine: 4x4, from its index to mm.
        shape: (slices, rows, columns) of the other grid.
        to_affine: 4x4, from its (column, row, slice) index to the same mm.

    Returns:
        (slices, rows, columns), 0 ... 1.
    """
    from_source = np.linalg.inv(affine) @ to_affine
    turned = from_source[:3, 2::-1]  # index (slice, row, column) -> (x, y, z)
    found = ndimage.affine_transform(
        probability.astype(np.float32), turned, from_source[:3, 3], shape, order=1, mode="nearest", prefilter=False
    )
    return np.asarray(found.clip(0, 1), np.float16)


def seen_onto(
    values: NDArray[np.float16],
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    to_affine: NDArray[np.float64],
) -> NDArray[np.float16]:
    """The same, with 0 where the network saw nothing: beyond the voxel after its outermost one."""
    around = np.pad(np.pad(values, 1, mode="edge"), 1)
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, :3] @ (2.0, 2.0, 2.0)
    return onto(around, moved, shape, to_affine)
