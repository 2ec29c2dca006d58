"""The report: what it says and in which letters, the same bytes every time, in an object that others accept."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import ImageFont
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.measurements.values import Change, Lesion, PixelSize, Verdict
from node.objects.identity import PDF_SERIES_NUMBER
from node.objects.pictures import fonts, words
from node.objects.pictures.pdf import pdf_report
from node.objects.pictures.right_to_left import visual
from node.objects.run import Run
from tests.peers_tools import dciodvfy
from tests.test_key_images import CARD, DOUBT, KINDS, Make, any_kind, decoders, make, many_boxes, scene, structures

__all__ = ["decoders", "make"]  # fixtures


def opened(data: bytes) -> pypdfium2.PdfDocument:
    """The document inside the object."""
    ds = dcmread(BytesIO(data))
    return pypdfium2.PdfDocument(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])


def texts(data: bytes) -> list[str]:
    """Of every page, with single spaces."""
    document = opened(data)
    found = [" ".join(page.get_textpage().get_text_range().split()) for page in document]
    document.close()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_every_kind_of_image_is_conformant(kind: str, make: Make, tmp_path: Path) -> None:
    run = any_kind(kind, make)
    data = pdf_report(run)
    (tmp_path / "report.dcm").write_bytes(data)
    assert dciodvfy(tmp_path / "report.dcm") == []
    said = texts(data)
    for n, page in enumerate(said, 1):
        assert f"{n} of {len(said)}" in page
        assert words.RESEARCH in page
    for segment in run.provenance.card.segment:
        assert segment.label in " ".join(said)
    assert (words.NOTHING_FOUND in said[0]) is (kind == "empty")


def test_the_object_is_a_document_of_the_study(make: Make) -> None:
    run = make(*scene("CT"))
    ds = dcmread(BytesIO(pdf_report(run)))
    assert (ds.SOPClassUID, ds.Modality, ds.SeriesNumber) == (EncapsulatedPDFStorage, "DOC", PDF_SERIES_NUMBER)
    assert ds.SOPInstanceUID == run.provenance.result_uid("PDF", "REPORT")
    assert ds.SeriesInstanceUID == run.provenance.series_uid(ds.SOPInstanceUID)
    assert (ds.MIMETypeOfEncapsulatedDocument, ds.BurnedInAnnotation) == ("application/pdf", "YES")
    assert len(ds.EncapsulatedDocument) % 2 == 0
    assert len(ds.EncapsulatedDocument) - ds.EncapsulatedDocumentLength in (0, 1)
    assert ds.EncapsulatedDocument.startswith(b"%PDF-")
    assert ds.ConceptNameCodeSequence[0].CodeValue == "18748-4"
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceInstanceSequence] == [
        source.SOPInstanceUID for source in run.sources
    ]
    marked = dcmread(BytesIO(pdf_report(run, marked=True)))
    assert marked.SOPInstanceUID == run.provenance.result_uid("PDF", "REPORT-MARKED")
    assert marked.SeriesDescription.startswith("CHECK!")


def test_the_same_run_gives_the_same_bytes(make: Make) -> None:
    run = make(*scene("CT"), flags=(DOUBT,))
    assert pdf_report(run) == pdf_report(run)


def test_it_says_who_made_it_when_and_of_whom(make: Make) -> None:
    images, labels = scene("CT")
    for ds in images:
        ds.TimezoneOffsetFromUTC, ds.SeriesDescription, ds.AccessionNumber = "+0900", "Thorax nativ", "ACC-77"
    data = pdf_report(make(images, labels))
    said, ds = texts(data), dcmread(BytesIO(data))
    first = said[0]
    for wanted in (
        str(ds.PatientName),
        str(ds.PatientID),
        "1970-01-01",
        "ACC-77",
        "Thorax nativ",
        CARD.title,
        CARD.version,
        CARD.device_uid,
        CARD.files[CARD.weights][:16],
        "2023-11-15 07:13:20 (UTC+09:00)",
    ):
        assert wanted in first, wanted
    assert all(f"{ds.PatientName} · {ds.PatientID} · 1970-01-01" in page for page in said)
    document = opened(data)
    assert document.get_metadata_value("Title") == f"{CARD.title} {CARD.version}: report"
    assert b"/Lang" in ds.EncapsulatedDocument


def test_all_numbers_of_the_run_are_in_its_tables(make: Make) -> None:
    run = make(*scene("CT"))
    said = " ".join(texts(pdf_report(run)))
    for one in run.measured:
        assert one.intensity is not None
        assert one.long_axis is not None
        assert one.short_axis is not None
        for value in (
            words.millilitres(one.volume_ml),
            words.number(one.long_axis.length),
            words.number(one.short_axis.length),
            words.number(one.diameter_3d_mm),
            words.number((one.surface_mm2 or 0) / 100),
            words.number(one.intensity.mean),
            words.number(one.intensity.sd),
        ):
            assert value in said, value
    assert "Quality checks: nothing to report." in said
    assert "Not compared with an earlier result." in said


def test_numbers_are_read_easily_and_what_is_not_there_is_a_dash() -> None:
    assert words.number(1234567.25) == "1\u202f234\u202f567.2"
    assert (words.millilitres(0.482), words.millilitres(48.21)) == ("0.48", "48.2")
    assert words.number(None) == words.NONE
    assert words.unit(PixelSize.DETECTOR) == "mm at the detector"


def test_flags_and_comparison_are_told(make: Make) -> None:
    larger = Change(
        segment=1,
        quantity="volume",
        now=12.0,
        prior=10.0,
        least=0.5,
        verdict=Verdict.LARGER,
        prior_study_uid="1.2.3",
        prior_date="20250301",
    )
    other = replace(larger, segment=2, quantity="long axis", prior=None, verdict=Verdict.OTHER_VERSION)
    said = texts(pdf_report(make(*scene("CT"), flags=(DOUBT,), changes=(larger, other))))[0]
    assert f"CHECK: {DOUBT.sentence}" in said
    assert "10.0 ml 2025-03-01 larger (+2.0, +20 %)" in said
    assert "12.0 mm — 2025-03-01 other version" in said


def test_there_is_room_for_any_number_of_flags_and_for_the_longest_names(make: Make) -> None:
    images, labels = scene("CT")
    for ds in images:
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName, ds.PatientID = f"{'W' * 64}={'山' * 64}={'や' * 64}", "M" * 64
        ds.StudyDescription = ds.SeriesDescription = "W" * 64
    many = tuple(replace(DOUBT, sentence=f"doubt number {n} " + "of many words " * 20) for n in range(60))
    said = " ".join(texts(pdf_report(make(images, labels, flags=many))))
    assert all(f"CHECK: doubt number {n} " in said for n in range(60))


def test_lesions_have_a_table_of_their_own_that_ends_somewhere(make: Make) -> None:
    run = make(*scene("CT"))
    one = Lesion(
        number=1,
        voxels=10,
        volume_ml=7.77,
        area_mm2=3.0,
        largest_slice=4,
        centre=(1.0, 2.0, 3.0),
        long_axis=run.measured[0].long_axis,
        short_axis=None,
    )
    lesions = tuple(replace(one, number=n) for n in range(1, 41))
    said = " ".join(
        texts(pdf_report(replace(run, measured=(replace(run.measured[0], lesions=lesions), run.measured[1]))))
    )
    assert said.count("7.77") == 30
    assert "and 10 smaller ones" in said


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("王^小东", "王^小东"),
        ("Жуков^Ελένη^Müller-Nguyễn", "Жуков^Ελένη^Müller-Nguyễn"),
        ("Smith & <b>Sons^A", "Smith & <b>Sons^A"),
        ("สมชาย^Somchai", "[5 characters: Thai]^Somchai"),
    ],
)
def test_names_are_printed_in_their_own_letters_or_said_to_be_missing(name: str, found: str, make: Make) -> None:
    run = named(make, name)
    said = texts(pdf_report(run))
    assert found.replace(" ", "") in said[0].replace(" ", "")
    assert ("This document has no letters for: Thai" in said[-1]) is ("Thai" in found)


def named(make: Make, name: str) -> Run:
    images, labels = scene("CT")
    for ds in images:
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", name
    return make(images, labels)


@pytest.mark.parametrize(("plain", "shown"), [("علي", "ﻲﻠﻋ"), ("السلام", "ﻡﻼﺴﻟﺍ"), ("שלום 12 (כהן)", "(ןהכ) 12 םולש")])
def test_arabic_is_joined_and_runs_from_right_to_left(plain: str, shown: str, make: Make) -> None:
    assert visual(plain) == shown
    known = fonts.ready()
    assert all(ord(letter) in known for letter in shown)


def test_a_name_in_arabic_is_found_in_the_text(make: Make) -> None:
    """PDFium turns forms and order back into what was meant: it reads the line as a person does."""
    assert "محمد" in texts(pdf_report(named(make, "محمد^علي")))[0]


@pytest.mark.parametrize("name", [fonts.REGULAR, fonts.BOLD, fonts.EASTERN])
def test_the_fonts_are_there_with_their_licences(name: str) -> None:
    assert ImageFont.truetype(fonts.FOLDER / f"{name}.ttf", 12).getname()[0].startswith(("DejaVu", "Droid"))
    assert len(list(fonts.FOLDER.glob("*-LICENSE"))) == 2


def test_every_letter_of_a_page_is_embedded(make: Make) -> None:
    """No viewer needs fonts of its own: pages look the same everywhere."""
    data = dcmread(BytesIO(pdf_report(named(make, "Yamada^Tarou=山田^太郎")))).EncapsulatedDocument
    assert data.count(b"/FontFile2") >= 3
    assert b"/CIDFontType0" not in data


def test_the_pictures_of_a_long_report_are_on_its_pages(make: Make) -> None:
    images, labels = scene("CT")
    run = make(images, many_boxes(labels.shape, 24), card=structures(24))
    document = opened(pdf_report(run))
    assert 3 <= len(document) <= 10
    for page in document:
        shown = np.asarray(page.render(scale=0.5).to_pil().convert("L"))
        assert (shown < 250).mean() > 0.02  # no page is empty
    document.close()


def test_a_document_has_an_empty_header_where_the_study_has_one(make: Make) -> None:
    images, labels = scene("CT")
    for ds in images:
        ds.PatientName = ds.PatientID = ds.PatientBirthDate = ds.StudyDate = ""
    data = pdf_report(make(images, labels))
    ds: Dataset = dcmread(BytesIO(data))
    assert not ds.PatientName
    assert "Patient — " in texts(data)[0]
