"""What scanners, anonymisers and old archives really write: repaired or refused, never a crash, never non-conformant.

The images go through bytes: the spoilt values are written into files as they are, whatever pydicom thinks of them, and
read again by the node.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from node.errors import Refused
from node.objects import results, values
from node.objects.characters import charset as charset_of
from node.objects.headers import repaired
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import runs
from tests.peers_tools import dciodvfy
from tests.runs import provenance_of
from tests.synthetic import small_series

#: what pydicom says of the spoilt images; what it says of the results is an error (`made`)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Change = Callable[[list[Dataset]], None]

#: what every image has before it is spoilt, and what SEG and SR must say unless the variant says otherwise
PLAIN = {
    "PatientID": "MRN-1",
    "IssuerOfPatientID": "HOSPITAL",
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "AccessionNumber": "ACC-1",
    "StudyID": "S-1",
    "StudyDate": "20260901",
    "StudyTime": "101500",
    "StudyInstanceUID": "1.2.3.1",
    "SeriesInstanceUID": "1.2.3.2",
    "FrameOfReferenceUID": "1.2.3.3",
    "ReferringPhysicianName": "Ref^Doc",
    "StudyDescription": "CT CHEST",
    "Modality": "CT",
}
#: of these, what a derived object repeats
REPEATED = tuple(
    keyword for keyword in PLAIN if keyword not in ("SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
)


# ---------------------------------------------------------------- spoiling


def with_(**elements: Any) -> Change:
    """Values on all images, as pydicom writes them; None takes the element away."""

    def change(images: list[Dataset]) -> None:
        for ds in images:
            for keyword, value in elements.items():
                if value is not None:
                    setattr(ds, keyword, value)
                elif keyword in ds:
                    delattr(ds, keyword)

    return change


def raw(vr: str | None = None, only: int | None = None, **elements: bytes) -> Change:
    """Bytes on all images, or on one, as they are."""

    def change(images: list[Dataset]) -> None:
        for ds in images if only is None else [images[only]]:
            for keyword, value in elements.items():
                tag = Tag(tag_for_keyword(keyword) or 0)
                padded = value + (b"" if len(value) % 2 == 0 else b"\0" if dictionary_VR(tag) == "UI" else b" ")
                ds[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(padded), padded, 0, False, True)

    return change


def both(*changes: Change) -> Change:
    def change(images: list[Dataset]) -> None:
        for one in changes:
            one(images)

    return change


def item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def code(value: str = "24627-2", scheme: str = "LN", meaning: str = "CT Chest", **more: Any) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning, **more)


def procedures(*codes: Dataset) -> Change:
    return with_(ProcedureCodeSequence=Sequence(codes))


def files(images: list[Dataset], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = []
    for number, ds in enumerate(images):
        paths.append(folder / f"{number}.dcm")
        ds.preamble, ds["PixelData"].VR = b"\0" * 128, "OW"
        codes = ds.get_item("ProcedureCodeSequence")
        for one in (ds, *(codes.value if isinstance(codes, DataElement) else ())):
            one.set_original_encoding(False, True, one._character_set)  # else pydicom would put the raw bytes in order
        dcmwrite(paths[-1], ds, enforce_file_format=False)
    return paths


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


@dataclass(frozen=True)
class Made:
    volume: Volume
    headers: list[Dataset]
    seg: Dataset
    reports: tuple[Dataset, ...]


@pytest.fixture
def make(tmp_path: Path, decoders: Decoders) -> Callable[[Change], Made]:
    """A change of plain images -> what the node makes of them, read back, and found conformant."""

    def run(change: Change) -> Made:
        images = small_series((12, 10, 3))
        with_(**PLAIN)(images)
        change(images)
        built = volume.build(files(images, tmp_path / "in"), decoders)
        try:
            seg, *reports = made(built, tmp_path)
        finally:
            built.close()
        return Made(built, repaired(built.headers, built.geometry), seg, tuple(reports))

    return run


def made(built: Volume, folder: Path) -> tuple[Dataset, ...]:
    """The segmentation, and the reports on volumes and on diameters."""
    paths = [folder / name for name in ("SEG.dcm", "volumes.dcm", "diameters.dcm")]
    for path, ds in zip(paths, without_a_word(built), strict=True):
        ds.save_as(path)
    with ThreadPoolExecutor(2) as two:
        assert list(two.map(dciodvfy, paths)) == [[], [], []]
    return hd.seg.segread(paths[0]), *(hd.sr.srread(path) for path in paths[1:])


def without_a_word(built: Volume) -> list[Dataset]:
    """The results, read back; what pydicom has to say of a value while they are made is an error."""
    labels: NDArray[np.uint8] = np.zeros((3, 10, 12), np.uint8)
    labels[0, 2:5, 3:6], labels[1, 2:5, 3:7] = 1, 2
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "The string .* is unlikely to represent", UserWarning)
        return [
            dcmread(BytesIO(one.data)) for one in results.make(runs.run_of(built, labels, provenance_of(built, labels)))
        ]


def said(ds: Dataset, keyword: str) -> str:
    """An element's value as text: several values with backslashes, codes as (value, scheme, meaning)."""
    value = ds.get(keyword)
    if isinstance(value, Sequence):
        return " ".join(f"({one.CodeValue}, {one.CodingSchemeDesignator}, {one.CodeMeaning})" for one in value)
    if isinstance(value, (MultiValue, list)):
        return "\\".join(str(part) for part in value)
    return "" if value is None else str(value)


