"""The report as Encapsulated PDF (PS3.3 A.45.1, C.24.2): for people, where a PACS shows no structured reports."""

from __future__ import annotations

import highdicom as hd
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EncapsulatedPDFStorage

from .. import references
from ..begun import as_file, begun
from ..forms import PDF, REPORT, Form
from ..identity import PDF_SERIES_NUMBER
from ..run import Run
from . import report_pages, words
from .workstation import put_workstation

TITLE = hd.sr.CodedConcept("18748-4", "LN", "Diagnostic imaging study")


def pdf_report(run: Run, *, marked: bool = False) -> bytes:
    """The report of a run, as a file.

    Args:
        marked: a person should look at this result before trusting it.
    """
    form = Form.of(PDF, REPORT, marked=marked)
    described = run.provenance.described("report", marked=marked)
    ds = begun(run, form, EncapsulatedPDFStorage, "DOC", PDF_SERIES_NUMBER, described)
    put_workstation(run, ds)
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"
    ds.SourceInstanceSequence = references.images(run, frames=False)
    ds.DocumentTitle = f"{words.network(run.provenance)}: report"
    ds.VerificationFlag = "UNVERIFIED"
    ds.ConceptNameCodeSequence = DicomSequence([TITLE])
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data = report_pages.pages(run, ds, marked=marked)
    ds.EncapsulatedDocumentLength = len(data)
    ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return as_file(ds)
