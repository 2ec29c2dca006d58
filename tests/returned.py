"""What comes back from viewers: segmentations with the habits of those who write them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

LUNG = Code("39607008", "SCT", "Lung")
TISSUE = Code("85756007", "SCT", "Tissue")
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
#: number, label, type, side
Described = tuple[int, str, Code, Code | None]
LUNGS: tuple[Described, ...] = ((1, "Left lung", LUNG, LEFT), (2, "Right lung", LUNG, RIGHT))


def segmentation(
    images: Sequence[Dataset],
    label_map: NDArray[np.uint8],
    described: Sequence[Described] = LUNGS,
    *,
    form: str = "BINARY",
    algorithm: str = "MANUAL",
    author: str = "Reader^One",
    category: Code = codes.SCT.AnatomicalStructure,
    colours: dict[int, tuple[int, int, int]] | None = None,
    **elements: Any,
) -> Dataset:
    """A SEG as highdicom writes it.

    Args:
        images: in the order of the slices.
        label_map: (slices, rows, columns), of segment numbers.
        described: all segments, empty or not.
        category: of all of them.
        elements: to be set afterwards.
    """
    used = [one for one in described if (label_map == one[0]).any()] if form == "LABELMAP" else list(described)
    made = hd.seg.Segmentation(
        source_images=list(images),
        pixel_array=label_map,
        segmentation_type=form,
        segment_descriptions=[_described(one, algorithm, category, (colours or {}).get(one[0])) for one in used],
        series_instance_uid=generate_uid(),
        series_number=77,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Viewer",
        manufacturer_model_name="Viewer",
        software_versions="1",
        device_serial_number="1",
        content_creator_name=author or None,
        omit_empty_frames=bool(label_map.any()),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    mine = through_bytes(made)  # highdicom shares elements with the images
    for keyword, value in elements.items():
        setattr(mine, keyword, value)
    return mine


def _described(
    one: Described, algorithm: str, category: Code, colour: tuple[int, int, int] | None
) -> hd.seg.SegmentDescription:
    number, label, type_, side = one
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=category,
        segmented_property_type=type_,
        algorithm_type=algorithm,
        algorithm_identification=None
        if algorithm == "MANUAL"
        else hd.AlgorithmIdentificationSequence(name="x", family=codes.DCM.ArtificialIntelligence, version="1"),
        display_color=hd.color.CIELabColor.from_rgb(*colour) if colour else None,
    )
    if side is not None:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = side.value, side.scheme_designator, side.meaning
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [item]
    return made


def through_bytes(ds: Dataset) -> Dataset:
    """The data set as somebody else reads it."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return dcmread(stream)


def renumbered(ds: Dataset, **elements: Any) -> Dataset:
    """A copy under other UIDs, as a viewer exports what it had loaded."""
    copy = through_bytes(ds)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    copy.SeriesInstanceUID = generate_uid()
    for keyword, value in elements.items():
        setattr(copy, keyword, value)
    return copy


def folder_of(objects: Sequence[Dataset], folder: Path) -> list[Path]:
    """Files of these objects."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03d}.dcm" for number in range(len(objects))]
    for ds, file in zip(objects, files, strict=True):
        ds.save_as(file, enforce_file_format=True)
    return files
