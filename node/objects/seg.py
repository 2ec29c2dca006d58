"""A label map as a DICOM Segmentation (PS3.3 A.51), BINARY, on the grid of its source images."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from models.card import Segment

from . import picture_frames
from .codes import coded
from .identity import SEG_SERIES_NUMBER, Provenance

KIND, OPTIONS = "SEG", "BINARY"


def segmentation(
    sources: list[Dataset], labels: NDArray[np.uint8], provenance: Provenance, frames: tuple[int, ...] = ()
) -> Dataset:
    """Write the label map.

    Every segment of the card is described, empty or not, with its place in the card as its number. Frames without a
    voxel are left out, unless there would be none; on images that are no slices of a volume all are there.

    Args:
        sources: repaired headers, one per slice, in the order of the slices.
        labels: (slices, rows, columns), the card's values.
        provenance: what made it.
        frames: the frame that each slice is of its image; empty, or 0, where that is a single frame.
    """
    card = provenance.card
    in_patient = "FrameOfReferenceUID" in sources[0]
    framed = any(frames) or not in_patient
    given = picture_frames.as_slices(sources) if framed else sources
    sop_uid = provenance.result_uid(KIND, OPTIONS)
    numbered = _numbered(labels, [segment.value for segment in card.segment])
    seg = hd.seg.Segmentation(
        source_images=given,
        pixel_array=numbered,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, segment, provenance) for number, segment in enumerate(card.segment, 1)
        ],
        series_instance_uid=provenance.series_uid(sop_uid),
        series_number=SEG_SERIES_NUMBER,
        sop_instance_uid=sop_uid,
        instance_number=1,
        series_description=provenance.described("SEG"),
        content_label="AI_SEG",
        content_description=f"{card.title}, automatic"[:64],
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=in_patient and bool(numbered.any()),
        contributing_equipment=provenance.processing_equipment(),
        specific_character_set="ISO_IR 192",
        **provenance.general_equipment(),
    )
    if framed:
        picture_frames.name_frames(seg, given, sources, frames or (0,) * len(sources))
    if not in_patient:
        orientation = sources[0].get("PatientOrientation")
        picture_frames.take_away_place(seg, orientation=orientation, calibrated="PixelSpacing" in sources[0])
    if body_part := sources[0].get("BodyPartExamined"):
        seg.BodyPartExamined = body_part
    provenance.stamp(seg, sources[0])
    return seg


def _numbered(labels: NDArray[np.uint8], values: list[int]) -> NDArray[np.uint8]:
    """Label values -> segment numbers 1, 2, 3 (PS3.3 C.8.20.2)."""
    if values == list(range(1, len(values) + 1)):
        return labels
    table = np.zeros(256, np.uint8)
    table[values] = np.arange(1, len(values) + 1)
    return np.asarray(table[labels], np.uint8)


def _description(number: int, segment: Segment, provenance: Provenance) -> hd.seg.SegmentDescription:
    card = provenance.card
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=coded(segment.category),
        segmented_property_type=coded(segment.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=provenance.algorithm_name,
            version=card.version,
            source=card.manufacturer,
            family=codes.DCM.ArtificialIntelligence,
        ),
        anatomic_regions=[coded(segment.anatomic_region)] if segment.anatomic_region else None,
        tracking_id=segment.label,
        tracking_uid=provenance.tracking_uid(segment),
        display_color=hd.color.CIELabColor.from_rgb(*segment.colour),
    )
    if segment.laterality:
        modifier = Sequence([coded(segment.laterality)])
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifier
    return described
