"""A structure set: its contours lie on the images that they name, and hold the voxels of the mask (PS3.3 C.8.8.6)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from models.card import Segment
from models.membership import inside

from ...study.facts import text
from ..run import Run
from .codes import same_code
from .read import Read
from .together import Together

CONTOUR_DATA = 0x30060050
TYPES = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: of a pixel
OFF_PLANE = 0.02


def faults(one: Read, together: Together) -> Iterator[str]:
    """Whether every segment is an ROI of its number, filled by its contours as the mask fills it."""
    ds, run = one.ds, together.run
    segments = run.provenance.card.segment
    named = {int(item.ROINumber): item for item in ds.StructureSetROISequence}
    drawn = {int(item.ReferencedROINumber): item for item in ds.ROIContourSequence}
    observed = {int(item.ReferencedROINumber): item for item in ds.RTROIObservationsSequence}
    if not named.keys() == drawn.keys() == observed.keys() == set(range(1, len(segments) + 1)):
        yield "its ROIs are not the segments of the card"
        return
    yield from _images(ds, together)
    for number, segment in enumerate(segments, 1):
        roi = named[number]
        if text(roi, "ROIName") != segment.label:
            yield f"ROI {number} is not called {segment.label!r}"
        if text(roi, "ReferencedFrameOfReferenceUID") != text(run.sources[0], "FrameOfReferenceUID"):
            yield f"ROI {number} lies in another frame of reference"
        if not same_code(observed[number].get("RTROIIdentificationCodeSequence"), segment.type):
            yield f"ROI {number} is not coded as the card has it"
        yield from (f"{segment.label}: {fault}" for fault in _filled(drawn[number], segment, together))


def _images(ds: Dataset, together: Together) -> Iterator[str]:
    images = {
        text(image, "ReferencedSOPInstanceUID")
        for frame in ds.ReferencedFrameOfReferenceSequence
        for study in frame.RTReferencedStudySequence
        for series in study.RTReferencedSeriesSequence
        for image in series.ContourImageSequence
    }
    if images != {uid for uid, _ in together.images}:
        yield "the images that it lists are not those that it was made from"


def _filled(roi: Dataset, segment: Segment, together: Together) -> Iterator[str]:
    run = together.run
    edges: dict[int, list[NDArray[np.float64]]] = {}
    for contour in roi.get("ContourSequence") or ():
        images = contour.get("ContourImageSequence") or []
        k = together.slice_of(images[0]) if len(images) == 1 else None
        if k is None or text(contour, "ContourGeometricType") not in TYPES:
            yield "a contour does not name its image, or is not closed"
            return
        points = _points(contour, k, run)
        if points is None:
            yield "a contour does not lie on the image that it names"
            return
        edges.setdefault(k, []).append(np.hstack([points, np.roll(points, -1, axis=0)]))
    shape, wrong = (run.volume.geometry.shape[1], run.volume.geometry.shape[2]), 0
    for k in np.union1d(np.flatnonzero(together.pixels(segment)), list(edges)).astype(int):
        filled = fill(np.vstack(edges[k]), shape) if k in edges else np.zeros(shape, bool)
        wrong += int((filled != inside(run.labels[k], segment.values)).sum())
    if wrong:
        yield f"its contours hold {wrong} pixels otherwise than the mask"


def _points(contour: Dataset, k: int, run: Run) -> NDArray[np.float64] | None:
    """(points, 2): column and row, the centre of the first pixel being (0, 0); None where they lie off the image."""
    element = contour.get_item(CONTOUR_DATA)
    raw = element.value if isinstance(element, RawDataElement) else None
    numbers = raw.decode("ascii").split("\\") if isinstance(raw, bytes) else list(contour.ContourData)
    points = np.array([float(number) for number in numbers]).reshape(-1, 3)
    corner = np.array([float(part) for part in run.volume.headers[k].ImagePositionPatient])
    axes = run.volume.geometry.affine[:3, :2]
    found = (points - corner) @ np.linalg.pinv(axes).T
    away_mm = np.linalg.norm(points - corner - found @ axes.T, axis=1)
    if len(points) != int(contour.NumberOfContourPoints) or len(points) < 3:
        return None
    return found if away_mm.max() <= OFF_PLANE * run.volume.geometry.pixel_mm2**0.5 else None


def fill(edges: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside of closed contours, by the even-odd rule.

    Args:
        edges: (edges, 4): column and row of both ends; the centre of the first pixel is (0, 0).
        shape: (rows, columns).
    """
    rows, columns = shape
    edges = edges[edges[:, 1] != edges[:, 3]]
    down = edges[:, 1] < edges[:, 3]
    upper = np.where(down[:, None], edges[:, :2], edges[:, 2:])
    lower = np.where(down[:, None], edges[:, 2:], edges[:, :2])
    first = np.ceil(upper[:, 1]).clip(0, rows).astype(int)
    last = np.ceil(lower[:, 1]).clip(0, rows).astype(int)  # the end of an edge is the start of the next one
    of = np.repeat(np.arange(len(edges)), last - first)
    row = np.arange(len(of)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[of]
    slope = (lower[:, 0] - upper[:, 0]) / (lower[:, 1] - upper[:, 1])
    column = upper[of, 0] + (row - upper[of, 1]) * slope[of]
    crossed = np.zeros((rows, columns + 1), np.int32)
    np.add.at(crossed, (row, np.ceil(column).clip(0, columns).astype(int)), 1)
    return np.asarray(np.cumsum(crossed, axis=1)[:, :columns] % 2 == 1)
