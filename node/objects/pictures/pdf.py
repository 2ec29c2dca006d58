"""The report as Encapsulated PDF (PS3.3 A.45.1, C.24.2): for people, where a PACS shows no structured reports."""

from __future__ import annotations

import highdicom as hd
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EncapsulatedPDFStorage

from ..identity import PDF_SERIES_NUMBER
from ..run import Run
from . import report_pages, words
from .instance import begin, finished, references

KIND, OPTIONS = "PDF", "REPORT"
REPORT = hd.sr.CodedConcept("18748-4", "LN", "Diagnostic imaging study")


def pdf_report(run: Run, *, marked: bool = False) -> bytes:
    """The report of a run, as a file.

    Args:
        marked: a person should look at this result before trusting it.
    """
    sop_uid = run.provenance.result_uid(KIND, OPTIONS + ("-MARKED" if marked else ""))
    ds = begin(run, EncapsulatedPDFStorage, sop_uid, run.provenance.series_uid(sop_uid))
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "DOC", PDF_SERIES_NUMBER, 1
    ds.SeriesDescription = run.provenance.described("report", marked=marked)
    ds.AcquisitionDateTime = ""
    ds.BurnedInAnnotation = "YES"
    ds.SourceInstanceSequence = references(run, range(len(run.sources)), frames=False)
    ds.DocumentTitle = f"{words.network(run.provenance)}: report"
    ds.VerificationFlag = "UNVERIFIED"
    ds.ConceptNameCodeSequence = DicomSequence([REPORT])
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data = report_pages.pages(run, ds, marked=marked)
    ds.EncapsulatedDocumentLength = len(data)
    ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return finished(ds)
