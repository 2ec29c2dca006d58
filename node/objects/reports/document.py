"""What both reports have in common: the document around the groups (TID 1500, PS3.16)."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from ..characters import UTF8
from ..codes import coded
from ..forms import SR
from ..headers import each_once
from ..identity import Predecessor, Provenance
from ..run import Run, SegReference
from . import codes, groups, items
from .codes import Code

NOTHING_FOUND = "Nothing was found: the network marked no voxel of any segment."

PREDECESSORS, EVIDENCE = 0x0040A360, 0x0040A375


def document(
    run: Run,
    seg: SegReference | None,
    options: str,
    measured_groups: Sequence[bytes],
    *,
    what: str,
    series_number: int,
    marked: bool,
) -> Dataset:
    """The Comprehensive 3D SR around measurement groups.

    Args:
        seg: the segmentation that was measured, where there is one; evidence, beside all images.
        options: of the result; it begins with the template's name.
        what: for the series description.
        marked: a person should look at this result before trusting it.
    """
    provenance, source = run.provenance, run.sources[0]
    sop_uid = provenance.result_uid(SR, options)
    root = hd.sr.ContainerContentItem(name=coded(codes.REPORT), template_id="1500")
    root.ContentSequence = hd.sr.ContentSequence()
    sr = hd.sr.Comprehensive3DSR(
        evidence=[source],  # an image: highdicom takes patient, study and acquisition equipment from it
        content=root,
        series_instance_uid=provenance.series_uid(sop_uid),
        series_number=series_number,
        sop_instance_uid=sop_uid,
        instance_number=1,
        series_description=provenance.described(what, marked=marked),
        is_complete=True,
        is_final=False,
        is_verified=False,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=provenance.processing_equipment(),
        specific_character_set=UTF8,
        **provenance.general_equipment(),
    )
    sr.CodingSchemeIdentificationSequence = [codes.scheme_identified()]
    provenance.stamp(sr, source)
    # what is put into it now is in the encoding in which it will be written
    sr.set_original_encoding(False, True, convert_encodings(UTF8))
    if replaced := [one for one in provenance.predecessors if options.startswith(one.template)]:
        items.put(sr, PREDECESSORS, _predecessors(provenance.study_uid, replaced))
    fill(sr, run, seg, measured_groups)
    return sr


def fill(sr: Dataset, run: Run, seg: SegReference | None, measured_groups: Sequence[bytes]) -> None:
    """Put content and evidence into a report, in place of what it has of them."""
    source = run.sources[0]
    images = [items.reference(one.SOPClassUID, one.SOPInstanceUID) for one in each_once(run.sources)]
    by_series = [(source.SeriesInstanceUID, images)]
    if seg is not None:
        by_series.append((seg.series_uid, [items.reference(seg.sop_class_uid, seg.sop_instance_uid)]))
    by_series += [
        (one.series_uid, [items.reference(one.sop_class_uid, one.sop_instance_uid)])
        for one in {one.sop_instance_uid: one for one in run.provenance.read}.values()
    ]
    items.put(sr, EVIDENCE, items.hierarchy(source.StudyInstanceUID, by_series))
    items.put(sr, items.CONTENT, *_content(run, measured_groups))


def observer(provenance: Provenance) -> hd.sr.ObserverContext:
    """The network as the device that observed (IHE AIR table 6.5.3.1-1), as highdicom's item."""
    uid, name, manufacturer, model_name = _observed_by(provenance)
    return hd.sr.ObserverContext(
        standard.DCM.Device,
        hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid, name=name, manufacturer_name=manufacturer, model_name=model_name
        ),
    )


def _observed_by(provenance: Provenance) -> tuple[str, str, str, str]:
    """UID, name, manufacturer and model name of the network."""
    card = provenance.card
    return card.device_uid, f"{card.title} {card.version}"[:64], card.manufacturer, provenance.algorithm_name


def _content(run: Run, measured_groups: Sequence[bytes]) -> list[bytes]:
    """TID 1500: language, observer, procedure, the groups, and what is said of all of the result."""
    uid, name, manufacturer, model_name = _observed_by(run.provenance)
    said = [*groups.doubts(run, None), *(items.text(codes.COMMENT, one.sentence) for one in run.provenance.read)]
    if run.found is None and not any(measured.voxels for measured in run.measured):
        said.insert(0, items.text(codes.COMMENT, NOTHING_FOUND))
    return [
        items.code(codes.LANGUAGE, codes.ENGLISH, items.HAS_CONCEPT_MOD),
        items.code(codes.OBSERVER_TYPE, codes.DEVICE, items.HAS_OBS_CONTEXT),
        items.uid(codes.OBSERVER_UID, uid, items.HAS_OBS_CONTEXT),
        items.text(codes.OBSERVER_NAME, name, items.HAS_OBS_CONTEXT),
        items.text(codes.OBSERVER_MANUFACTURER, manufacturer, items.HAS_OBS_CONTEXT),
        items.text(codes.OBSERVER_MODEL_NAME, model_name, items.HAS_OBS_CONTEXT),
        items.code(codes.PROCEDURE_REPORTED, _procedure(run.sources[0]), items.HAS_CONCEPT_MOD),
        items.container(codes.IMAGING_MEASUREMENTS, measured_groups),
        *([items.container(codes.QUALITATIVE_EVALUATIONS, said)] if said else []),
    ]


def _procedure(source: Dataset) -> Code:
    """The imaging procedure, not the algorithm (IHE AIR 6.5.3.1)."""
    for item in source.get("ProcedureCodeSequence") or []:
        return str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning)
    return codes.PROCEDURES.get(str(source.get("Modality") or ""), codes.ANY_PROCEDURE)


def _predecessors(study_uid: str, replaced: Sequence[Predecessor]) -> bytes:
    """Of Predecessor Documents Sequence (PS3.3 C.17.2.1)."""
    by_series = [(one.series_uid, [items.reference(one.sop_class_uid, one.sop_instance_uid)]) for one in replaced]
    return items.hierarchy(study_uid, by_series)
