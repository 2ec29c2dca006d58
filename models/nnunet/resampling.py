"""Resampling as nnU-Net does it: cubic splines for images, linear for logits, and thick slices apart from the rest.

nnunetv2.preprocessing.resampling.default_resampling, to the last bit: a logit that is rounded otherwise is another
label where two classes are close.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from skimage.transform import resize

#: in-plane and through-plane spacings that differ more are resampled apart
ANISOTROPIC = 3


@dataclass(frozen=True, kw_only=True)
class How:
    """One of the plans' resamplings.

    Attributes:
        order: of the spline; order_z: across thick slices, where these are resampled apart.
        force_separate_z: whether they are; None: where a spacing is anisotropic.
        threshold: of anisotropy.
        none: whether the grid stays as it is ("no_resampling").
    """

    order: int = 3
    order_z: int = 0
    force_separate_z: bool | None = None
    threshold: float = ANISOTROPIC
    none: bool = False


def new_shape(shape: Sequence[int], spacing_mm: Sequence[float], wanted_mm: Sequence[float]) -> tuple[int, ...]:
    """The shape at another spacing; halves go to the even number, as Python's `round` has it."""
    return tuple(round(have / want * count) for have, want, count in zip(spacing_mm, wanted_mm, shape, strict=True))


def thick_axis(spacing_mm: Sequence[float], wanted_mm: Sequence[float], how: How) -> int | None:
    """The axis that is resampled apart from the others, or None."""
    if how.force_separate_z is False:
        return None
    for spacing in (spacing_mm, wanted_mm):
        if how.force_separate_z or max(spacing) / min(spacing) > how.threshold:
            axes = np.flatnonzero(max(spacing) / np.array(spacing) == 1)
            # two thick axes (0.24, 1.25, 1.25) are resampled with the third
            return int(axes[0]) if len(axes) == 1 else None
    return None


def resampled(channel: NDArray[Any], shape: Sequence[int], axis: int | None, how: How) -> NDArray[Any]:
    """One channel on a grid of another shape.

    Args:
        channel: three axes; float32 or float16, and the result is of the same kind.
        axis: as `thick_axis` gives it.
    """
    if how.none or channel.shape == tuple(shape):
        return channel
    exact = channel.astype(float)
    if axis is None:
        return resize(exact, tuple(shape), how.order, mode="edge", anti_aliasing=False).astype(channel.dtype)
    plane = tuple(size for n, size in enumerate(shape) if n != axis)
    slices = [resize(one, plane, how.order, mode="edge", anti_aliasing=False) for one in np.moveaxis(exact, axis, 0)]
    stacked = np.stack(slices, axis)
    if stacked.shape[axis] != shape[axis]:
        scales = [have / want for have, want in zip(stacked.shape, shape, strict=True)]
        grid = np.mgrid[tuple(slice(0, size) for size in shape)]
        at = np.array([scale * (index + 0.5) - 0.5 for scale, index in zip(scales, grid, strict=True)])
        stacked = map_coordinates(stacked, at, order=how.order_z, mode="nearest")
    return stacked.astype(channel.dtype)