# ---------------------------------------------------------------- repaired


@dataclass(frozen=True)
class Repaired:
    """A change, and what the node carries over instead; what is not named stays as in `PLAIN`."""

    change: Change
    carried: Mapping[str, str] = field(default_factory=dict)


def absent(*keywords: str) -> dict[str, Repaired]:
    return {f"{keyword} absent": Repaired(with_(**{keyword: None}), {keyword: ""}) for keyword in keywords}


def becomes(name: str, keyword: str, written: bytes, carried: str) -> dict[str, Repaired]:
    return {f"{keyword} {name}": Repaired(raw(**{keyword: written}), {keyword: carried})}


LONG = "x" * 100
WELL_FORMED = {
    "PatientAge": "066Y",
    "PatientSize": "1.75",
    "PatientWeight": "70",
    "PatientBirthTime": "0915",
    "PatientComments": "none",
    "TypeOfPatientID": "TEXT",
    "StudyTime": "091500.123456",
    "TimezoneOffsetFromUTC": "+0530",
    "PositionReferenceIndicator": "XY",
    "Manufacturer": "M",
    "ManufacturerModelName": "N",
    "InstitutionName": "H",
    "StationName": "T",
    "SoftwareVersions": "1\\2",
    "DeviceSerialNumber": "7",
    "SeriesDescription": "5 mm",
    "BodyPartExamined": "CHEST",
    "InstanceNumber": "4",
    "SeriesNumber": "2",
}
NO_METHOD = "not stated by the source"
TRIAL = {"ClinicalTrialSponsorName": "Sponsor", "ClinicalTrialProtocolID": "NCT1", "ClinicalTrialSubjectID": "7"}
TRIAL_TYPE_2 = {"ClinicalTrialProtocolName": "P", "ClinicalTrialSiteID": "S", "ClinicalTrialSiteName": "N"}
TYPE_2 = (
    "AccessionNumber",
    "StudyID",
    "PatientBirthDate",
    "PatientID",
    "StudyDate",
    "StudyTime",
    "PatientSex",
    "ReferringPhysicianName",
    "PatientName",
    "PositionReferenceIndicator",
    "IssuerOfPatientID",
    "BodyPartExamined",
)
OPTIONAL = (
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "InstanceNumber",
    "SeriesNumber",
    "StudyDescription",
    "PatientPosition",
)

