"""What came back, as highdicom reads it: masks of a SEG, numbers of a report."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

Masks = NDArray[np.bool_]


def sorted_images(folder: Path) -> list[Dataset]:
    """The images of a folder by the names of their files."""
    return [dcmread(file) for file in sorted(folder.rglob("*.dcm"))]


def masks(seg: Dataset, images: Sequence[Dataset]) -> Masks:
    """The segments of a SEG on the images that it was made from, (segments; images, rows, columns).

    Args:
        images: in the order wanted. What the SEG has no frame of is empty.
    """
    stream = BytesIO()
    seg.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    read = hd.seg.segread(stream)
    uids = [str(ds.SOPInstanceUID) for ds in images]
    options = {"assert_missing_frames_are_empty": True, "ignore_spatial_locations": True}
    found = read.get_pixels_by_source_instance(uids, combine_segments=False, **options)
    return np.moveaxis(found > 0, -1, 0)


def measured(reports: Sequence[Dataset]) -> dict[str, dict[str, float]]:
    """What reports on one image or series say of each structure: its tracking identifier -> measurement -> value."""
    found: dict[str, dict[str, float]] = {}
    for report in reports:
        content = hd.sr.Comprehensive3DSR.from_dataset(report).content
        groups = [
            *content.get_volumetric_roi_measurement_groups(),
            *content.get_planar_roi_measurement_groups(),
            *content.get_image_measurement_groups(),
        ]
        for group in groups:
            numbers = {one.name.meaning: float(one.value) for one in group.get_measurements() if one.derivation is None}
            found.setdefault(str(group.tracking_identifier), {}).update(numbers)
    return found


def made_from(ds: Dataset, images: Sequence[Dataset]) -> list[int]:
    """Which of the images an object says that it was made from, by number."""
    named = {str(element.value) for element in ds.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
    return [number for number, image in enumerate(images) if str(image.SOPInstanceUID) in named]


def dice(one: Masks, other: Masks) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0
