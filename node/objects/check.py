"""Look at the finished bytes as a stranger would, before they may be sent (promise 8).

Without highdicom, which wrote them: the mask is taken out of the SEG frame by frame, by the positions that the frames
state, and the volumes of the report are compared with the voxels of that mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.card import Card

from ..errors import Failed
from ..study.volume import Geometry

#: a frame's position may differ from the grid by this part of a voxel
PLACE_TOLERANCE = 0.02
#: codes of TID 1411 that are looked at
MEASUREMENT_GROUP, TRACKING_UID, REFERENCED_SEGMENT, VOLUME = "125007", "112040", "121191", "118565006"
#: the SR rounds to hundredths
VOLUME_TOLERANCE_ML = 0.006


def check(
    seg_bytes: bytes,
    sr_bytes: bytes,
    labels: NDArray[np.uint8],
    geometry: Geometry,
    source: Dataset,
    card: Card,
) -> None:
    """Compare what was written with what was meant.

    Args:
        seg_bytes, sr_bytes: the Part 10 files.
        labels: the network's label map, (slices, rows, columns).
        geometry: its grid.
        source: the repaired header of an image.
        card: of the network.

    Raises:
        Failed: `self-check`, naming what differs.
    """
    seg, sr = dcmread(BytesIO(seg_bytes)), dcmread(BytesIO(sr_bytes))
    _same_study(seg, source)
    _same_study(sr, source)
    if seg.FrameOfReferenceUID != source.FrameOfReferenceUID:
        raise Failed("self-check", "the SEG has another frame of reference than its source")
    back = mask(seg, geometry, [segment.value for segment in card.segment])
    if not np.array_equal(back, labels):
        raise Failed("self-check", f"{int((back != labels).sum())} voxels of the SEG are not those of the network")
    _volumes_agree(sr, seg, labels, geometry, card)


def _same_study(ds: Dataset, source: Dataset) -> None:
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
        if str(ds.get(keyword) or "") != str(source.get(keyword) or ""):
            raise Failed("self-check", f"{keyword} of the {ds.Modality} is not that of its source")


def mask(seg: Dataset, geometry: Geometry, values: list[int]) -> NDArray[np.uint8]:
    """The label map of a BINARY SEG on a grid.

    Raises:
        Failed: `self-check`: a frame does not lie on the grid, or frames overlap.
    """
    back = np.zeros(geometry.shape, np.uint8)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    to_index = np.linalg.inv(geometry.affine)
    shared = seg.SharedFunctionalGroupsSequence[0]
    _same_plane(shared, geometry)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(part) for part in groups.PlanePositionSequence[0].ImagePositionPatient]
        at = (to_index @ [*position, 1])[:3]
        k = round(float(at[2]))
        if np.abs(at - (0, 0, k)).max() > PLACE_TOLERANCE or not 0 <= k < geometry.shape[0]:
            raise Failed("self-check", "a frame of the SEG does not lie on the grid of its source")
        identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        number = int(identified[0].ReferencedSegmentNumber)
        inside = frame > 0
        if back[k][inside].any():
            raise Failed("self-check", "segments of the SEG overlap")
        back[k][inside] = values[number - 1]
    return back


def _same_plane(shared: Dataset, geometry: Geometry) -> None:
    cosines = np.array([float(part) for part in shared.PlaneOrientationSequence[0].ImageOrientationPatient])
    rows, columns = (float(part) for part in shared.PixelMeasuresSequence[0].PixelSpacing)
    stated = np.stack([cosines[:3] * columns, cosines[3:] * rows], axis=1)
    if not np.allclose(stated, geometry.affine[:3, :2], atol=1e-4 * max(rows, columns)):
        raise Failed("self-check", "the SEG states another orientation or pixel size than its source has")


def _volumes_agree(sr: Dataset, seg: Dataset, labels: NDArray[np.uint8], geometry: Geometry, card: Card) -> None:
    groups = [item for item in _items(sr) if _named(item, MEASUREMENT_GROUP)]
    if len(groups) != len(card.segment):
        raise Failed("self-check", f"the SR has {len(groups)} groups for {len(card.segment)} segments")
    counts = np.bincount(labels.ravel(), minlength=256)
    for number, (group, segment) in enumerate(zip(groups, card.segment, strict=True), 1):
        referenced = _only(group, REFERENCED_SEGMENT).ReferencedSOPSequence[0]
        if (referenced.ReferencedSOPInstanceUID, referenced.ReferencedSegmentNumber) != (seg.SOPInstanceUID, number):
            raise Failed("self-check", f"group {number} of the SR refers to another segment")
        if _only(group, TRACKING_UID).UID != seg.SegmentSequence[number - 1].TrackingUID:
            raise Failed("self-check", f"group {number} of the SR tracks something else than its segment")
        stated = _only(group, VOLUME).MeasuredValueSequence[0]
        for value in {float(stated.NumericValue), float(stated.get("FloatingPointValue", stated.NumericValue))}:
            if abs(value - counts[segment.value] * geometry.voxel_ml) > VOLUME_TOLERANCE_ML:
                raise Failed("self-check", f"the SR gives {value} ml for {segment.label}, its voxels another volume")


def _items(ds: Dataset) -> Iterator[Dataset]:
    """Every content item, depth first."""
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from _items(item)


def _named(item: Dataset, code: str) -> bool:
    name = item.get("ConceptNameCodeSequence")
    return bool(name) and name[0].CodeValue == code


def _only(group: Dataset, code: str) -> Dataset:
    found = [item for item in group.ContentSequence if _named(item, code)]
    if len(found) != 1:
        raise Failed("self-check", f"a group of the SR has {len(found)} items ({code}), not one")
    return found[0]
