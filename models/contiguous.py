"""An image in the order of its axes, before MONAI's resampling puts it there the slow way.

A volume comes slice by slice, (slices, rows, columns), and MONAI's transforms see it as (x, y, z). `Spacingd` makes
such a view contiguous before it interpolates: torch then walks through the source with a step of a whole slice. Copied
block by block the same values are there in a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Spacingd

#: planes and rows of a block: what is read and written of it stays in the cache of a core
PLANES, ROWS = 32, 128
#: an image of another spacing than is wanted will be resampled; parts, and millimetres
OTHER_PART, OTHER_MM = 0.01, 0.01


class Contiguous(MapTransform):
    """Stands before a `Spacingd`. No value changes, nor what is noted of the image.

    An image that has the wanted spacing is left as it is: nothing would copy it, and sums over it would be rounded in
    another order.

    Args:
        spacing: the transform that follows.
    """

    def __init__(self, spacing: Spacingd) -> None:
        super().__init__(spacing.keys, spacing.allow_missing_keys)
        self._pixdim = spacing.spacing_transform.pixdim

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            image = made[key]
            if isinstance(image, MetaTensor) and self._will_be_copied(image):
                made[key] = MetaTensor(in_order(image.as_tensor())).copy_meta_from(image)
        return made

    def _will_be_copied(self, image: MetaTensor) -> bool:
        if image.ndim != 4 or image.is_contiguous() or image.device.type != "cpu" or image.pending_operations:
            return False
        wanted = self._pixdim[:3]
        off = np.abs(np.asarray(image.pixdim, np.float64)[: len(wanted)] - wanted)
        return bool(((wanted > 0) & (off > OTHER_PART * wanted) & (off > OTHER_MM)).any())


def before_resampling(transform: Any) -> None:
    """Put one before each `Spacingd` of a chain that interpolates at once."""
    if type(transform) is not Compose or transform.lazy:  # other kinds choose among their steps, or do several at once
        return
    steps: list[Any] = []
    for step in transform.transforms:
        before_resampling(step)
        if isinstance(step, Spacingd) and not step.lazy and _has_one_wish(step):
            steps.append(Contiguous(step))
        steps.append(step)
    transform.transforms = tuple(steps)


def _has_one_wish(step: Spacingd) -> bool:
    """Whether every image is brought to the spacing; with bounds some are left as they are."""
    bounds = step.spacing_transform.min_pixdim, step.spacing_transform.max_pixdim
    return all(bool(np.isnan(each).all()) for each in bounds)


def in_order(image: torch.Tensor) -> torch.Tensor:
    """A contiguous copy.

    Args:
        image: (channel, x, y, z), in any order of memory.
    """
    made = torch.empty(image.shape, dtype=image.dtype)
    for plane in range(0, image.shape[3], PLANES):
        for row in range(0, image.shape[2], ROWS):
            block = (slice(None), slice(None), slice(row, row + ROWS), slice(plane, plane + PLANES))
            made[block] = image[block]
    return made
