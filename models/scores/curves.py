"""How well a probability tells a class from the rest: ROC, precision and recall, calibration. Exact, in little memory.

A float16 from 0 to 1 has one of 15,361 values, and their bit patterns are in the order of their size. So the voxels are
counted per value, once for the class and once for the rest, and every curve follows from these counts without a sort
and without an approximation. Counts of several cases may be added.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: the bit pattern of 1.0 as float16, and how many values there are up to it
ONE = 0x3C00
LEVELS = ONE + 1
BINS = 10

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranked:
    """How many voxels have each probability, from the least to the greatest.

    Attributes:
        inside: of the voxels of the class in the truth.
        outside: of all others.
    """

    inside: Counts
    outside: Counts

    def __add__(self, other: Ranked) -> Ranked:
        return Ranked(self.inside + other.inside, self.outside + other.outside)

    def roc_auc(self) -> float | None:
        """The area under the ROC curve; None without voxels inside, or without voxels outside.

        It is the chance that a voxel inside has a greater probability than one outside, equal ones counted half (Mann
        and Whitney).
        """
        inside, outside = int(self.inside.sum()), int(self.outside.sum())
        if not inside or not outside:
            return None
        lower = np.cumsum(self.outside) - self.outside
        return float(self.inside @ (lower + self.outside / 2)) / inside / outside

    def pr_auc(self) -> float | None:
        """Average precision: the sum of precision times the step in recall; None without voxels inside.

        Not interpolated: a straight line between two points of this curve is too high (Davis and Goadrich, ICML 2006).
        """
        inside = int(self.inside.sum())
        if not inside:
            return None
        found, taken = _from_above(self.inside), _from_above(self.inside + self.outside)
        precision = found / np.maximum(taken, 1)
        return float(precision @ self.inside[::-1]) / inside

    def roc(self) -> tuple[Numbers, Numbers]:
        """The false and the true positive rate as the threshold falls; no points where there is no area."""
        if self.roc_auc() is None:
            return np.zeros(0), np.zeros(0)
        return _corners(_rate(self.outside), _rate(self.inside))

    def reliability(self) -> tuple[Numbers, Numbers, Counts]:
        """Of ten bins of equal width: the mean probability, the part that is of the class, and the voxels."""
        value = np.arange(LEVELS, dtype=np.uint16).view(np.float16).astype(float)
        of = np.minimum((value * BINS).astype(int), BINS - 1)
        both = self.inside + self.outside
        voxels = np.bincount(of, both, BINS).astype(np.int64)
        count = np.maximum(voxels, 1)
        return np.bincount(of, both * value, BINS) / count, np.bincount(of, self.inside, BINS) / count, voxels

    def calibration_error(self) -> float | None:
        """The mean gap between probability and frequency over the bins, by voxels (ECE, Naeini, AAAI 2015)."""
        said, seen, voxels = self.reliability()
        total = int(voxels.sum())
        return float(np.abs(said - seen) @ voxels) / total if total else None


def ranked(inside: NDArray[np.bool_], probability: NDArray[np.float16]) -> Ranked:
    """Count the voxels per probability.

    Args:
        inside: (slices, rows, columns), of the truth.
        probability: the same shape, 0 to 1.

    Raises:
        ValueError: the shapes differ, or a value is not a probability.
    """
    if inside.shape != probability.shape or probability.dtype != np.float16:
        raise ValueError(
            f"probabilities of {probability.shape} as {probability.dtype} do not fit a mask of {inside.shape}: "
            "float16 of the same shape are needed"
        )
    of_class, of_all = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
    for mask, values in zip(inside, probability, strict=True):
        bits = (values + np.float16(0)).view(np.uint16)  # -0 becomes 0
        if bits.size and int(bits.max()) > ONE:
            raise ValueError("a probability is not a number from 0 to 1")
        of_all += np.bincount(bits.ravel(), minlength=LEVELS)
        of_class += np.bincount(bits[mask], minlength=LEVELS)
    return Ranked(of_class, of_all - of_class)


def _from_above(counts: Counts) -> Counts:
    """How many have at least each value, from the greatest value on."""
    return np.cumsum(counts[::-1])


def _rate(counts: Counts) -> Numbers:
    above = _from_above(counts)
    return np.concatenate(([0.0], above / above[-1]))


def _corners(across: Numbers, up: Numbers) -> tuple[Numbers, Numbers]:
    """Without the points that lie where the one before does, and within one pixel of any plot: a thousand at most."""
    steps = np.round((across + up) * 500)
    kept = np.concatenate(([True], np.diff(steps) > 0))
    kept[-1] = True
    return across[kept], up[kept]
