"""Results on images that are no slices of a volume: frames of multi-frame images, and 2D images that lie nowhere.

highdicom derives a segmentation from single-frame images in a frame of reference. Here a frame is given to it as one,
and what is not true of the finished object is mended afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage

from .uids import derive

FRAME_CONTENT = Tag(0x0020, 0x9111)
TEMPORAL_POSITION_INDEX = Tag(0x0020, 0x9128)


def as_slices(sources: Sequence[Dataset]) -> list[Dataset]:
    """Headers as highdicom wants them: of a single-frame class, and each in a place of its own."""
    frame_of_reference = derive("", "nowhere", str(sources[0].SOPInstanceUID))
    made = []
    for k, source in enumerate(sources):
        ds = Dataset()
        ds.update(source)
        ds.file_meta = source.file_meta
        del ds.SOPClassUID  # of this one only: the element is shared with the source
        ds.SOPClassUID = CTImageStorage
        made.append(ds)
        if "FrameOfReferenceUID" in source:
            continue
        ds.FrameOfReferenceUID = frame_of_reference
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = source.get("PixelSpacing") or [1, 1]
        ds.SliceThickness = ds.SpacingBetweenSlices = 1
    return made


def name_frames(seg: Dataset, slices: Sequence[Dataset], sources: Sequence[Dataset], frames: Sequence[int]) -> None:
    """Say of each frame of a segmentation which frame of its image it was made from (PS3.3 10.3).

    Args:
        seg: derived from these slices; changed in place.
        sources: as they were before `as_slices`.
        frames: the number of each source in its image, counted from 1; 0 where that is a single frame.
    """
    number_at = {_position(one): number for one, number in zip(slices, frames, strict=True)}
    sop_class = sources[0].SOPClassUID
    for groups in seg.PerFrameFunctionalGroupsSequence:
        number = number_at[_position(groups.PlanePositionSequence[0])]
        for derivation in groups.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                item.ReferencedSOPClassUID = sop_class
                if number:
                    item.ReferencedFrameNumber = number
    seg.SourceImageSequence = _each_once(seg.SourceImageSequence)
    for item in (
        *seg.SourceImageSequence,
        *(one for of in seg.ReferencedSeriesSequence for one in of.ReferencedInstanceSequence),
    ):
        item.ReferencedSOPClassUID = sop_class
    for series in seg.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = _each_once(series.ReferencedInstanceSequence)


def _position(ds: Dataset) -> tuple[float, ...]:
    return tuple(round(float(part), 4) for part in ds.ImagePositionPatient)


def _each_once(references: Sequence[Dataset]) -> list[Dataset]:
    return list({item.ReferencedSOPInstanceUID: item for item in references}.values())


def each_once(sources: Sequence[Dataset]) -> list[Dataset]:
    """One header per image."""
    return list({source.SOPInstanceUID: source for source in sources}.values())


def take_away_place(seg: Dataset, *, orientation: Any, calibrated: bool) -> None:
    """Remove what `as_slices` has made up: no frame of reference, no planes; the frames follow one another in time.

    Args:
        seg: changed in place.
        orientation: PatientOrientation of the source (PS3.3 C.7.6.1, type 2C without a plane); may be empty.
        calibrated: whether the pixel spacing is true.
    """
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator", "DimensionOrganizationType"):
        if keyword in seg:
            delattr(seg, keyword)
    seg.PatientOrientation = orientation
    shared = seg.SharedFunctionalGroupsSequence[0]
    del shared.PlaneOrientationSequence
    if calibrated:
        for keyword in ("SliceThickness", "SpacingBetweenSlices"):
            if keyword in shared.PixelMeasuresSequence[0]:
                delattr(shared.PixelMeasuresSequence[0], keyword)
    else:
        del shared.PixelMeasuresSequence
    for groups in seg.PerFrameFunctionalGroupsSequence:
        groups.FrameContentSequence[0].TemporalPositionIndex = groups.FrameContentSequence[0].DimensionIndexValues[-1]
        del groups.PlanePositionSequence
    by_place = seg.DimensionIndexSequence[-1]
    by_place.DimensionIndexPointer, by_place.FunctionalGroupPointer = TEMPORAL_POSITION_INDEX, FRAME_CONTENT
    by_place.DimensionDescriptionLabel = "TemporalPositionIndex"


def frame_of(seg: Dataset, segment_number: int, source: Dataset, frame: int) -> int:
    """The frame of a segmentation, counted from 1, that shows a segment on a frame of its source."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    for number, groups in enumerate(seg.PerFrameFunctionalGroupsSequence, 1):
        identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        item = groups.DerivationImageSequence[0].SourceImageSequence[0]
        same = item.ReferencedSOPInstanceUID == source.SOPInstanceUID and item.get("ReferencedFrameNumber", 0) == frame
        if same and identified[0].ReferencedSegmentNumber == segment_number:
            return number
    raise LookupError(f"segment {segment_number} has no frame on frame {frame} of its source")
