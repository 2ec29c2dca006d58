"""How many voxels two label maps share, class by class, and where a class lies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..membership import Box

VALUES = 256

Labels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """The voxels of one class, counted over the whole grid.

    Attributes:
        both: in the truth and in the prediction.
        extra: in the prediction alone.
        missed: in the truth alone.
        neither: all others.
    """

    both: int
    extra: int
    missed: int
    neither: int

    @property
    def truth(self) -> int:
        return self.both + self.missed

    @property
    def predicted(self) -> int:
        return self.both + self.extra

    @property
    def is_empty(self) -> bool:
        return not self.truth and not self.predicted

    @property
    def dice(self) -> float | None:
        """2 |A and B| / (|A| + |B|); None where neither has a voxel."""
        return None if self.is_empty else 2 * self.both / (self.truth + self.predicted)

    @property
    def accuracy(self) -> float | None:
        """The part of all voxels that are right; None where neither has one of the class, as it would be 1."""
        total = self.truth + self.extra + self.neither
        return None if self.is_empty else (self.both + self.neither) / total

    @property
    def precision(self) -> float | None:
        """0 where nothing was predicted that was there."""
        return None if self.is_empty else self.both / max(self.predicted, 1)

    @property
    def recall(self) -> float | None:
        """0 where something was predicted that was not there."""
        return None if self.is_empty else self.both / max(self.truth, 1)


def counted(truth: Labels, predicted: Labels) -> NDArray[np.int64]:
    """How often each pair of values occurs: (value in the truth, value in the prediction), 256 x 256.

    Args:
        truth, predicted: (slices, rows, columns).
    """
    found = np.zeros(VALUES * VALUES, np.int64)
    for of_truth, of_prediction in zip(truth, predicted, strict=True):
        pairs = of_truth.astype(np.uint16) << 8 | of_prediction
        found += np.bincount(pairs.ravel(), minlength=found.size)
    return found.reshape(VALUES, VALUES)


def overlap(pairs: NDArray[np.int64], values: Collection[int]) -> Overlap:
    """Of one class, the union of some label values, out of what `counted` returned."""
    of_it = list(values)
    both = int(pairs[np.ix_(of_it, of_it)].sum())
    truth, predicted = int(pairs[of_it].sum()), int(pairs[:, of_it].sum())
    missed, extra = truth - both, predicted - both
    return Overlap(both=both, extra=extra, missed=missed, neither=int(pairs.sum()) - both - missed - extra)


def boxes(*maps: Labels) -> dict[int, Box]:
    """Label value -> the smallest box that has all of its voxels in all of the maps."""
    found: dict[int, Box] = {}
    for labels in maps:
        for value, box in enumerate(ndimage.find_objects(labels), 1):
            if box is not None:
                found[value] = _around(found[value], box) if value in found else box
    return found


def _around(one: Box, other: Box) -> Box:
    slices, rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return slices, rows, columns
