"""Where the slices of a series lie: the grid, out of the place of every slice (PS3.3 C.7.6.2), or why there is none.

The geometry comes from ImagePositionPatient, ImageOrientationPatient and PixelSpacing of every slice, never from
numbers, names or the order of arrival. A gantry tilt stays in the affine as shear. What is not a regular stack of
slices is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import Refused
from . import pixels
from .facts import text

#: direction cosines may differ by this much between slices of one series, and from right angles
ORIENTATION_TOLERANCE = 2e-3
#: a step between slices may differ from the usual one by this part of it
STEP_TOLERANCE = 0.05
#: a slice may lie beside the line of the others by this part of the step
LINE_TOLERANCE = 0.05
#: slices closer than this lie in one place
SAME_PLACE_MM = 1e-3
PLACE_DIGITS = 2
#: no image is that far from the origin of its frame of reference, and no pixel so small or so large
FARTHEST_MM = 1e5
SMALLEST_MM, LARGEST_MM = 1e-4, 1e3


@dataclass(frozen=True)
class Geometry:
    """The grid of a series.

    Attributes:
        affine: 4x4, from (column, row, slice) index to patient coordinates in mm (LPS: left, posterior, superior).
        shape: (slices, rows, columns).
        in_patient: whether the images say where in the patient they lie. A radiograph or an ultrasound frame does not:
            its affine has the size of a pixel, and 1 mm where even that is unknown.
        is_calibrated: whether the size of a pixel is known, in the patient.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    in_patient: bool = True
    is_calibrated: bool = True

    @property
    def voxel_ml(self) -> float:
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def pixel_mm2(self) -> float:
        """The area of one pixel of a slice."""
        return float(np.linalg.norm(np.cross(self.affine[:3, 0], self.affine[:3, 1])))

    @property
    def slice_step_mm(self) -> float:
        """Between neighbouring slices, along their normal."""
        normal = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return abs(float(self.affine[:3, 2] @ normal / np.linalg.norm(normal)))


def place(headers: Sequence[Dataset]) -> tuple[Geometry, list[int]]:
    """The grid of a series and the order of its images along the slice axis.

    The slice axis follows the normal of the images: the cross product of the row and the column direction.

    Raises:
        Refused: see the codes below.
    """
    if len(headers) < 2:
        raise Refused("too-few-slices", "the series has a single slice; a volume needs at least two")
    rows, columns = _size(headers)
    _same_frame_of_reference(headers)
    row, column = _orientation(headers)
    between_rows, between_columns = _pixel_spacing(headers)
    positions = np.array([_numbers(header, "ImagePositionPatient", 3) for header in headers])
    if np.abs(positions).max() > FARTHEST_MM:
        raise Refused("impossible-position", "ImagePositionPatient of an image lies outside of any scanner")
    normal = np.cross(row, column)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    _regular_steps(np.diff(along))
    step = (positions[-1] - positions[0]) / (len(headers) - 1)
    line = positions[0] + np.arange(len(headers))[:, None] * step
    away = positions - line
    if np.abs(away @ normal).max() > LINE_TOLERANCE * abs(float(step @ normal)):
        raise _uneven(np.diff(along))
    aside = np.linalg.norm(away, axis=1).max()
    if aside > LINE_TOLERANCE * np.linalg.norm(step):
        raise Refused(
            "slices-not-in-line", f"the slices of the series do not lie on one line: one is {aside:.2f} mm beside it"
        )
    affine = np.eye(4)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return Geometry(affine, (len(headers), rows, columns)), [int(n) for n in order]


def flat(headers: Sequence[Dataset]) -> Geometry:
    """The grid of images that lie nowhere in the patient: one 2D image, or the frames of one, in their order.

    The size of a pixel is PixelSpacing where that is there (PS3.3 10.7.1.3); ImagerPixelSpacing is measured at the
    detector and does not count as the patient's.
    """
    rows, columns = _size(headers)
    spacing = np.ones(2)
    calibrated = all(header.get("PixelSpacing") not in (None, "") for header in headers)
    if calibrated:
        spacing = np.array(_pixel_spacing(headers))
    return Geometry(
        np.diag([spacing[1], spacing[0], 1.0, 1.0]),
        (len(headers), rows, columns),
        in_patient=False,
        is_calibrated=calibrated,
    )


