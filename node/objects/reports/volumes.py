"""The sizes and intensities of the segments: TID 1500 with a TID 1411 group for each segment.

On images that are no volume the groups are TID 1410: of the frame that shows most of the segment.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from models.card import Segment

from ...errors import Failed
from ...measurements.values import Intensity, Measured
from ...study.facts import text
from ...study.volume import Volume
from ..forms import VOLUMES
from ..identity import SR_SERIES_NUMBER
from ..run import Run, SegReference
from . import codes, groups, items
from .codes import Code
from .document import document
from .items import HAS_CONCEPT_MOD

#: digits behind the point; of a signal without a unit so many digits in all
HOUNSFIELD_DIGITS, SUV_DIGITS, SIGNAL_DIGITS = 1, 2, 4


def report(run: Run, seg: SegReference, options: str = VOLUMES, *, marked: bool = False) -> Dataset:
    """Write the report of sizes and intensities.

    Args:
        seg: the segmentation that the groups refer to.
        options: of the result: it decides the UIDs.
        marked: a person should look at this result before trusting it.

    Raises:
        Failed: `report-incomplete`: the segmentation lacks the frame that a group of a 2D image must refer to.
    """
    made = measured_groups(run, seg)
    return document(run, seg, options, made, what="SR", series_number=SR_SERIES_NUMBER, marked=marked)


def measured_groups(run: Run, seg: SegReference) -> list[bytes]:
    """One for each segment of the card, in its order."""
    segments = zip(run.provenance.card.segment, run.measured, strict=True)
    return [_group(run, seg, number, segment, measured) for number, (segment, measured) in enumerate(segments, 1)]


def _group(run: Run, seg: SegReference, number: int, segment: Segment, measured: Measured) -> bytes:
    children = [
        *groups.head(run.provenance, segment),
        *_sizes(segment, measured),
        *_intensities(measured, run.volume),
        *groups.evaluations(run, measured, "volume"),
        _referenced(seg, number, measured),
        _source(run, measured),
    ]
    return items.container(codes.MEASUREMENT_GROUP, children, "1410" if measured.volume_ml is None else "1411")


def _referenced(seg: SegReference, number: int, measured: Measured) -> bytes:
    """The segment: whole, or on images that are no volume its frame."""
    if measured.volume_ml is not None:
        return items.image(codes.REFERENCED_SEGMENT, seg.sop_class_uid, seg.sop_instance_uid, segment=number)
    frame = seg.frames.get((number, measured.largest_slice))
    if frame is None:
        raise Failed("report-incomplete", f"segment {number} has no frame of slice {measured.largest_slice} in the SEG")
    return items.image(codes.REFERENCED_FRAME, seg.sop_class_uid, seg.sop_instance_uid, frame=frame)


def _source(run: Run, measured: Measured) -> bytes:
    source = run.sources[measured.largest_slice]
    if measured.volume_ml is not None:
        return items.uid(codes.SOURCE_SERIES, source.SeriesInstanceUID)
    frame = run.volume.frames[measured.largest_slice]
    return items.image(codes.SOURCE_IMAGE, source.SOPClassUID, source.SOPInstanceUID, frame=frame)


def _sizes(segment: Segment, measured: Measured) -> list[bytes]:
    counted = codes.NUMBER_OF_LESIONS if segment.lesions else codes.NUMBER_OF_COMPONENTS
    rows = [_extent(measured)]
    if measured.diameter_3d_mm is not None:
        value = groups.rounded(measured.diameter_3d_mm, 1)
        rows.append(items.number(codes.DIAMETER_3D, value, codes.MILLIMETRE))
    if measured.surface_mm2 is not None:
        rows.append(items.number(codes.SURFACE, groups.rounded(measured.surface_mm2, 1), codes.SQUARE_MILLIMETRE))
    return [*rows, items.number(counted, str(measured.components), codes.COUNT)]


def _extent(measured: Measured) -> bytes:
    if measured.volume_ml is not None:
        return groups.volume(measured.volume_ml)
    if measured.area_mm2 is not None:
        return groups.area(measured.area_mm2, measured)
    return items.number(codes.AREA, str(measured.pixels), codes.PIXELS)


def _intensities(measured: Measured, volume: Volume) -> list[bytes]:
    named = _quantity(volume)
    if measured.intensity is None or named is None:
        return []
    name, unit = named
    return [
        items.number(name, _shown(value, name), unit, [items.code(codes.DERIVATION, derivation, HAS_CONCEPT_MOD)])
        for derivation, value in _statistics(measured.intensity)
    ]


def _statistics(intensity: Intensity) -> list[tuple[Code, float]]:
    return [
        (codes.MEAN, intensity.mean),
        (codes.STANDARD_DEVIATION, intensity.sd),
        (codes.MINIMUM, intensity.least),
        (codes.MAXIMUM, intensity.most),
        (codes.MEDIAN, intensity.median),
        (codes.TENTH_PERCENTILE, intensity.percentile_10),
        (codes.NINETIETH_PERCENTILE, intensity.percentile_90),
    ]


def _quantity(volume: Volume) -> tuple[Code, Code] | None:
    """What the values are, and their unit; None where statistics of them would say nothing."""
    if volume.quantity == "HU":
        return codes.ATTENUATION, codes.HOUNSFIELD
    if volume.quantity == "suv_bw":
        return codes.SUV_BODY_WEIGHT, codes.GRAM_PER_MILLILITRE
    if text(volume.headers[0], "Modality") == "MR":
        return codes.MR_SIGNAL, codes.NO_UNITS
    return None


def _shown(value: float, name: Code) -> str:
    if name == codes.ATTENUATION:
        return groups.rounded(value, HOUNSFIELD_DIGITS)
    if name == codes.SUV_BODY_WEIGHT:
        return groups.rounded(value, SUV_DIGITS)
    return groups.significant(value, SIGNAL_DIGITS)
