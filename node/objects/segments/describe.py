"""What each segment is, who found it, and in which colour it is shown (PS3.3 C.8.20.2, C.8.20.4)."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from models.card import Segment

from ..codes import coded
from ..identity import Provenance

BLACK = hd.color.CIELabColor(0, 0, 0)


def segments(provenance: Provenance, *, label_map: bool) -> list[Dataset]:
    """An item per segment of the card, empty or not, with its place in the card as number; a label map has a 0 too."""
    described = [_segment(number, one, provenance) for number, one in enumerate(provenance.card.segment, 1)]
    return [_background(provenance), *described] if label_map else described


def _segment(number: int, segment: Segment, provenance: Provenance) -> Dataset:
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


def _background(provenance: Provenance) -> Dataset:
    """Segment 0, which is no segment (PS3.3 C.8.20.2: the only one that may have this number)."""
    ds = Dataset()
    ds.SegmentNumber, ds.SegmentLabel = 0, "Background"
    ds.SegmentedPropertyCategoryCodeSequence = [hd.sr.CodedConcept.from_code(codes.DCM.Background)]
    ds.SegmentedPropertyTypeCodeSequence = [hd.sr.CodedConcept.from_code(codes.DCM.Background)]
    ds.SegmentAlgorithmType, ds.SegmentAlgorithmName = "AUTOMATIC", provenance.algorithm_name
    ds.RecommendedDisplayCIELabValue = list(BLACK.value)
    return ds
