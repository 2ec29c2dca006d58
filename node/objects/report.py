"""The measurements as a TID 1500 report (PS3.16) in a Comprehensive 3D SR, one TID 1411 group per segment."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from models.card import Segment

from .identity import SR_SERIES_NUMBER, Provenance
from .measure import Measured
from .seg import coded

KIND, OPTIONS = "SR", "TID1411"

MILLILITRE = hd.sr.CodedConcept("ml", "UCUM", "milliliter")
HOUNSFIELD = hd.sr.CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNITS = hd.sr.CodedConcept("1", "UCUM", "no units")
SUM_OF_VOXELS = hd.sr.CodedConcept("126030", "DCM", "Sum of segmented voxel volumes")

#: what was imaged, where the source does not say it by code (AIR: the imaging procedure, not the algorithm)
PROCEDURES = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": hd.sr.CodedConcept("25056-3", "LN", "MR unspecified body region"),
}
ANY_PROCEDURE = hd.sr.CodedConcept("363679005", "SCT", "Imaging")


def report(sources: list[Dataset], seg: Dataset, measured: list[Measured], provenance: Provenance) -> Dataset:
    """Write the report.

    Args:
        sources: repaired headers of the images.
        seg: the segmentation that the groups refer to.
        measured: per segment of the card, in its order.
        provenance: what made it.
    """
    card = provenance.card
    sop_uid = provenance.result_uid(KIND, OPTIONS)
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer(provenance)),
        procedure_reported=_procedure(sources[0]),
        imaging_measurements=[
            _group(number, segment, one, seg, sources[0], provenance)
            for number, (segment, one) in enumerate(zip(card.segment, measured, strict=True), 1)
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    sr = hd.sr.Comprehensive3DSR(
        evidence=[*sources, seg],  # an image first: highdicom takes the acquisition equipment from it
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


def _observer(provenance: Provenance) -> hd.sr.ObserverContext:
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


def _group(
    number: int, segment: Segment, measured: Measured, seg: Dataset, source: Dataset, provenance: Provenance
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    card = provenance.card
    volume = hd.sr.Measurement(codes.SCT.Volume, _rounded(measured.volume_ml, 2), MILLILITRE, method=SUM_OF_VOXELS)
    rows = [volume]
    if measured.mean is not None:
        name, unit = _intensity(str(source.get("Modality") or ""))
        rows.append(hd.sr.Measurement(name, _rounded(measured.mean, 1), unit, derivation=codes.SCT.Mean))
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(source.SeriesInstanceUID),
        ),
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


def _sites(segment: Segment) -> list[hd.sr.FindingSite] | None:
    where = segment.anatomic_region or (segment.type if segment.laterality else None)
    if where is None:
        return None
    return [hd.sr.FindingSite(coded(where), laterality=coded(segment.laterality) if segment.laterality else None)]


def _intensity(modality: str) -> tuple[hd.sr.CodedConcept, hd.sr.CodedConcept]:
    if modality == "CT":
        return codes.DCM.AttenuationCoefficient, HOUNSFIELD
    return hd.sr.CodedConcept("110852", "DCM", "MR signal intensity"), NO_UNITS


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}f}")
