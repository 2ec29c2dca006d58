"""What is measured of a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..study.geometry import Geometry


@dataclass(frozen=True)
class Measured:
    """One segment, measured.

    Attributes:
        voxels: that carry its value.
        volume_ml: voxels times the volume of one; None on images that are no volume.
        mean: of the modality values inside; None where the segment is empty.
        largest_slice: where most of it is; the first where it is empty.
        pixels: that carry its value there.
        area_mm2: of these; None where the size of a pixel is not known.
    """

    voxels: int
    volume_ml: float | None
    mean: float | None
    largest_slice: int
    pixels: int
    area_mm2: float | None


def measure(
    values: NDArray[np.float32], labels: NDArray[np.uint8], segments: Sequence[int], geometry: Geometry
) -> list[Measured]:
    """Measure every segment.

    Args:
        values: modality units, of the same shape as `labels`; or with a last axis for colour, which has no mean.
        labels: the label map.
        segments: the label values, in the order of the answer.
        geometry: their grid.
    """
    counts = np.zeros((len(labels), 256), np.int64)
    sums = np.zeros(256)
    for k, (labelled, measured) in enumerate(zip(labels, values, strict=True)):  # no copy of the volume in float64
        counts[k] = np.bincount(labelled.ravel(), minlength=256)
        if values.ndim == labels.ndim and labelled.any():
            sums += np.bincount(labelled.ravel(), measured.ravel(), minlength=256)
    return [_measured(counts[:, value], sums[value], values.ndim == labels.ndim, geometry) for value in segments]


def _measured(counts: NDArray[np.int64], total: float, has_mean: bool, geometry: Geometry) -> Measured:
    voxels, largest = int(counts.sum()), int(counts.argmax())
    return Measured(
        voxels=voxels,
        volume_ml=voxels * geometry.voxel_ml if geometry.in_patient else None,
        mean=float(total / voxels) if voxels and has_mean else None,
        largest_slice=largest,
        pixels=int(counts[largest]),
        area_mm2=float(counts[largest] * geometry.pixel_mm2) if geometry.is_calibrated else None,
    )
