"""Elements that came with another value representation than the dictionary's: nothing leaves because of that."""

from __future__ import annotations

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from node.deidentify.proof import Proof
from tests.test_deidentify import ROOT, base, through

REFERENCED = f"{ROOT}777"


def implicit(ds: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = True, True
    write_dataset(stream, ds)
    return bytes(stream.getvalue())


def came_as(ds: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """An element as it stands in a file."""
    value += b" "[: len(value) % 2]
    ds[keyword] = RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)


def as_unknown(ds: Dataset, keyword: str) -> Dataset:
    """A sequence as who does not know it writes it in Explicit VR: UN, and its items in Implicit VR (PS3.5 6.2.2)."""
    alone = Dataset()
    alone[keyword] = ds[keyword]
    came_as(ds, keyword, "UN", implicit(alone)[8:])
    return ds


def frames(many: int) -> list[Dataset]:
    inner = Dataset()
    inner.FrameReferenceDateTime, inner.FrameComments = "20240517103000", "mother of the mayor"
    inner.OperatorsName, inner.PatientBirthDate = "Grossmueller^Ottokar", "19550404"
    inner.ReferencedSOPInstanceUID = REFERENCED
    frame = Dataset()
    frame.FrameContentSequence = [inner]
    frame.PixelMeasuresSequence = [Dataset()]
    frame.PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.5]
    return [frame] * many


@pytest.mark.parametrize("many", [1, 400], ids=["short", "64 KiB and more"])
def test_a_sequence_that_came_as_unknown_is_gone_over_like_any_other(many: int) -> None:
    ds = as_unknown(base(PerFrameFunctionalGroupsSequence=frames(many)), "PerFrameFunctionalGroupsSequence")
    assert (len(ds.get_item("PerFrameFunctionalGroupsSequence").value) > 0xFFFF) is (many > 1)
    out, data, found = through(ds)
    for told in (b"Grossmueller", b"20240517", REFERENCED.encode(), b"mayor", b"19550404"):
        assert told not in data
    assert "Grossmueller" in found.texts and REFERENCED in found.uids
    assert Proof(found).leaks(data) == []
    groups = out.PerFrameFunctionalGroupsSequence
    assert isinstance(groups, Sequence) and len(groups) == many
    assert groups[-1].PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.5]


def test_what_is_no_sequence_goes_where_one_belongs() -> None:
    ds = base()
    for keyword, vr, value in (
        ("SharedFunctionalGroupsSequence", "UN", b"Quillfeather" * 10_000),
        ("SegmentSequence", "OB", b"Quillfeather"),
        ("ReferencedSeriesSequence", "LT", b"Quillfeather"),
    ):
        came_as(ds, keyword, vr, value)
    out, data, _ = through(ds)
    assert b"Quillfeather" not in data
    assert "SegmentSequence" not in out and "ReferencedSeriesSequence" not in out
    assert not any(out.get("SharedFunctionalGroupsSequence", ()))


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PatientName", "LO", b"Oberhuber^Adelheid"),
        ("PatientName", "UN", b"Oberhuber^Adelheid"),
        ("OperatorsName", "OB", b"Oberhuber^Adelheid"),
        ("PatientID", "OB", b"Oberhuber"),
    ],
)
def test_an_identifier_is_looked_for_whatever_it_came_as(keyword: str, vr: str, value: bytes) -> None:
    ds = base(ManufacturerModelName="the one of Oberhuber")
    came_as(ds, keyword, vr, value)
    _, data, found = through(ds)
    assert "Oberhuber" in found.texts
    assert b"Oberhuber" not in data


@pytest.mark.parametrize("vr", ["OB", "OW", "UN", "LT"])
def test_text_that_no_table_names_loses_identifiers_whatever_it_came_as(vr: str) -> None:
    ds = base()
    came_as(ds, "ManufacturerModelName", vr, b"model of Quillfeather")
    out, data, _ = through(ds)
    assert b"Quillfeather" not in data
    assert out["ManufacturerModelName"].VR == "LO"
    assert "model of" in out.ManufacturerModelName


def test_numbers_stay_numbers_and_are_no_text() -> None:
    ds = base()
    came_as(ds, "Rows", "UL", b"\7\0\0\0")  # of another width
    came_as(ds, "Columns", "UN", b"\7\0")
    came_as(ds, "ManufacturerModelName", "FD", bytes(8))
    came_as(ds, "SamplesPerPixel", "LO", b"Quillfeather")
    came_as(ds, "SliceThickness", "LO", b"3.5")
    out, data, _ = through(ds)
    assert (out.Rows, out.Columns, out.SliceThickness) == (7, 7, 3.5)
    assert "ManufacturerModelName" not in out and "SamplesPerPixel" not in out
    assert b"Quillfeather" not in data
