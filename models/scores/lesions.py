"""Which lesions were found: connected components, by faces, edges or corners (26 neighbours).

A lesion is found when at least a tenth of its voxels are predicted, and a predicted component is false when less than a
tenth of its voxels are in a lesion. A rule of one voxel would count a touch at the rim as a detection, and one blob
over the whole body as a perfect reader; a rule of one half would judge the outline again, which Dice does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: of the voxels of a component that have to lie in the other mask
MEETS = 0.1
NEIGHBOURS = np.ones((3, 3, 3), np.bool_)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """Components of the truth that were found or missed, and of the prediction that are false."""

    found: int
    missed: int
    false: int


def detected(truth: Mask, predicted: Mask) -> Lesions:
    """Count them.

    Args:
        truth, predicted: (slices, rows, columns).
    """
    met, of_truth = _meeting(truth, predicted)
    right, of_prediction = _meeting(predicted, truth)
    return Lesions(found=met, missed=of_truth - met, false=of_prediction - right)


def _meeting(mask: Mask, other: Mask) -> tuple[int, int]:
    """How many components of the mask meet the other one, and how many it has."""
    numbers, count = ndimage.label(mask, NEIGHBOURS)
    if not count:
        return 0, 0
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    shared = np.bincount(numbers[other], minlength=count + 1)[1:]
    return int(((shared > 0) & (shared >= MEETS * sizes)).sum()), int(count)
