"""The contours of one ROI, sorted onto the slices of a volume by where their points lie (PS3.3 C.8.8.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from . import raster
from .label_file import items, text, unreadable, whole_number
from .segment_frames import references_of
from .slices import BETWEEN, OUTSIDE, Numbers, Reference, Slices

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
WITHOUT_AREA = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
CONTOUR_DATA = 0x30060050
#: of the step between slices: the points of a contour lie in one plane, and so do the contours of a slice
OFF_PLANE = 0.1
#: no contour is that far from the origin of its frame of reference
FARTHEST_MM = 1e5


@dataclass
class Contours:
    """What an ROI has.

    Attributes:
        polygons: slice -> closed contours, each (points, 2), column and row.
        heights: slice -> of each of them along the normal, mm.
        outside, between: pixels inside of contours that lie on no slice.
        across: contours that are not parallel to the slices.
        misnamed: contours that do not name the image on which they lie; only counted where they should.
        ignored: points and open contours.
    """

    polygons: dict[int, list[Numbers]] = field(default_factory=dict)
    heights: dict[int, list[float]] = field(default_factory=dict)
    outside: int = 0
    between: int = 0
    across: int = 0
    misnamed: int = 0
    ignored: int = 0

    @property
    def any_closed(self) -> bool:
        return bool(self.polygons or self.outside or self.between or self.across)

    def planes_mixed(self, slices: Slices) -> bool:
        """Whether contours of several planes came to lie on one slice."""
        return any(max(found) - min(found) > OFF_PLANE * slices.step_mm for found in self.heights.values())


def sorted_onto(slices: Slices, roi: Dataset, names: Mapping[Reference, int] | None) -> Contours:
    """The contours of an item of ROIContourSequence.

    Args:
        names: the slice of each image, where contours are only believed that name the image on which they lie.

    Raises:
        Refused: `label-unreadable`, `label-too-large`.
    """
    found = Contours()
    for contour in items(roi, "ContourSequence"):
        points, kind = _points(contour), text(contour, "ContourGeometricType").upper()
        if kind not in CLOSED + WITHOUT_AREA:
            raise unreadable("ContourGeometricType")
        if kind not in CLOSED or len(points) < 3:
            found.ignored += 1
            continue
        heights = points @ slices.normal
        if np.ptp(heights) > OFF_PLANE * slices.step_mm:
            found.across += 1
            continue
        height_mm = float(heights.mean())
        k = slices.at(height_mm)
        if names is not None and _named(contour, names) != {k}:
            found.misnamed += 1
        if k in (BETWEEN, OUTSIDE):
            pixels = raster.runs([slices.index(points)[:, :2]]).count()
            found.between += pixels if k == BETWEEN else 0
            found.outside += pixels if k == OUTSIDE else 0
        else:
            found.polygons.setdefault(k, []).append(slices.in_plane(points, k))
            found.heights.setdefault(k, []).append(height_mm)
    return found


def _points(contour: Dataset) -> Numbers:
    """(points, 3), mm LPS.

    Of thousands of contours with hundreds of points, so they are taken from the bytes.
    """
    element = contour.get_item(CONTOUR_DATA, keep_deferred=True)
    raw = element.value if isinstance(element, RawDataElement) else None
    if not isinstance(raw, bytes) or b"_" in raw:  # which Python takes inside a number, and PS3.5 6.2 does not
        if element is None or not element.value:
            return np.empty((0, 3))
        raise unreadable("ContourData")
    try:
        made = np.array([float(part) for part in raw.strip(b" \0").split(b"\\")] if raw.strip(b" \0") else [])
        points = made.reshape(-1, 3)
    except ValueError as error:
        raise unreadable("ContourData", error) from None
    if whole_number(contour, "NumberOfContourPoints", len(points)) != len(points):
        raise unreadable("ContourData")
    if not (np.abs(points) < FARTHEST_MM).all():  # nor is a NaN
        raise unreadable("ContourData")
    return points


def _named(contour: Dataset, names: Mapping[Reference, int]) -> set[int | None]:
    images = items(contour, "ContourImageSequence")
    return {names.get(reference) for image in images for reference in references_of(image)}


@dataclass(frozen=True)
class Filled:
    """What the contours of one slice mark.

    Attributes:
        mask: (rows, columns).
        outside: pixels beyond the edge of the image.
        doubtful: pixels in which contours cross, so that even-odd and union differ, and no hole is meant.
        copies: contours that mark the same as another one does.
    """

    mask: NDArray[np.bool_]
    outside: int
    doubtful: int
    copies: int


def filled(polygons: list[Numbers], rows: int, columns: int) -> Filled:
    """Combine the contours of a slice by even-odd, the largest first: each of the others is then a hole in what is
    there already, or an island, with all of its pixels; or it crosses an outline.

    Raises:
        Refused: `label-too-large`.
    """
    marked = [raster.runs([one]) for one in polygons]
    outside, doubtful, copies, mask = 0, 0, 0, np.zeros((rows, columns), bool)
    flat, known = mask.ravel(), set()
    for one in sorted(marked, key=lambda runs: -runs.count()):
        pixels = one.within(rows, columns)
        key = pixels.tobytes()
        if key and key in known:
            copies += 1
            continue
        known.add(key)
        already = flat[pixels]
        if already.any() and not already.all():
            doubtful += int(already.sum())
        flat[pixels] = ~already
        outside += one.count() - len(pixels)
    return Filled(mask, outside, doubtful, copies)
