"""What a SOP class is to us. Only images make work (promise 6)."""

from __future__ import annotations

from functools import lru_cache

from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from db.arrivals import Kind

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")

LABELS = frozenset({SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE, RTStructureSetStorage})


@lru_cache(maxsize=256)
def kind_of(sop_class: str) -> Kind:
    """Image, label or other; `ours` is for the database to say."""
    if sop_class in LABELS:
        return Kind.LABEL
    keyword = UID(sop_class).keyword
    return Kind.IMAGE if "ImageStorage" in keyword else Kind.OTHER
