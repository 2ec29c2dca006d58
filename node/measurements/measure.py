"""All that is measured of a label map, segment by segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.card import Segment

from ..study.geometry import Geometry
from ..study.volume import Volume
from .axes import axes, plane_mm
from .calibration import Box, Calibration, agreed, calibration
from .components import components, largest_first, touches
from .diameter import diameter_3d_mm
from .intensity import intensity
from .runs import Runs, of_labels, of_union
from .surface import surface_mm2
from .values import Lesion, Measured, PixelSize

#: lesions that are measured each by itself; all are counted
MOST_LESIONS = 100


def measure(volume: Volume, labels: NDArray[np.uint8], segments: Sequence[Segment]) -> tuple[Measured, ...]:
    """Measure every segment.

    Slices in the patient make a volume: it is measured in mm by their affine. Images that lie nowhere are measured each
    by itself, in mm where they say how large a pixel is and else in pixels (`calibration`); they have no volume, no
    surface and no third dimension, and their connected parts are those of each image.

    Args:
        volume: what the labels are of: values, grid, headers.
        labels: (slices, rows, columns), the label map on its grid.
        segments: of the card, in the order of the answer.
    """
    grid = volume.geometry
    runs = of_labels(labels, {segment.values[0] for segment in segments if len(segment.values) == 1})
    calibrations = [] if grid.in_patient else [calibration(header) for header in volume.headers]
    measured = []
    for segment in segments:
        alone = len(segment.values) == 1
        of_it = runs[segment.values[0]] if alone else of_union(labels, segment.values)
        plane = _of_slices(grid) if grid.in_patient else _of_images(of_it, calibrations)
        measured.append(_measured(volume, labels, segment, of_it, plane))
    return tuple(measured)


@dataclass(frozen=True)
class _Plane:
    """The known size of a pixel, and what takes (column, row) to mm in the plane: the identity where it is unknown."""

    size: PixelSize
    matrix: NDArray[np.float64]

    def area_mm2(self, pixels: int) -> float | None:
        return None if self.size == PixelSize.UNKNOWN else float(pixels * np.linalg.det(self.matrix))


def _of_slices(grid: Geometry) -> _Plane:
    return _Plane(PixelSize.PATIENT, plane_mm(grid.affine))


def _of_images(runs: Runs, calibrations: Sequence[Calibration]) -> _Plane:
    """Of the images that a segment is in, where it is; of all where it is in none."""
    here = [calibrations[k].within(Box(*part.box())) for k, part in runs.by_slice.items()]
    scale = agreed(here or [one.anywhere for one in calibrations])
    return _Plane(scale.size, np.diag([scale.columns_mm, scale.rows_mm]))


def _measured(volume: Volume, labels: NDArray[np.uint8], segment: Segment, runs: Runs, plane: _Plane) -> Measured:
    grid = volume.geometry
    pixels = runs.pixels(grid.shape[0])
    largest = int(pixels.argmax())
    count, numbers = components(runs, grid.shape, across_slices=grid.in_patient)
    parts = largest_first(runs, numbers, MOST_LESIONS) if segment.lesions else []
    long, short = axes(runs, plane.matrix) or (None, None)
    return Measured(
        value=segment.value,
        voxels=runs.voxels,
        volume_ml=_volume_ml(runs, grid),
        largest_slice=largest,
        pixels=int(pixels[largest]),
        area_mm2=plane.area_mm2(int(pixels[largest])),
        pixel_size=plane.size,
        intensity=intensity(volume.values.array, labels, segment.values, runs),
        long_axis=long,
        short_axis=short,
        diameter_3d_mm=diameter_3d_mm(runs, grid.affine) if grid.in_patient else None,
        surface_mm2=surface_mm2(labels, segment.values, runs, grid.affine) if grid.in_patient else None,
        components=count,
        touches=touches(runs, grid.shape, across_slices=grid.in_patient),
        lesions=tuple(_lesion(number, part, plane, grid) for number, part in enumerate(parts, 1)),
    )


def _lesion(number: int, runs: Runs, plane: _Plane, grid: Geometry) -> Lesion:
    pixels = runs.pixels(grid.shape[0])
    largest = int(pixels.argmax())
    long, short = axes(runs, plane.matrix) or (None, None)
    return Lesion(
        number=number,
        voxels=runs.voxels,
        volume_ml=_volume_ml(runs, grid),
        area_mm2=plane.area_mm2(int(pixels[largest])),
        largest_slice=largest,
        centre=runs.centre(),
        long_axis=long,
        short_axis=short,
    )


def _volume_ml(runs: Runs, grid: Geometry) -> float | None:
    return runs.voxels * grid.voxel_ml if grid.in_patient else None
