"""A short report that says why a study was not processed, as an Enhanced SR (TID 2000)."""

from __future__ import annotations

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from .characters import UTF8
from .forms import Form
from .identity import SR_SERIES_NUMBER, Provenance
from .reports.document import observer

FORM = Form("NOTICE", "not-processed")

TITLE = hd.sr.CodedConcept("18748-4", "LN", "Diagnostic imaging report")
CONTAINS, HAS_CONCEPT_MODIFIER = (
    hd.sr.RelationshipTypeValues.CONTAINS,
    hd.sr.RelationshipTypeValues.HAS_CONCEPT_MOD,
)


def notice(source: Dataset, sentence: str, provenance: Provenance) -> Dataset:
    """Write it.

    Args:
        source: the repaired header of an image that was not processed.
        sentence: why, for a technologist.
        provenance: of the network that was to read it; its mask hash stands for the reason.
    """
    sop_uid = provenance.result_uid(*FORM)
    text = hd.sr.TextContentItem(
        name=codes.DCM.Finding,
        value=f"Not processed by {provenance.card.title} {provenance.card.version}: {sentence}",
        relationship_type=CONTAINS,
    )
    section = hd.sr.ContainerContentItem(name=codes.DCM.Findings, relationship_type=CONTAINS)
    section.ContentSequence = [text]
    root = hd.sr.ContainerContentItem(name=TITLE, template_id="2000", is_content_continuous=False)
    language = hd.sr.LanguageOfContentItemAndDescendants(
        hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
    )
    root.ContentSequence = [
        *language,
        *hd.sr.ObservationContext(observer_device_context=observer(provenance)),
        section,
    ]
    sr = hd.sr.EnhancedSR(
        evidence=[source],
        content=root,
        series_instance_uid=provenance.series_uid(sop_uid),
        series_number=SR_SERIES_NUMBER,
        sop_instance_uid=sop_uid,
        instance_number=1,
        series_description=provenance.described("not processed"),
        is_complete=True,
        is_final=False,
        is_verified=False,
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        contributing_equipment=provenance.processing_equipment(),
        specific_character_set=UTF8,
        **provenance.general_equipment(),
    )
    provenance.stamp(sr, source)
    return sr
