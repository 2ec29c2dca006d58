"""Look at the finished bytes as a stranger would, before they may be sent (promise 8).

Without highdicom, which wrote them: the mask is taken out of the SEG frame by frame, by the positions that the frames
state, and the volumes of the report are compared with the voxels of that mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.card import Card

from ..errors import Failed
from ..study.geometry import LINE_TOLERANCE, Geometry
from ..study.volume import Volume

#: a frame's position may differ from that of its image by this part of a pixel
PLACE_TOLERANCE = 0.02
#: codes of TID 1411 that are looked at
MEASUREMENT_GROUP, TRACKING_UID, REFERENCED_SEGMENT, VOLUME = "125007", "112040", "121191", "118565006"
#: codes of TID 1410
REFERENCED_FRAME, AREA = "121214", "42798000"
#: the SR rounds millilitres and square millimetres to hundredths
SIZE_TOLERANCE = 0.006


def check(
    seg_bytes: bytes,
    sr_bytes: bytes,
    labels: NDArray[np.uint8],
    volume: Volume,
    sources: Sequence[Dataset],
    card: Card,
) -> None:
    """Compare what was written with what was meant.

    Args:
        seg_bytes, sr_bytes: the Part 10 files.
        labels: the network's label map, (slices, rows, columns).
        volume: that it was made from.
        sources: the repaired header of each slice.
        card: of the network.

    Raises:
        Failed: `self-check`, naming what differs.
    """
    seg, sr = dcmread(BytesIO(seg_bytes)), dcmread(BytesIO(sr_bytes))
    source, geometry = sources[0], volume.geometry
    _same_study(seg, source)
    _same_study(sr, source)
    if seg.get("FrameOfReferenceUID") != source.get("FrameOfReferenceUID"):
        raise Failed("self-check", "the SEG has another frame of reference than its source")
    places = None if geometry.in_patient else _references(sources, volume.frames)
    back = mask(seg, geometry, [segment.value for segment in card.segment], places)
    if not np.array_equal(back, labels):
        raise Failed("self-check", f"{int((back != labels).sum())} voxels of the SEG are not those of the network")
    if geometry.in_patient:
        _where_images_lie(seg, sources)
    _sizes_agree(sr, seg, labels, geometry, card)


def _references(sources: Sequence[Dataset], frames: Sequence[int]) -> dict[tuple[str, int], int]:
    """(SOP Instance UID, frame number) of each slice -> its index."""
    return {(str(one.SOPInstanceUID), frame): k for k, (one, frame) in enumerate(zip(sources, frames, strict=True))}


def _same_study(ds: Dataset, source: Dataset) -> None:
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
        if str(ds.get(keyword) or "") != str(source.get(keyword) or ""):
            raise Failed("self-check", f"{keyword} of the {ds.Modality} is not that of its source")


def mask(
    seg: Dataset, geometry: Geometry, values: list[int], references: Mapping[tuple[str, int], int] | None = None
) -> NDArray[np.uint8]:
    """The label map of a BINARY SEG on a grid.

    Args:
        references: where the images lie nowhere in the patient, the slice of each image and frame.

    Raises:
        Failed: `self-check`: a frame does not lie on the grid, or frames overlap.
    """
    back = np.zeros(geometry.shape, np.uint8)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    to_index = np.asarray(np.linalg.inv(geometry.affine), np.float64)
    shared = seg.SharedFunctionalGroupsSequence[0]
    if references is None:
        _same_plane(shared, geometry)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        k = _slice_by_place(groups, to_index, geometry) if references is None else _slice_by_name(groups, references)
        identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        number = int(identified[0].ReferencedSegmentNumber)
        inside = frame > 0
        if back[k][inside].any():
            raise Failed("self-check", "segments of the SEG overlap")
        back[k][inside] = values[number - 1]
    return back


def _slice_by_place(groups: Dataset, to_index: NDArray[np.float64], geometry: Geometry) -> int:
    position = _position(groups.PlanePositionSequence[0])
    k = round(float((to_index @ [*position, 1])[2]))
    away_mm = np.linalg.norm(position - (geometry.affine @ [0, 0, k, 1])[:3])
    off_mm = LINE_TOLERANCE * float(np.linalg.norm(geometry.affine[:3, 2]))  # as much as an image may
    if away_mm > off_mm + PLACE_TOLERANCE * geometry.pixel_mm2**0.5 or not 0 <= k < geometry.shape[0]:
        raise Failed("self-check", "a frame of the SEG does not lie on the grid of its source")
    return k


def _where_images_lie(seg: Dataset, sources: Sequence[Dataset]) -> None:
    places = np.array([_position(source) for source in sources])
    tolerance_mm = PLACE_TOLERANCE * min(float(part) for part in sources[0].PixelSpacing)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        away_mm = np.linalg.norm(places - _position(groups.PlanePositionSequence[0]), axis=1)
        if away_mm.min() > tolerance_mm:
            raise Failed("self-check", "a frame of the SEG lies where none of its images lies")


def _position(ds: Dataset) -> NDArray[np.float64]:
    return np.array([float(part) for part in ds.ImagePositionPatient])


def _slice_by_name(groups: Dataset, references: Mapping[tuple[str, int], int]) -> int:
    (item,) = groups.DerivationImageSequence[0].SourceImageSequence
    named = str(item.ReferencedSOPInstanceUID), int(item.get("ReferencedFrameNumber") or 0)
    if named not in references or "PlanePositionSequence" in groups:
        raise Failed("self-check", "a frame of the SEG does not name an image that it was made from")
    return references[named]


def _same_plane(shared: Dataset, geometry: Geometry) -> None:
    cosines = np.array([float(part) for part in shared.PlaneOrientationSequence[0].ImageOrientationPatient])
    rows, columns = (float(part) for part in shared.PixelMeasuresSequence[0].PixelSpacing)
    stated = np.stack([cosines[:3] * columns, cosines[3:] * rows], axis=1)
    if not np.allclose(stated, geometry.affine[:3, :2], atol=1e-4 * max(rows, columns)):
        raise Failed("self-check", "the SEG states another orientation or pixel size than its source has")


def _sizes_agree(sr: Dataset, seg: Dataset, labels: NDArray[np.uint8], geometry: Geometry, card: Card) -> None:
    groups = [item for item in _items(sr) if _named(item, MEASUREMENT_GROUP)]
    if len(groups) != len(card.segment):
        raise Failed("self-check", f"the SR has {len(groups)} groups for {len(card.segment)} segments")
    for number, (group, segment) in enumerate(zip(groups, card.segment, strict=True), 1):
        named = REFERENCED_SEGMENT if geometry.in_patient else REFERENCED_FRAME
        referenced = _only(group, named).ReferencedSOPSequence[0]
        meant = referenced.ReferencedSegmentNumber if geometry.in_patient else _segment_of(seg, referenced)
        if (referenced.ReferencedSOPInstanceUID, meant) != (seg.SOPInstanceUID, number):
            raise Failed("self-check", f"group {number} of the SR refers to another segment")
        if _only(group, TRACKING_UID).UID != seg.SegmentSequence[number - 1].TrackingUID:
            raise Failed("self-check", f"group {number} of the SR tracks something else than its segment")
        stated = _only(group, VOLUME if geometry.in_patient else AREA).MeasuredValueSequence[0]
        counts = (labels == segment.value).sum(axis=(1, 2))
        if geometry.in_patient:
            right = counts.sum() * geometry.voxel_ml
        else:
            right = counts.max() * (geometry.pixel_mm2 if geometry.is_calibrated else 1)
        for value in {float(stated.NumericValue), float(stated.get("FloatingPointValue", stated.NumericValue))}:
            if abs(value - right) > SIZE_TOLERANCE:
                raise Failed("self-check", f"the SR gives {value} for the size of {segment.label}, its voxels another")


def _segment_of(seg: Dataset, reference: Dataset) -> int:
    """The segment that a frame of a SEG shows."""
    shared, groups = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence
    own = groups[int(reference.ReferencedFrameNumber) - 1].get("SegmentIdentificationSequence")
    return int((own or shared.SegmentIdentificationSequence)[0].ReferencedSegmentNumber)


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