def duplicates(headers: Sequence[Dataset]) -> list[list[int]]:
    """The groups of slices that lie in one place, by index; empty where a place cannot be read."""
    try:
        positions = np.array([_numbers(header, "ImagePositionPatient", 3) for header in headers])
    except Refused:
        return []
    groups: dict[tuple[float, ...], list[int]] = {}
    for n, position in enumerate(positions):
        groups.setdefault(tuple(position.round(PLACE_DIGITS) + 0.0), []).append(n)
    return [group for group in groups.values() if len(group) > 1]


def _size(headers: Sequence[Dataset]) -> tuple[int, int]:
    sizes = {pixels.pixel_shape(header) for header in headers}
    if len(sizes) > 1:
        raise Refused("mixed-size", "the images of the series are of different sizes, or some are in colour")
    (size,) = sizes
    return size[0], size[1]


def _same_frame_of_reference(headers: Sequence[Dataset]) -> None:
    frames = {text(header, "FrameOfReferenceUID") for header in headers}
    if "" in frames:
        raise Refused(
            "no-frame-of-reference",
            "the series has no FrameOfReferenceUID, so a result could not be placed in the patient",
        )
    if len(frames) > 1:
        raise Refused("mixed-frame-of-reference", f"the images of the series lie in {len(frames)} frames of reference")


def _orientation(headers: Sequence[Dataset]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cosines = np.array([_numbers(header, "ImageOrientationPatient", 6) for header in headers])
    usual = np.median(cosines, axis=0)
    if np.abs(cosines - usual).max() > ORIENTATION_TOLERANCE:
        raise Refused("mixed-orientation", "the images of the series do not all lie in parallel planes")
    row, column = usual[:3], usual[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > ORIENTATION_TOLERANCE or abs(row @ column) > ORIENTATION_TOLERANCE:
        raise Refused("impossible-orientation", "ImageOrientationPatient is not two directions at a right angle")
    return row / lengths[0], column / lengths[1]


def _pixel_spacing(headers: Sequence[Dataset]) -> tuple[float, float]:
    spacings = np.array([_numbers(header, "PixelSpacing", 2) for header in headers])
    if (spacings <= 0).any():
        raise Refused("impossible-spacing", "PixelSpacing of an image is not greater than zero")
    if (spacings < SMALLEST_MM).any() or (spacings > LARGEST_MM).any():
        raise Refused(
            "impossible-spacing", f"PixelSpacing of an image is not between {SMALLEST_MM} and {LARGEST_MM} mm"
        )
    usual = np.median(spacings, axis=0)
    if (np.abs(spacings - usual) > 1e-4 * usual).any():
        raise Refused("mixed-spacing", "the images of the series have different pixel sizes")
    return float(usual[0]), float(usual[1])


def _regular_steps(steps: NDArray[np.float64]) -> None:
    if (steps < SAME_PLACE_MM).any():
        double = int((steps < SAME_PLACE_MM).sum())
        raise Refused(
            "duplicate-position",
            f"{double} slice{'s' * (double > 1)} of the series lie where another one lies: several phases or echoes in "
            "one?",
        )
    usual = float(np.median(steps))
    off = np.abs(steps - usual) > STEP_TOLERANCE * usual
    if not off.any():
        return
    multiples = np.round(steps / usual)
    if (np.abs(steps - multiples * usual) <= STEP_TOLERANCE * usual * multiples).all() and (multiples >= 1).all():
        lacking = int((multiples - 1).sum())
        raise Refused(
            "missing-slice",
            f"{lacking} slice{'s' * (lacking > 1)} of the series are missing between the ones that came",
        )
    raise _uneven(steps)


def _uneven(steps: NDArray[np.float64]) -> Refused:
    return Refused(
        "uneven-spacing", f"the slices of the series lie {steps.min():.2f} to {steps.max():.2f} mm apart, not evenly"
    )


def _numbers(
    header: Dataset, keyword: str, count: int, default: tuple[float, ...] | None = None
) -> NDArray[np.float64]:
    value = header.get(keyword)
    if value in (None, "") and default is not None:
        return np.array(default)
    try:
        parts = value if count > 1 else [value]
        numbers = np.array([float(part) for part in parts])
    except (ArithmeticError, TypeError, ValueError):
        raise Refused("geometry-missing", f"an image of the series has no usable {keyword}") from None
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Refused("geometry-missing", f"{keyword} of an image is not {count} finite number{'s' * (count > 1)}")
    return numbers