VARIANTS: dict[str, Repaired] = {
    "nothing": Repaired(with_()),
    # what highdicom takes for granted, and may be absent
    **absent(*TYPE_2),
    "all of these empty": Repaired(raw(**dict.fromkeys(TYPE_2, b"")), dict.fromkeys(TYPE_2, "")),
    "all optional elements absent": Repaired(
        with_(**dict.fromkeys(OPTIONAL)), dict.fromkeys(OPTIONAL, "") | {"InstanceNumber": "1"}
    ),
    "SliceThickness absent": Repaired(with_(SliceThickness=None), {"SliceThickness": "5"}),
    "everything there and well formed": Repaired(with_(**WELL_FORMED), WELL_FORMED),
    # text
    **becomes("too long", "StudyDescription", LONG.encode(), "x" * 64),
    **becomes("too long", "StationName", LONG.encode(), "x" * 16),
    **becomes("with lines", "PatientComments", b"one\r\ntwo\\three", "one\r\ntwo\\three"),
    # names
    **becomes("of one word", "PatientName", b"Anonymous", "Anonymous"),
    **becomes("of four component groups", "PatientName", b"a=b=c=d", "a=b=c"),
    **becomes("of seven components", "PatientName", b"Doe^Jane^^^Jr^PhD^", "Doe^Jane^^^Jr PhD"),
    **becomes("of 200 characters", "PatientName", b"D" * 200, "D" * 64),
    **becomes("with NUL and a line end", "PatientName", b"Doe^\0Jane\nMary\0\0", "Doe^ Jane Mary"),
    **becomes("of two values", "PatientName", b"Doe^Jane\\Doe^J", "Doe^Jane"),
    **becomes("with empty components", "PatientName", b"Doe^Jane^^^", "Doe^Jane^^^"),
    **becomes("of 200 characters", "ReferringPhysicianName", b"R" * 200, "R" * 64),
    "PatientName turned by an override": Repaired(
        both(raw(SpecificCharacterSet=b"ISO_IR 192"), raw(PatientName="Doe^\u202eenaJ\u202c".encode())),
        {"PatientName": "Doe^enaJ"},
    ),
    "PatientName in an element of numbers": Repaired(raw("US", PatientName=b"\x01\x02"), {"PatientName": "\ufffd"}),
    "PatientName in an unknown element": Repaired(raw("UN", PatientName=b"Doe^Jane"), {"PatientName": "Doe^Jane"}),
    # de-identification
    "identity removed, no method": Repaired(with_(PatientIdentityRemoved="YES"), {"DeidentificationMethod": NO_METHOD}),
    "identity removed, method and codes empty": Repaired(
        with_(PatientIdentityRemoved="yes", DeidentificationMethod="", DeidentificationMethodCodeSequence=Sequence()),
        {"PatientIdentityRemoved": "YES", "DeidentificationMethod": NO_METHOD},
    ),
    "identity removed, a code without a scheme": Repaired(
        with_(
            PatientIdentityRemoved="YES",
            DeidentificationMethodCodeSequence=Sequence([item(CodeValue="113100", CodeMeaning="Basic Profile")]),
        ),
        {"DeidentificationMethod": NO_METHOD, "DeidentificationMethodCodeSequence": ""},
    ),
    "identity removed, a good code": Repaired(
        with_(
            PatientIdentityRemoved="YES",
            DeidentificationMethodCodeSequence=Sequence([code("113100", "DCM", "Basic Profile")]),
        ),
        {"DeidentificationMethodCodeSequence": "(113100, DCM, Basic Profile)"},
    ),
    "identity removed, two methods": Repaired(
        with_(PatientIdentityRemoved="YES", DeidentificationMethod=["a", LONG]),
        {"DeidentificationMethod": "a\\" + "x" * 64},
    ),
    "identity not removed": Repaired(
        with_(PatientIdentityRemoved="NO", DeidentificationMethod="a"),
        {"PatientIdentityRemoved": "NO", "DeidentificationMethod": ""},
    ),
    # clinical trial
    "a trial without its type 2": Repaired(with_(**TRIAL), TRIAL | dict.fromkeys(TRIAL_TYPE_2, "")),
    "a whole trial": Repaired(with_(**TRIAL, **TRIAL_TYPE_2), TRIAL | TRIAL_TYPE_2),
    "a trial with its coordinating centre": Repaired(
        with_(**TRIAL, ClinicalTrialCoordinatingCenterName=LONG), {**TRIAL, "ClinicalTrialCoordinatingCenterName": ""}
    ),
    # codes
    "a good procedure code": Repaired(procedures(code()), {"ProcedureCodeSequence": "(24627-2, LN, CT Chest)"}),
    "a procedure code beside one without a scheme": Repaired(
        procedures(item(CodeValue="1", CodeMeaning="CT"), code()), {"ProcedureCodeSequence": "(24627-2, LN, CT Chest)"}
    ),
    "a procedure code with too long a meaning": Repaired(
        procedures(code(meaning=LONG)), {"ProcedureCodeSequence": f"(24627-2, LN, {'x' * 64})"}
    ),
    # geometry
    "orientation that trembles": Repaired(
        lambda images: setattr(images[1], "ImageOrientationPatient", [1, 1e-7, 0, -1e-7, 1, 0]),
        {"ImageOrientationPatient": "1\\0\\0\\0\\1\\0"},
    ),
    "orientation too long": Repaired(
        raw(ImageOrientationPatient=b"0.99999999999999999999\\0.0000000000000000000001\\0\\0\\1.000000000000000000\\0")
    ),
    "position with an exponent": Repaired(
        raw(only=0, ImagePositionPatient=b"-1.1000000000000000E+01\\-1.35e1\\-5.0E+00"),
        {"ImagePositionPatient": "-11\\-13.5\\-5"},
    ),
}


