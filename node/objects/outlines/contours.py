"""Contours as the bytes of a Contour Sequence (PS3.3 C.8.8.6).

A structure set has thousands of contours of eight elements each. They are packed here, in Implicit VR Little Endian
(PS3.5 A.1), because a data set of their own for each of them takes longer than all the rest.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.tag import BaseTag, Tag

from ..run import Run
from .trace import Polygon

CONTOUR_SEQUENCE = Tag("ContourSequence")
CONTOUR_IMAGE_SEQUENCE = Tag("ContourImageSequence")
REFERENCED_SOP_CLASS_UID = Tag("ReferencedSOPClassUID")
REFERENCED_SOP_INSTANCE_UID = Tag("ReferencedSOPInstanceUID")
REFERENCED_FRAME_NUMBER = Tag("ReferencedFrameNumber")
CONTOUR_GEOMETRIC_TYPE = Tag("ContourGeometricType")
NUMBER_OF_CONTOUR_POINTS = Tag("NumberOfContourPoints")
CONTOUR_NUMBER = Tag("ContourNumber")
CONTOUR_DATA = Tag("ContourData")
ITEM = Tag(0xFFFEE000)


def sequence(run: Run, polygons: list[Polygon]) -> DataElement:
    """The Contour Sequence of one ROI.

    Args:
        run: whose slices the polygons lie in.
        polygons: at least one; in pixels.
    """
    affine, digits = run.volume.geometry.affine, _digits(run)
    slices = {one.slice for one in polygons}
    images = {k: _image(run, k) for k in slices}
    # from each image's own place, which may lie a little beside the even steps of the grid
    places_mm = {k: np.array([float(part) for part in run.sources[k].ImagePositionPatient]) for k in slices}
    items = []
    for number, one in enumerate(polygons, 1):
        points_mm = places_mm[one.slice] + one.points @ affine[:3, :2].T
        items.append(
            _element(
                ITEM,
                images[one.slice]
                + _text(CONTOUR_GEOMETRIC_TYPE, "CLOSED_PLANAR")
                + _text(NUMBER_OF_CONTOUR_POINTS, str(len(one.points)))
                + _text(CONTOUR_NUMBER, str(number))
                + _text(CONTOUR_DATA, decimals(points_mm, digits)),
            )
        )
    # as OB its bytes are written as they are; the VR itself is not written, being implicit
    return DataElement(CONTOUR_SEQUENCE, "OB", b"".join(items))


def decimals(points_mm: NDArray[np.float64], digits: int) -> str:
    """Points as decimal strings of at most 16 characters: none lies farther than 1e5 mm, nor has more than 7 digits."""
    numbers = (points_mm.round(digits) + 0.0).ravel().tolist()  # no negative zero
    return (f"%.{digits}f\\" * len(numbers) % tuple(numbers))[:-1]


def _digits(run: Run) -> int:
    """Behind the point, so that rounding moves a point by no more than a two-thousandth of a pixel."""
    smallest_mm = min(float(np.linalg.norm(run.volume.geometry.affine[:3, axis])) for axis in (0, 1))
    return max(3, int(np.ceil(3 - np.log10(smallest_mm))))


def _image(run: Run, k: int) -> bytes:
    """The Contour Image Sequence of a slice: its image and, of a multi-frame one, its frame."""
    source, frame = run.sources[k], run.volume.frames[k]
    named = _text(REFERENCED_SOP_CLASS_UID, source.SOPClassUID, "\0")
    named += _text(REFERENCED_SOP_INSTANCE_UID, source.SOPInstanceUID, "\0")
    if frame:
        named += _text(REFERENCED_FRAME_NUMBER, str(frame))
    return _element(CONTOUR_IMAGE_SEQUENCE, _element(ITEM, named))


def _text(tag: BaseTag, text: str, padding: str = " ") -> bytes:
    return _element(tag, (text + padding * (len(text) % 2)).encode("ascii"))


def _element(tag: BaseTag, value: bytes) -> bytes:
    return struct.pack("<HHL", tag.group, tag.element, len(value)) + value
