"""What is measured of a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Measured:
    """One segment, measured.

    Attributes:
        voxels: that carry its value.
        volume_ml: voxels times the volume of one.
        mean: of the modality values inside; None where the segment is empty.
    """

    voxels: int
    volume_ml: float
    mean: float | None


def measure(
    values: NDArray[np.float32], labels: NDArray[np.uint8], segments: Sequence[int], voxel_ml: float
) -> list[Measured]:
    """Measure every segment.

    Args:
        values: modality units, of the same shape as `labels`.
        labels: the label map.
        segments: the label values, in the order of the answer.
        voxel_ml: the volume of one voxel.
    """
    counts = np.bincount(labels.ravel(), minlength=256)
    sums = np.zeros(256)
    for labelled, measured in zip(labels, values, strict=True):  # by slice: no copy of the volume in float64
        if labelled.any():
            sums += np.bincount(labelled.ravel(), measured.ravel(), minlength=256)
    return [
        Measured(
            voxels=int(counts[value]),
            volume_ml=float(counts[value] * voxel_ml),
            mean=float(sums[value] / counts[value]) if counts[value] else None,
        )
        for value in segments
    ]
