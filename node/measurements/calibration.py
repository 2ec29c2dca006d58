"""What is known of the size of a pixel in an image that is no slice: a radiograph, an ultrasound frame, a photo."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from ..study.facts import UNREADABLE, text
from ..study.geometry import LARGEST_MM, SMALLEST_MM
from ..study.values import RADIOGRAPHY
from .values import PixelSize

#: two sizes that differ by less than this part of one are the same, written with another number of digits
SAME = 1e-3
#: RegionSpatialFormat, RegionDataType, PhysicalUnitsXDirection (PS3.3 C.8.5.5.1)
TWO_DIMENSIONAL, TISSUE, CENTIMETRES = 1, 1, 3


@dataclass(frozen=True)
class Scale:
    """The size of a pixel: mm between rows and between columns; 1 and 1 where it is unknown."""

    size: PixelSize
    rows_mm: float = 1.0
    columns_mm: float = 1.0

    def same(self, other: Scale) -> bool:
        return (
            self.size == other.size
            and math.isclose(self.rows_mm, other.rows_mm, rel_tol=SAME)
            and math.isclose(self.columns_mm, other.columns_mm, rel_tol=SAME)
        )


UNKNOWN = Scale(PixelSize.UNKNOWN)


@dataclass(frozen=True)
class Box:
    """A part of an image: first row, row after the last, first column, column after the last."""

    top: int
    bottom: int
    left: int
    right: int

    def holds(self, other: Box) -> bool:
        return self.meets(other) and (
            self.top <= other.top
            and other.bottom <= self.bottom
            and self.left <= other.left
            and other.right <= self.right
        )

    def meets(self, other: Box) -> bool:
        return max(self.top, other.top) < min(self.bottom, other.bottom) and max(self.left, other.left) < min(
            self.right, other.right
        )


@dataclass(frozen=True)
class Calibration:
    """What one image says of the size of its pixels.

    Attributes:
        everywhere: the size that holds for all of it.
        regions: where it says more: the places with a scale of their own. Then nothing is known outside of them.
    """

    everywhere: Scale
    regions: tuple[tuple[Box, Scale], ...] | None = None

    def within(self, part: Box) -> Scale:
        """The size of the pixels of a part; unknown unless all of it has the same."""
        if self.regions is None:
            return self.everywhere
        met = [(box, scale) for box, scale in self.regions if box.meets(part)]
        if not any(box.holds(part) for box, _ in met):
            return UNKNOWN
        return agreed(scale for _, scale in met)

    @property
    def anywhere(self) -> Scale:
        """The size of its pixels where nothing was found in it."""
        return self.everywhere if self.regions is None else agreed(scale for _, scale in self.regions)


def agreed(scales: Iterable[Scale]) -> Scale:
    """The one that all of them are; unknown where they differ, or there is none."""
    first, *others = [*scales] or [UNKNOWN]
    return first if all(first.same(other) for other in others) else UNKNOWN


def calibration(header: Dataset) -> Calibration:
    """Read an image's header.

    An ultrasound image says it by regions (PS3.3 C.8.5.5), and then only by them: the picture beside them may be
    another view, or none. Other images say it by their pixel spacings (PS3.3 10.7.1). What cannot be read is not there.
    """
    regions = _value(header, "SequenceOfUltrasoundRegions")
    if isinstance(regions, DicomSequence) and regions:
        found = (_region(item) for item in regions)
        return Calibration(UNKNOWN, tuple(region for region in found if region))
    return Calibration(_spacing(header))


def _spacing(header: Dataset) -> Scale:
    """The size that the pixel spacings give.

    PixelSpacing is the patient's where the image says that it was calibrated, or where it is another than that of the
    detector; where it is the same, nobody has calibrated it. Where only PixelSpacing is there it cannot be told, says
    PS3.3 10.7.1.1: in projection radiography that is then claimed for the detector alone, which lies behind the
    patient; elsewhere nothing is magnified. The film of a radiograph was its detector (NominalScannedPixelSpacing);
    what is on another film, or on paper, has any size.
    """
    spacing, imager = _pair(header, "PixelSpacing"), _pair(header, "ImagerPixelSpacing")
    is_radiograph = _text(header, "Modality") in RADIOGRAPHY
    film = _pair(header, "NominalScannedPixelSpacing")
    plane = imager or film
    at_plane = Scale(PixelSize.DETECTOR, *plane) if plane and (imager or is_radiograph) else UNKNOWN
    if spacing is None:
        return at_plane
    patient = Scale(PixelSize.PATIENT, *spacing)
    if _text(header, "PixelSpacingCalibrationType") in ("GEOMETRY", "FIDUCIAL"):
        return patient
    if plane is None:
        return Scale(PixelSize.DETECTOR, *spacing) if is_radiograph else patient
    is_plane = any(known and patient.same(Scale(PixelSize.PATIENT, *known)) for known in (imager, film))
    return at_plane if is_plane else patient


def _region(item: Dataset) -> tuple[Box, Scale] | None:
    """Where an ultrasound region is, and its scale; None where it is no calibrated 2D picture of tissue.

    Colour flow is drawn into a picture of tissue, which has its region too. The last row and column belong to it.
    """
    kind = [_value(item, keyword) for keyword in ("RegionSpatialFormat", "RegionDataType")]
    units = [_value(item, f"PhysicalUnits{axis}Direction") for axis in "XY"]
    if kind != [TWO_DIMENSIONAL, TISSUE] or units != [CENTIMETRES, CENTIMETRES]:
        return None
    corners = [_value(item, f"RegionLocation{corner}") for corner in ("MinY0", "MaxY1", "MinX0", "MaxX1")]
    rows_mm, columns_mm = (_centimetres(_value(item, f"PhysicalDelta{axis}")) for axis in "YX")
    if not all(isinstance(corner, int) for corner in corners) or rows_mm is None or columns_mm is None:
        return None
    top, last_row, left, last_column = corners
    return Box(top, last_row + 1, left, last_column + 1), Scale(PixelSize.PATIENT, rows_mm, columns_mm)


def _pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    """A spacing: mm between rows, mm between columns; None where it is none that an image can have."""
    value = _value(header, keyword)
    if not isinstance(value, (MultiValue, list, tuple)) or len(value) != 2:
        return None
    rows, columns = (_millimetres(part) for part in value)
    return None if rows is None or columns is None else (rows, columns)


def _millimetres(value: Any) -> float | None:
    """A size that a pixel can have."""
    try:
        size = float(value)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return size if SMALLEST_MM <= size <= LARGEST_MM else None


def _centimetres(value: Any) -> float | None:
    """The same, in mm, of a value in cm; its sign says which way the axis goes, which is no matter here."""
    return _millimetres(abs(value) * 10) if isinstance(value, int | float) else None


def _value(ds: Dataset, keyword: str) -> Any:
    try:
        return ds.get(keyword)
    except UNREADABLE:
        return None


def _text(ds: Dataset, keyword: str) -> str:
    return text(ds, keyword) if _value(ds, keyword) is not None else ""