#: of a result these are its own
OWN = {
    "DeviceSerialNumber",
    "InstanceNumber",
    "InstitutionName",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SoftwareVersions",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_spoilt_header_is_repaired(make: Callable[[Change], Made], variant: str) -> None:
    found = make(VARIANTS[variant].change)
    carried = VARIANTS[variant].carried
    wanted = PLAIN | dict(carried)
    for keyword, value in wanted.items():
        assert said(found.headers[0], keyword) == value, keyword
    assert found.seg.FrameOfReferenceUID == wanted["FrameOfReferenceUID"]
    for ds in (found.seg, *found.reports):
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        repeated = (set(carried) & {element.keyword for element in ds}) - OWN
        for keyword in {*REPEATED, *repeated}:
            assert said(ds, keyword) == wanted[keyword], keyword
        assert not any(element.tag.is_private for element in ds)


# ------------------------------------------- as if it were written right


def other(keyword: str, right: bytes | None, **written: bytes) -> dict[str, tuple[Change, Change]]:
    """Bytes of an element that are as good as the right ones; as none where there are no right ones."""
    as_if = with_(**{keyword: None}) if right is None else raw(**{keyword: right})
    return {f"{keyword} {name.replace('_', ' ')}": (raw(**{keyword: bad}), as_if) for name, bad in written.items()}


def private_sequences(images: list[Dataset]) -> None:
    for ds in images:
        nested = Sequence([item(PatientID="other", ProcedureCodeSequence=Sequence([code("0")]))])
        ds.private_block(0x0013, "VENDOR", create=True).add_new(1, "SQ", nested)
        ds.add_new(0x00150001, "UN", b"\x01\x02")


NO_PROCEDURE = with_(ProcedureCodeSequence=None)
NO_TRIAL = with_(**dict.fromkeys(TRIAL))

AS_IF: dict[str, tuple[Change, Change]] = {
    **{
        f"{keyword} {name}": (raw(**{keyword: spaces}), with_(**{keyword: None}))
        for keyword in (*TYPE_2, *OPTIONAL)
        for name, spaces in (("empty", b""), ("of spaces", b"  \0"))
    },
    **other("PatientSex", b"F", in_lower_case=b"f", as_a_word=b"Female"),
    **other("PatientSex", None, unknown=b"U", unknown_in_words=b"Unknown", that_begins_like_one=b"Mixed", of_two=b"MF"),
    **other("StudyDate", b"20260901", with_points=b"2026.09.01", with_hyphens=b"2026-09-01", padded=b" 20260901 "),
    **other("StudyDate", None, not_in_the_calendar=b"20260931", in_words=b"1 Sep 2026", of_two=b"20260901-20260902"),
    **other("PatientBirthDate", b"19600102", with_points=b"1960.01.02", with_NUL=b"19600102\0\0"),
    **other("PatientBirthDate", None, of_the_year_0=b"00000000", of_a_month=b"196001", without_a_century=b"600102"),
    **other("StudyTime", b"091500.5", with_colons=b"09:15:00.5"),
    **other("StudyTime", b"091500.123456", with_seven_decimals=b"091500.1234567"),
    **other("StudyTime", None, without_a_zero=b"9:15", of_the_hour_24=b"240000", of_a_leap_second=b"235960"),
    **other("PatientAge", b"066Y", of_two_digits=b"66Y", in_lower_case=b"066y"),
    **other("PatientAge", None, without_a_unit=b"66", in_words=b"adult", too_long=b"00066Y", in_arabic="٦٦Y".encode()),
    **other("PatientWeight", b"70", with_an_exponent=b"7E+1", too_long=b"70.000000000000000000"),
    **other(
        "PatientWeight", None, zero=b"0", in_words=b"seventy", infinite=b"1e999", not_a_number=b"nan", grouped=b"7_0"
    ),
    **other("PatientSize", b"1.75", too_long=b"1.7500000000000000000", of_two_values=b"0\\1.75"),
    **other("PatientSize", None, zero=b"0.0", with_a_comma=b"1,75", negative=b"-1", in_a_unit=b"175 cm"),
    **other("SliceThickness", None, empty=b"", zero=b"0", negative=b"-5.0", not_a_number=b"thin", infinite=b"inf"),
    **other("SliceThickness", b"2.5", with_an_exponent=b"2.5E+0", too_long=b"2.500000000000000000"),
    **other(
        "StudyDescription", b"CT CHEST", with_control_characters=b"CT\nCHEST\x07", of_three_values=b"\\CT CHEST\\CT"
    ),
    **other("StudyID", None, too_long=b"12345678901234567", of_two_values=b"1\\2", undecodable=b"\xfc1"),
    **other("InstitutionName", b"x" * 64, too_long=b"x" * 65),
    **other("Manufacturer", b"x" * 64, too_long=b"x" * 200),
    **other("DeviceSerialNumber", None, too_long=LONG.encode()),
    **other("SoftwareVersions", b"1\\" + b"2" * 64, too_long=b"1\\\\" + b"2" * 80),
    **other("BodyPartExamined", b"CHEST", in_lower_case=b"chest"),
    **other("BodyPartExamined", None, with_a_comma=b"Chest wall, left", too_long=b"CHEST AND ABDOMEN AND PELVIS"),
    **other("PatientPosition", b"HFS", in_lower_case=b"hfs"),
    **other("Modality", b"CT", in_lower_case=b"ct"),
    **other("TypeOfPatientID", b"TEXT", in_lower_case=b"text"),
    **other("PatientID", b"MRN-1", padded=b"  MRN-1 \0\0"),
    **other("AccessionNumber", b"ACC-1", padded=b" ACC-1\0"),
    **other("OtherPatientIDs", None, retired=b"A-1\\B-2", too_long=LONG.encode(), undecodable=b"\xfc1"),
    **other("InstanceNumber", b"4", with_decimals=b"4.0", with_zeros=b"+00004"),
    **other("InstanceNumber", None, not_a_number=b"first", huge=b"99999999999", of_two_to_the_31=b"2147483648"),
    **other("SeriesNumber", None, not_a_number=b"two", with_a_fraction=b"2.5"),
    **other("TimezoneOffsetFromUTC", None, too_far=b"+1500", of_nothing=b"-0000", by_name=b"CET", of_minutes=b"+0175"),
    **other("PatientIdentityRemoved", None, maybe=b"MAYBE"),
    **other("StudyInstanceUID", b"1.2.3.1", padded_with_NUL=b"1.2.3.1\0\0\0", padded_with_spaces=b"1.2.3.1  "),
    **other("SeriesInstanceUID", b"1.2.3.2", padded_with_spaces=b"1.2.3.2 \0"),
    **other("FrameOfReferenceUID", b"1.2.3.3", padded_in_front=b" 1.2.3.3 "),
    "half a trial": (with_(ClinicalTrialProtocolID="NCT1"), NO_TRIAL),
    "a trial without a subject": (with_(**TRIAL | {"ClinicalTrialSubjectID": ""}), NO_TRIAL),
    "a trial whose subject is too long": (with_(**TRIAL | {"ClinicalTrialSubjectID": LONG}), NO_TRIAL),
    "a method of no de-identification": (with_(DeidentificationMethod="a"), with_()),
    "no procedure codes": (procedures(), NO_PROCEDURE),
    "an empty procedure code": (procedures(Dataset()), NO_PROCEDURE),
    "a procedure code without a scheme": (procedures(item(CodeValue="1", CodeMeaning="CT")), NO_PROCEDURE),
    "a procedure code without a meaning": (procedures(item(CodeValue="1", CodingSchemeDesignator="LN")), NO_PROCEDURE),
    "too long a procedure code": (procedures(code("12345678901234567")), NO_PROCEDURE),
    "a procedure code of two values": (procedures(code(["1", "2"])), NO_PROCEDURE),
    "too long a scheme of a procedure code": (procedures(code(scheme="99" + LONG)), NO_PROCEDURE),
    "a long procedure code": (
        procedures(item(LongCodeValue="1" * 20, CodingSchemeDesignator="SCT", CodeMeaning="CT")),
        NO_PROCEDURE,
    ),
    "a procedure code with more than a code": (procedures(code(MappingResource="DCMR")), procedures(code())),
    "procedure codes in an element of text": (raw("LO", ProcedureCodeSequence=b"CT Chest"), NO_PROCEDURE),
    "procedure codes in an element of numbers": (raw("FD", ProcedureCodeSequence=b"CT"), NO_PROCEDURE),
    "procedure codes that are no items": (raw("SQ", ProcedureCodeSequence=b"\1\2\3\4\5\6\7\x08"), NO_PROCEDURE),
    "procedure codes cut short": (raw("SQ", ProcedureCodeSequence=b"\xfe\xff\0\xe0\xff\0\0\0"), NO_PROCEDURE),
    "a reference to a study without its class": (
        with_(ReferencedStudySequence=Sequence([item(ReferencedSOPInstanceUID="1.2.3")])),
        with_(),
    ),
    "no references to studies": (with_(ReferencedStudySequence=Sequence()), with_()),
    "request attributes with an empty step": (
        with_(RequestAttributesSequence=Sequence([item(ScheduledProcedureStepID="")])),
        with_(),
    ),
    "no other patient IDs": (with_(OtherPatientIDsSequence=Sequence()), with_()),
    "private sequences": (private_sequences, with_()),
}


@pytest.mark.parametrize("variant", AS_IF)
def test_a_spoilt_value_is_as_if_it_were_written_right(tmp_path: Path, decoders: Decoders, variant: str) -> None:
    """Or as if it were absent; what becomes of the right ones, and without them, is seen above."""
    images = small_series((12, 10, 3))
    with_(**PLAIN)(images)
    found = []
    for name, change in zip(("spoilt", "right"), AS_IF[variant], strict=True):
        changed = copy.deepcopy(images)
        change(changed)
        built = volume.build(files(changed, tmp_path / name), decoders)
        found.append([ds.to_json_dict() for ds in repaired(built.headers, built.geometry)])
        built.close()
    assert found[0] == found[1]


# ----------------------------------------------------------------- refused


def no_copy(images: list[Dataset]) -> None:
    """A slice where another one lies, with other pixels."""
    images[1].ImagePositionPatient = images[0].ImagePositionPatient
    images[1].PixelData = b"\1\0" * (len(images[1].PixelData) // 2)


REFUSED: dict[str, tuple[str, Change]] = {
    # identifiers are never changed
    "PatientID too long": ("identifier-too-long", raw(PatientID=b"1" * 65)),
    "AccessionNumber too long": ("identifier-too-long", raw(AccessionNumber=b"1" * 17)),
    "IssuerOfPatientID too long": ("identifier-too-long", raw(IssuerOfPatientID=b"1" * 65)),
    "PatientID of two values": ("identifier-ambiguous", raw(PatientID=b"MRN-1\\MRN-2")),
    "PatientID with a backslash at its end": ("identifier-ambiguous", raw(PatientID=b"MRN-1\\")),
    "AccessionNumber of two values": ("identifier-ambiguous", raw(AccessionNumber=b"A-1\\A-2")),
    "PatientID with a line end": ("identifier-ambiguous", raw(PatientID=b"MRN-1\r\n")),
    "PatientID with garbage behind a NUL": ("identifier-ambiguous", raw(PatientID=b"MRN-1\0garbage")),
    "PatientID turned by an override": (
        "identifier-ambiguous",
        both(raw(SpecificCharacterSet=b"ISO_IR 192"), raw(PatientID="\u202e1-NRM".encode())),
    ),
    "PatientID in an element of numbers": ("identifier-undecodable", raw("US", PatientID=b"\1\0")),
    "PatientID in a sequence": ("identifier-undecodable", raw("SQ", PatientID=b"\xfe\xff\x00\xe0\0\0\0\0")),
    "PatientID of bytes that no character set declares": ("identifier-undecodable", raw(PatientID=b"M\xdcLLER")),
    "PatientID of an unknown character set": (
        "identifier-undecodable",
        both(raw(SpecificCharacterSet=b"ISO_IR 999"), raw(PatientID=b"M\xdcLLER")),
    ),
    "PatientID of invalid UTF-8": (
        "identifier-undecodable",
        both(raw(SpecificCharacterSet=b"ISO_IR 192"), raw(PatientID=b"M\xdcLLER")),
    ),
    "AccessionNumber with an unknown escape sequence": ("identifier-undecodable", raw(AccessionNumber=b"\x1b%GA-1")),
    "PatientID from a Windows code page": (
        "identifier-undecodable",
        both(raw(SpecificCharacterSet=b"ISO_IR 100"), raw(PatientID=b"O\x92BRIEN")),
    ),
    # UIDs are identifiers, too
    **{
        f"{keyword} {name}": (code_, change)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
        for name, code_, change in (
            ("with letters", "uid-illegal", raw(**{keyword: b"1.2.x.3"})),
            ("with a leading zero", "uid-illegal", raw(**{keyword: b"1.2.03.4"})),
            ("of 65 characters", "uid-illegal", raw(**{keyword: b"1." + b"2" * 63})),
            ("of two values", "uid-illegal", raw(**{keyword: b"1.2.3\\1.2.4"})),
            ("with an empty component", "uid-illegal", raw(**{keyword: b"1.2..3"})),
        )
    },
    **{
        f"{keyword} {name}": ("uid-missing", change)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        for name, change in (("absent", with_(**{keyword: None})), ("empty", raw(**{keyword: b""})))
    },
    "SOPClassUID illegal": ("uid-illegal", raw(SOPClassUID=b"CT Image")),
    "SOPClassUID private": ("sop-class-unknown", raw(SOPClassUID=b"1.3.12.2.1107.5.9.1")),
    "SOPClassUID retired": ("sop-class-unknown", raw(SOPClassUID=b"1.2.840.10008.5.1.4.1.1.6")),
    "images of two series": ("mixed-series", raw(only=1, SeriesInstanceUID=b"1.2.3.9")),
    "images of two studies": ("mixed-series", raw(only=2, StudyInstanceUID=b"1.2.3.9")),
    # places
    "FrameOfReferenceUID absent": ("no-frame-of-reference", with_(FrameOfReferenceUID=None)),
    "FrameOfReferenceUID empty": ("no-frame-of-reference", raw(FrameOfReferenceUID=b"")),
    "another frame of reference": (
        "mixed-frame-of-reference",
        lambda images: setattr(images[2], "FrameOfReferenceUID", "1.2.3.4"),
    ),
    "a position twice": ("duplicate-position", no_copy),
    "ImagePositionPatient absent": ("geometry-missing", with_(ImagePositionPatient=None)),
    "ImagePositionPatient of two values": ("geometry-missing", raw(only=1, ImagePositionPatient=b"1\\2")),
    "ImagePositionPatient with an empty value": ("geometry-missing", raw(only=1, ImagePositionPatient=b"1\\\\2")),
    "ImagePositionPatient not a number": ("geometry-missing", raw(only=1, ImagePositionPatient=b"1\\2\\nan")),
    "ImagePositionPatient of letters": ("geometry-missing", raw(only=1, ImagePositionPatient=b"a\\b\\c")),
    "ImageOrientationPatient empty": ("geometry-missing", raw(only=1, ImageOrientationPatient=b"")),
    "ImageOrientationPatient zero": ("impossible-orientation", raw(ImageOrientationPatient=b"0\\0\\0\\0\\0\\0")),
    "an orientation of its own": ("mixed-orientation", raw(only=1, ImageOrientationPatient=b"1\\0\\0\\0\\0\\1")),
    "PixelSpacing zero": ("impossible-spacing", raw(PixelSpacing=b"0\\1")),
    "PixelSpacing empty": ("geometry-missing", raw(PixelSpacing=b"")),
    "PixelSpacing of one value": ("geometry-missing", raw(PixelSpacing=b"1")),
    "a pixel spacing of its own": ("mixed-spacing", raw(only=1, PixelSpacing=b"2\\2")),
}


@pytest.mark.parametrize("variant", REFUSED)
def test_what_cannot_be_repaired_is_refused(make: Callable[[Change], Made], variant: str) -> None:
    wanted, change = REFUSED[variant]
    with pytest.raises(Refused) as refused:
        make(change)
    assert refused.value.code == wanted


# ---------------------------------------------------------- character sets


@dataclass(frozen=True)
class Script:
    """A SpecificCharacterSet, the codec and the escape sequences of its texts, and a name and a text in its script."""

    codec: str
    name: str
    text: str
    before: bytes = b""
    after: bytes = b""

    def encoded(self, text: str) -> bytes:
        """Piece by piece between the delimiters, where value 1 of SpecificCharacterSet is active again."""
        pieces = re.split(r"([\\^= ])", text)
        return b"".join(piece.encode() if piece.isascii() else self._escaped(piece) for piece in pieces)

    def _escaped(self, piece: str) -> bytes:
        if self.codec.startswith("iso2022"):  # Python writes the escape sequences itself
            return piece.encode(self.codec).removesuffix(b"\x1b(B") + self.after
        return self.before + piece.encode(self.codec) + self.after


SCRIPTS = {
    "": Script("ascii", "Doe^Jane", "CT Chest"),
    "ISO_IR 6": Script("ascii", "Doe^Jane", "CT Chest"),
    "ISO_IR 100": Script("latin_1", "Müller^Jérôme", "Schädel ½"),
    "ISO_IR 101": Script("iso8859_2", "Wałęsa^Łukasz", "Głowa"),
    "ISO_IR 109": Script("iso8859_3", "Ĝangalo^Ĥoruso", "Ħal"),
    "ISO_IR 110": Script("iso8859_4", "Bērziņš^Jānis", "Krūtis"),
    "ISO_IR 144": Script("iso8859_5", "Люксембург^Анна", "Грудная клетка"),
    "ISO_IR 127": Script("iso8859_6", "قباني^لنزار", "الصدر"),
    "ISO_IR 126": Script("iso8859_7", "Διονυσιος^Άννα", "Θώρακας"),
    "ISO_IR 138": Script("iso8859_8", "שרון^דבורה", "חזה"),
    "ISO_IR 148": Script("iso8859_9", "Çavuşoğlu^Işıl", "Göğüs"),
    "ISO_IR 166": Script("tis_620", "นามสกุล^ชื่อ", "ทรวงอก"),
    "ISO_IR 203": Script("iso8859_15", "Šœur^Žoë", "Crâne €"),
    "ISO_IR 13": Script("shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ｷｮｳﾌﾞ"),
    "ISO_IR 192": Script("utf_8", "Yoshida^Tarou=𠮷田^太郎=よしだ^たろう", "胸部 🫁"),
    "GB18030": Script("gb18030", "Wang^Cheng=王^誠㐀=", "胸部平扫 誠"),
    "GBK": Script("gbk", "Wang^XiaoDong=王^小东誠", "胸部平扫 誠"),
    "ISO 2022 IR 100": Script("latin_1", "Müller^Jérôme", "Schädel"),
    "ISO 2022 IR 100\\ISO 2022 IR 144": Script("iso8859_5", "Müller^Люк", "Грудь", before=b"\x1b-L"),
    "\\ISO 2022 IR 87": Script("iso2022_jp", "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部 単純 CT", after=b"\x1b(B"),
    "ISO 2022 IR 13\\ISO 2022 IR 87": Script(
        "iso2022_jp", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "胸部 単純 CT", after=b"\x1b(J"
    ),
    "\\ISO 2022 IR 159": Script("iso2022_jp_2", "Ni^Kamu=丂^侄亍=", "丂侄", after=b"\x1b(B"),
    "\\ISO 2022 IR 149": Script("euc_kr", "Hong^Gildong=洪^吉洞=홍^길동", "흉부 CT", before=b"\x1b$)C"),
    "\\ISO 2022 IR 58": Script("gb2312", "Zhang^XiaoDong=张^小东=", "胸部平扫 CT", before=b"\x1b$)A"),
}
#: value 1 of the set is encoded without an escape sequence
FIRST = {"ISO 2022 IR 13\\ISO 2022 IR 87": "shift_jis", "ISO 2022 IR 100\\ISO 2022 IR 144": "latin_1"}


def in_script(charset: str, text: str) -> bytes:
    """A text as a device of that country writes it."""
    script = SCRIPTS[charset]
    if first := FIRST.get(charset):
        pieces = re.split(r"([\\^= ])", text)
        return b"".join(_in_first(piece, first) or script.encoded(piece) for piece in pieces)
    return script.encoded(text)


def _in_first(piece: str, codec: str) -> bytes:
    try:
        found = piece.encode(codec)
    except UnicodeEncodeError:
        return b""
    return found if codec != "shift_jis" or len(found) == len(piece) else b""


def written_in(charset: str) -> Change:
    """All that is text, in the script of a character set."""
    name, text = SCRIPTS[charset].name, SCRIPTS[charset].text
    meaning = Dataset()
    meaning.CodeValue, meaning.CodingSchemeDesignator = "1", "99X"
    encoded = in_script(charset, text)
    meaning[Tag(0x00080104)] = RawDataElement(Tag(0x00080104), "LO", len(encoded), encoded, 0, False, True)
    return both(
        raw(
            SpecificCharacterSet=charset.encode(),
            PatientName=in_script(charset, name),
            PatientID=in_script(charset, text),
            ReferringPhysicianName=in_script(charset, name),
            StudyDescription=in_script(charset, text),
            InstitutionName=in_script(charset, text),
        ),
        with_(ProcedureCodeSequence=Sequence([meaning])),
    )


@pytest.mark.parametrize("charset", SCRIPTS)
def test_every_character_set_survives_to_the_results(make: Callable[[Change], Made], charset: str) -> None:
    name, text = SCRIPTS[charset].name, SCRIPTS[charset].text
    found = make(written_in(charset))
    for ds in (found.seg, *found.reports):
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert str(ds.PatientName) == str(ds.ReferringPhysicianName) == name.rstrip("=")
        assert ds.PatientID == ds.StudyDescription == text
        assert ds.ProcedureCodeSequence[0].CodeMeaning == text
        scanner = ds.ContributingEquipmentSequence[0]
        assert scanner.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
        assert scanner.InstitutionName == text
    assert [_procedure(sr) for sr in found.reports] == [text, text]


def _procedure(sr: Dataset) -> str:
    (found,) = [one for one in sr.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "121058"]
    return str(found.ConceptCodeSequence[0].CodeMeaning)


def test_lengths_are_in_characters(tmp_path: Path, decoders: Decoders) -> None:
    """dciodvfy counts the bytes of UTF-8 and is not asked; pydicom does not."""
    name, text, number = "山" * 64 + "=" + "田" * 64, "胸" * 64, "番" * 16
    images = small_series((12, 10, 3))
    with_(**PLAIN)(images)
    raw(SpecificCharacterSet=b"ISO_IR 192", PatientName=(name + "太").encode(), PatientID=text.encode())(images)
    raw(StudyDescription=(text + "部").encode(), AccessionNumber=number.encode())(images)
    built = volume.build(files(images, tmp_path / "in"), decoders)
    for ds in without_a_word(built):
        assert (str(ds.PatientName), ds.PatientID, ds.StudyDescription, ds.AccessionNumber) == (
            name,
            text,
            text,
            number,
        )
    built.close()


#: what does not decode, in a name: SpecificCharacterSet, bytes, what is carried over
DAMAGED = {
    "no character set": ("", b"M\xfcller^J\xfcrgen", "M\ufffdller^J\ufffdrgen"),
    "an unknown one": ("ISO_IR 999", b"M\xfcller", "M\ufffdller"),
    "one that is no text": ("ROT13", b"M\xfcller", "M\ufffdller"),
    "Windows in Latin 1": ("ISO_IR 100", b"O\x92Brien", "O\ufffdBrien"),
    "Latin 1 in UTF-8": ("ISO_IR 192", b"M\xfcller", "M\ufffdller"),
    "an escape in UTF-8": ("ISO_IR 192", b"\x1b$B;3ED", "\ufffd$B;3ED"),
    "half a character in GB18030": ("GB18030", b"Wang=\xcd", "Wang=\ufffd"),
    "half a character in Korean": ("\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3\xd1", "洪\ufffd"),
    "half a character in Japanese": ("\\ISO 2022 IR 87", b"\x1b$B;3E\x1b(B^Taro", "山\ufffd^Taro"),
    "an unknown escape": ("\\ISO 2022 IR 87", b"\x1b$)Zabc^d=\x1b(Be", "\ufffde"),
    "an escape at the end": ("\\ISO 2022 IR 87", b"Yamada\x1b", "Yamada\ufffd"),
    "an undefined byte in Greek": ("ISO_IR 126", b"\xc4\xd2", "Δ\ufffd"),
}
#: what is not legal and can only be read one way
TOLERATED = {
    "no escape at the end": ("\\ISO 2022 IR 87", b"Yamada=\x1b$B;3ED", "Yamada=山田"),
    "no escape before a delimiter": ("\\ISO 2022 IR 87", b"\x1b$B;3ED^\x1b$BB@O:\x1b(B", "山田^太郎"),
    "one escape for all components": ("\\ISO 2022 IR 149", b"H=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7", "H=洪^吉洞"),
    "Korean alone, without escapes": ("ISO 2022 IR 149", b"H=\xfb\xf3^\xd1\xce\xd4\xd7", "H=洪^吉洞"),
    "an escape of a set that is not declared": ("ISO_IR 100", b"\x1b$B;3ED\x1b(B", "山田"),
    "a misspelt term": ("ISO-IR 144", b"\xbb\xee\xda", "Люк"),
    "another misspelt term": ("iso_2022_ir_101", b"Wa\xb3\xeasa", "Wałęsa"),
    "a Python term": ("utf-8", "Müller".encode(), "Müller"),
    "a byte order mark": ("ISO_IR 192", "\ufeffMüller".encode(), "Müller"),
    "a set beside UTF-8": ("ISO_IR 192\\ISO 2022 IR 87", "山田".encode(), "山田"),
    "the old Japanese escape": ("\\ISO 2022 IR 87", b"\x1b$@;3ED\x1b(B", "山田"),
}


@pytest.mark.parametrize("variant", [*DAMAGED, *TOLERATED])
def test_a_name_shows_what_does_not_decode_and_nothing_else(variant: str) -> None:
    charset, written, carried = (DAMAGED | TOLERATED)[variant]
    images = [Dataset()]
    raw(SpecificCharacterSet=charset.encode(), PatientName=written)(images)
    assert values.value(images[0], "PatientName") == carried


@pytest.mark.parametrize("variant", ["no character set", "Latin 1 in UTF-8", "an unknown escape"])
def test_a_damaged_name_stands_in_conformant_results(make: Callable[[Change], Made], variant: str) -> None:
    charset, written, carried = DAMAGED[variant]
    found = make(raw(SpecificCharacterSet=charset.encode(), PatientName=written))
    for ds in (found.seg, *found.reports):
        assert str(ds.PatientName) == carried


def test_an_item_may_have_a_character_set_of_its_own() -> None:
    source, russian, greek = Dataset(), Dataset(), Dataset()
    raw(SpecificCharacterSet=b"ISO_IR 144")([source])
    raw(CodeMeaning="Грудь".encode("iso8859_5"))([russian])
    raw(SpecificCharacterSet=b"ISO_IR 126", CodeMeaning="Θώρακας".encode("iso8859_7"))([greek])
    assert [values.value(one, "CodeMeaning", charset_of(source)) for one in (russian, greek)] == [
        "Грудь",
        "Θώρακας",
    ]


CARRIED = [*TYPE_2, *OPTIONAL, "PatientAge", "PatientWeight", "PatientComments", "CodeValue"]


@given(
    keyword=st.sampled_from(CARRIED),
    charset=st.sampled_from([*SCRIPTS, "ISO_IR 999"]),
    written=st.one_of(st.binary(max_size=90), st.text("0123456789.:-+^=\\ AMY\x1b$B", max_size=40).map(str.encode)),
)
@settings(max_examples=1500, deadline=None)
def test_whatever_the_bytes_are_the_value_is_legal_or_refused(keyword: str, charset: str, written: bytes) -> None:
    """pydicom's own rules of the value representations are the judge."""
    images = [Dataset()]
    raw(SpecificCharacterSet=charset.encode(), **{keyword: written})(images)
    try:
        found = values.value(images[0], keyword)
    except Refused:
        assert keyword in values.IDENTIFIERS
        return
    for one in found if isinstance(found, list) else [found]:
        one.encode()
        validate_value(dictionary_VR(keyword), one, RAISE)
