"""The measurements as a TID 1500 report (PS3.16) in a Comprehensive 3D SR.

One group per segment: TID 1411 on volumes; TID 1410 on images that are none, of the frame that shows most of it.
"""

from __future__ import annotations

from typing import TypeAlias

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from models.card import Segment

from ..study.facts import text
from ..study.volume import Volume
from . import picture_frames
from .codes import coded
from .identity import SR_SERIES_NUMBER, Provenance
from .measure import Measured

KIND, OPTIONS = "SR", "TID1411"

MILLILITRE = hd.sr.CodedConcept("ml", "UCUM", "milliliter")
SQUARE_MILLIMETRE = hd.sr.CodedConcept("mm2", "UCUM", "square millimeter")
PIXELS = hd.sr.CodedConcept("{pixels}", "UCUM", "pixels")
HOUNSFIELD = hd.sr.CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit")
SUV_BODY_WEIGHT = hd.sr.CodedConcept("126401", "DCM", "SUVbw")
GRAM_PER_MILLILITRE = hd.sr.CodedConcept("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight")
NO_UNITS = hd.sr.CodedConcept("1", "UCUM", "no units")
SUM_OF_VOXELS = hd.sr.CodedConcept("126030", "DCM", "Sum of segmented voxel volumes")

#: what was imaged, where the source does not say it by code (AIR: the imaging procedure, not the algorithm)
PROCEDURES = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": hd.sr.CodedConcept("25056-3", "LN", "MR unspecified body region"),
}
ANY_PROCEDURE = hd.sr.CodedConcept("363679005", "SCT", "Imaging")


def report(
    sources: list[Dataset], seg: Dataset, measured: list[Measured], provenance: Provenance, volume: Volume
) -> Dataset:
    """Write the report.

    Args:
        sources: repaired headers of the images.
        seg: the segmentation that the groups refer to.
        measured: per segment of the card, in its order.
        provenance: what made it.
        volume: that was measured.
    """
    card = provenance.card
    sop_uid = provenance.result_uid(KIND, OPTIONS)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer(provenance)),
        procedure_reported=_procedure(sources[0]),
        imaging_measurements=[
            _group(number, segment, one, seg, sources, provenance, volume)
            for number, (segment, one) in enumerate(zip(card.segment, measured, strict=True), 1)
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    sr = hd.sr.Comprehensive3DSR(
        evidence=[
            *picture_frames.each_once(sources),
            seg,
        ],  # an image first: highdicom takes the acquisition equipment from it
        content=content,
        series_instance_uid=provenance.series_uid(sop_uid),
        series_number=SR_SERIES_NUMBER,
        sop_instance_uid=sop_uid,
        instance_number=1,
        series_description=provenance.described("SR"),
        is_complete=True,
        is_final=False,
        is_verified=False,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=provenance.processing_equipment(),
        specific_character_set="ISO_IR 192",
        **provenance.general_equipment(),
    )
    provenance.stamp(sr, sources[0])
    return sr


def observer(provenance: Provenance) -> hd.sr.ObserverContext:
    """The network as the device that observed (IHE AIR table 6.5.3.1-1)."""
    card = provenance.card
    return hd.sr.ObserverContext(
        codes.DCM.Device,
        hd.sr.DeviceObserverIdentifyingAttributes(
            uid=card.device_uid,
            name=f"{card.title} {card.version}"[:64],
            manufacturer_name=card.manufacturer,
            model_name=provenance.algorithm_name,
        ),
    )


def _procedure(source: Dataset) -> hd.sr.CodedConcept:
    for item in source.get("ProcedureCodeSequence") or []:
        return coded((str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning)))
    return PROCEDURES.get(str(source.get("Modality") or ""), ANY_PROCEDURE)


Group: TypeAlias = (
    hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations | hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
)


def _group(
    number: int,
    segment: Segment,
    measured: Measured,
    seg: Dataset,
    sources: list[Dataset],
    provenance: Provenance,
    volume: Volume,
) -> Group:
    card = provenance.card
    rows = [_size(measured)]
    named = _intensity(volume)
    if measured.mean is not None and named is not None:
        rows.append(hd.sr.Measurement(named[0], _rounded(measured.mean, 1), named[1], derivation=codes.SCT.Mean))
    said = dict(
        tracking_identifier=hd.sr.TrackingIdentifier(identifier=segment.label, uid=provenance.tracking_uid(segment)),
        finding_type=coded(segment.type),
        finding_category=coded(segment.category),
        finding_sites=_sites(segment),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=provenance.algorithm_name,
            version=card.version,
            manufacturer=card.manufacturer,
            family=codes.DCM.ArtificialIntelligence,
        ),
        measurements=rows,
    )
    if measured.volume_ml is not None:
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=hd.sr.ReferencedSegment(
                sop_class_uid=seg.SOPClassUID,
                sop_instance_uid=seg.SOPInstanceUID,
                segment_number=number,
                source_series=hd.sr.SourceSeriesForSegmentation(sources[0].SeriesInstanceUID),
            ),
            **said,
        )
    source, frame = sources[measured.largest_slice], volume.frames[measured.largest_slice]
    referenced = hd.sr.ReferencedSegmentationFrame(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        frame_number=picture_frames.frame_of(seg, number, source, frame),
        segment_number=number,
        source_image=hd.sr.SourceImageForSegmentation(
            source.SOPClassUID, source.SOPInstanceUID, [frame] if frame else None
        ),
    )
    del referenced[0].ReferencedSOPSequence[0].ReferencedSegmentNumber  # the frame says it (PS3.3 10.3)
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=referenced, **said)


def _size(measured: Measured) -> hd.sr.Measurement:
    if measured.volume_ml is not None:
        return hd.sr.Measurement(codes.SCT.Volume, _rounded(measured.volume_ml, 2), MILLILITRE, method=SUM_OF_VOXELS)
    if measured.area_mm2 is not None:
        return hd.sr.Measurement(codes.SCT.Area, _rounded(measured.area_mm2, 2), SQUARE_MILLIMETRE)
    return hd.sr.Measurement(codes.SCT.Area, measured.pixels, PIXELS)


def _sites(segment: Segment) -> list[hd.sr.FindingSite] | None:
    where = segment.anatomic_region or (segment.type if segment.laterality else None)
    if where is None:
        return None
    return [hd.sr.FindingSite(coded(where), laterality=coded(segment.laterality) if segment.laterality else None)]


def _intensity(volume: Volume) -> tuple[hd.sr.CodedConcept, hd.sr.CodedConcept] | None:
    """What the values are, and their unit; None where a mean of them would say nothing."""
    if volume.quantity == "HU":
        return codes.DCM.AttenuationCoefficient, HOUNSFIELD
    if volume.quantity == "suv_bw":
        return SUV_BODY_WEIGHT, GRAM_PER_MILLILITRE
    if text(volume.headers[0], "Modality") == "MR":
        return hd.sr.CodedConcept("110852", "DCM", "MR signal intensity"), NO_UNITS
    return None


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}f}")
