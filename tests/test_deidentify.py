"""De-identification: what becomes of every attribute; identifiers go wherever they stand, and a leak is found."""

from __future__ import annotations

import csv
import re
import warnings
import zlib
from datetime import date
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as kitware
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from node.deidentify import leaving
from node.deidentify.dates import capped, moved
from node.deidentify.dummies import DUMMIES, REMOVED
from node.deidentify.identifiers import Identifiers
from node.deidentify.instance import Profile, deidentified, written
from node.deidentify.keys import OF_KINDS, Keys
from node.deidentify.options import COLUMNS, USUAL, Option, chosen
from node.deidentify.proof import Leak, Proof
from node.deidentify.table import RESOLVED, action, beside, rows
from node.deidentify.text import cleaned
from node.errors import Refused

KEYS = Keys(b"k" * 32)
IDENTITY = "0815 of St Elsewhere"
ROOT = "1.2.826.0.1.3680043.8.498.4712."
#: value of a filled attribute, by VR: legal, and to be told from every dummy
MARKERS: dict[str, Any] = {
    "AE": "MARKERAE",
    "AS": "033Y",
    "CS": "MARKERCS",
    "DA": "20010203",
    "DS": "3.5",
    "DT": "20010203040506",
    "FD": 3.5,
    "FL": 3.5,
    "IS": "7",
    "LO": "Markerlo",
    "LT": "Markerlt",
    "OB": b"markerob",
    "OD": b"markerod",
    "OF": b"markerof",
    "OL": b"markerol",
    "OV": b"markerov",
    "OW": b"markerow",
    "PN": "Markerpn^Given",
    "SH": "Markersh",
    "SL": 7,
    "SS": 7,
    "ST": "Markerst",
    "SV": 7,
    "TM": "040506",
    "UC": "Markeruc",
    "UL": 7,
    "UN": b"markerun",
    "UR": "urn:marker",
    "US": 7,
    "UT": "Markerut",
    "UV": 7,
}
UIDS = {name: f"{ROOT}{n}" for n, name in enumerate(("study", "series", "sop"), 1)}


def profile(*options: Option, usual: bool = False) -> Profile:
    return Profile(chosen([str(one) for one in options], usual=usual), KEYS)


def base(**more: Any) -> Dataset:
    """A small object of a person."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, UIDS["sop"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UIDS["study"], UIDS["series"]
    ds.Modality, ds.PatientID, ds.PatientName = "CT", "QX-0815", "Quillfeather^Oscarina"
    ds.PatientBirthDate = "19310203"
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def written_as_is(ds: Dataset) -> bytes:
    stream = BytesIO()
    if "PixelData" in ds:
        ds["PixelData"].VR = "OW"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def through(data: bytes | Dataset, how: Profile | None = None) -> tuple[Dataset, bytes, Identifiers]:
    """What leaves of an object, its bytes, and what was looked for in them."""
    how = how or profile(usual=True)
    data = data if isinstance(data, bytes) else written_as_is(data)
    found = Identifiers()
    found.gather(dcmread(BytesIO(data)), how.options)
    out = written(deidentified(dcmread(BytesIO(data)), how, how.person(IDENTITY, found)))
    return dcmread(BytesIO(out)), out, found


# ------------------------------------------------------------------ the table


def theirs() -> dict[int, str]:
    names = {
        "D": "D_TAGS",
        "Z": "Z_TAGS",
        "X": "X_TAGS",
        "U": "U_TAGS",
        "Z/D": "Z_D_TAGS",
        "X/Z": "X_Z_TAGS",
        "X/D": "X_D_TAGS",
        "X/Z/D": "X_Z_D_TAGS",
        "X/Z/U*": "X_Z_U_STAR_TAGS",
    }
    found = {}
    for code, name in names.items():
        for tag in getattr(kitware, name):
            if len(tag) == 2:  # whole groups are rules of ours, not rows
                found[tag[0] << 16 | tag[1]] = code
    return found


def test_every_row_of_the_basic_profile_is_that_of_an_independent_copy_of_the_standard() -> None:
    assert {tag: row["basic"] for tag, row in rows().items()} == theirs()
    assert len(rows()) > 600


def test_the_table_names_attributes_as_the_dictionary_does() -> None:
    wrong = [
        f"{tag:08X}" for tag, row in rows().items() if keyword_for_tag(tag) and keyword_for_tag(tag) != row["attribute"]
    ]
    assert wrong == []


#: AE titles that are to be cleaned of names: nothing here tells a name
AE_TITLES = (
    "DestinationAE",
    "NetworkID",
    "Originator",
    "PerformedStationAETitle",
    "ReceivingAE",
    "RequestingAE",
    "RetrieveAETitle",
    "ScheduledStationAETitle",
    "ScheduledStudyLocationAETitle",
    "SelectorAEValue",
    "StationAETitle",
)
#: dates of a device: they follow the options of dates alone: a calibration on the day of the images tells their day
DEVICE_DATES = (
    "BeamHoldTransitionDateTime",
    "CalibrationDate",
    "CalibrationDateTime",
    "CalibrationTime",
    "DateOfInstallation",
    "DateOfLastCalibration",
    "DateOfLastDetectorCalibration",
    "DateOfManufacture",
    "DateTimeOfLastCalibration",
    "TimeOfLastCalibration",
    "TimeOfLastDetectorCalibration",
)
#: where we take away what an option lets stay or cleans: nothing here tells a maker's own codes, or bytes, to be clean
TAKEN_AWAY_ALL_THE_SAME = {
    *((name, "device") for name in (*AE_TITLES, *DEVICE_DATES)),
    ("AdmittingDiagnosesCodeSequence", "descriptors"),
    ("CertifiedTimestamp", "full_dates"),
    ("CertifiedTimestamp", "modified_dates"),
    ("DeviceSettingDescription", "descriptors"),
    ("FrameOriginTimestamp", "full_dates"),
    ("FrameOriginTimestamp", "modified_dates"),
    ("MakerNote", "descriptors"),
    ("PrescriptionNotesSequence", "descriptors"),
    ("ReasonForRequestedProcedureCodeSequence", "descriptors"),
    ("ReasonForTheAttributeModification", "descriptors"),
    ("ReasonForVisitCodeSequence", "descriptors"),
    ("ReferencedPatientSequence", "uids"),
    ("RequestAttributesSequence", "descriptors"),
}


def test_the_columns_of_options_are_those_of_an_independent_copy_of_the_standard() -> None:
    """It is of an older edition: 617 rows. In them we retain no more than it, and less only where that is listed."""
    lines = Path(__file__).with_name("option_columns.csv").read_text("utf-8").splitlines()
    copy = {int(row["tag"], 16): row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}
    assert len(copy) == 617
    other = {
        (rows()[tag]["attribute"], column): (said[column], rows()[tag][column])
        for tag, said in copy.items()
        for column in COLUMNS.values()
        if said[column] != rows()[tag][column]
    }
    assert set(other) == TAKEN_AWAY_ALL_THE_SAME
    assert {ours for _, ours in other.values()} == {""}


def test_an_option_changes_only_what_it_is_about() -> None:
    dictionary = {tag: row[0] for tag, row in DicomDictionary.items()}
    for tag, row in rows().items():
        vr = dictionary.get(tag, "")
        if row["full_dates"]:
            assert (row["full_dates"], row["modified_dates"]) == ("K", "C")
            assert vr in ("DA", "TM", "DT") or row["attribute"] == "TimezoneOffsetFromUTC"
        if row["uids"]:
            assert vr in ("UI", "SQ")
        if row["descriptors"]:
            assert vr in ("LO", "SH", "ST", "LT", "UT", "UC")
        assert row["attribute"] not in ("PatientID", "PatientName", "OtherPatientIDs") or not any(
            row[column] for column in COLUMNS.values()
        )


def test_what_stands_beside_the_table_is_not_in_it_and_is_called_as_in_the_dictionary() -> None:
    assert not beside().keys() & rows().keys()
    assert [row["attribute"] for tag, row in beside().items() if keyword_for_tag(tag) != row["attribute"]] == []
    assert {row["basic"] for row in beside().values()} == {"X", "Z", "D"}
    assert {row[column] for row in beside().values() for column in COLUMNS.values()} == {"", "K", "C"}


#: words of attributes that say who, where, or tell freely
TELLING = re.compile(
    "BirthDate|DeathDate|Address|Issuer|Organi[sz]ation(?!al)|Facility|Agency|Jurisdiction|Institution|UR[LI]|Namespace"
    "|EntityID|Comment|Notes$|SerialNumber|(?<!Private)Creator$|Owner|OrderNumber|Physician(?!Intent)|MachineName|DeviceID"
)
#: of those, what is kept all the same: makers of implants, dimensions of frames, items that are cleaned one by one,
#: a part of a document (none leaves), accessories by their kind
KEPT = {
    *("ImplantAssemblyTemplateIssuer", "ImplantTemplateGroupIssuer"),
    *("DimensionOrganizationSequence", "CalculationCommentSequence"),
    "RelativeURIReferenceWithinEncapsulatedDocument",
    *("BrachyAccessoryDeviceID", "LateralSpreadingDeviceID"),
}


def test_no_attribute_whose_name_tells_who_or_where_is_left_undecided() -> None:
    undecided = {
        keyword
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if tag >> 16 >= 8 and TELLING.search(keyword) and vr not in ("PN", "DA", "DT", "UI", "CS", "US")
    } - {row["attribute"] for row in (*rows().values(), *beside().values())}
    assert undecided == KEPT


# -------------------------------------------------- everything that there is


@cache
def every() -> tuple[tuple[int, str, str], ...]:
    """Tag, VR and keyword of all attributes that a data set may have, sequences apart."""
    found = []
    for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        vr = vr.split(" or ")[-1]
        if tag >> 16 < 8 or not keyword or keyword in ("SpecificCharacterSet", "PixelData", "TransferSyntaxUID"):
            continue
        if vr in MARKERS or vr == "UI":
            found.append((tag, vr, keyword))
    return tuple(found)


def filled(ds: Dataset) -> Dataset:
    """Every attribute of the dictionary with a marker."""
    for n, (tag, vr, _) in enumerate(every()):
        if tag not in ds:
            ds.add_new(tag, vr, f"{ROOT}9.{n}" if vr == "UI" else MARKERS[vr])
    return ds


@cache
def full() -> bytes:
    ds = filled(base())
    for number in range(1, 3):  # the same at a depth of two
        item = filled(Dataset())
        if number == 2:
            item.ReferencedSeriesSequence = [filled(Dataset())]
        ds.ReferencedSeriesSequence = [*(ds.get("ReferencedSeriesSequence") or []), item]
    return written_as_is(ds)


SETS = [
    frozenset(),
    *(frozenset([option]) for option in Option),
    USUAL,
    frozenset(Option) - {Option.FULL_DATES},
    frozenset(Option) - {Option.MODIFIED_DATES},
]


def expected(tag: int, vr: str, keyword: str, options: frozenset[Option], days: int) -> Any:
    """What the profile says becomes of a marker: "gone", "empty", or the value."""
    row, marker = {**beside(), **rows()}.get(tag), MARKERS.get(vr)
    if 0x5000 <= tag >> 16 < 0x5100 or 0x6000 <= tag >> 16 < 0x6100:
        return "gone"
    said = (
        "" if row is None else next((row[COLUMNS[one]] for one in COLUMNS if one in options and row[COLUMNS[one]]), "")
    )
    basic = said or ("" if row is None else row["basic"])
    resolved = str(RESOLVED[basic][1]) if basic in RESOLVED else basic
    if keyword == "TimezoneOffsetFromUTC":  # the marker is no offset
        return "gone"
    if vr == "UI":
        return {"X": "gone", "Z": "empty"}.get(resolved, "kept" if resolved == "K" else "uid")
    if resolved == "C" or keyword == "TextValue":
        if vr in ("DA", "DT"):
            return moved(marker, days, vr)
        if vr == "TM":
            return marker
        without = str(
            action(tag, vr, options - {Option.CLEAN_DESCRIPTORS, Option.CLEAN_GRAPHICS, Option.RETAIN_PATIENT})
        )
        return {"X": "gone", "Z": "empty"}.get(without, REMOVED)
    if resolved == "" and vr == "PN":
        return "empty"
    if resolved == "" and vr in ("DA", "DT") and Option.MODIFIED_DATES in options:
        return moved(marker, days, vr)
    if resolved == "" and vr in ("DA", "DT") and Option.FULL_DATES not in options:
        return DUMMIES[vr]
    return {"X": "gone", "Z": "empty", "D": DUMMIES.get(vr, REMOVED)}.get(resolved, marker)


@pytest.mark.parametrize("options", SETS, ids=lambda options: "+".join(sorted(options))[:40] or "basic")
def test_each_attribute_becomes_what_the_table_says(options: frozenset[Option]) -> None:
    how = Profile(options, KEYS)
    nobody = how.person(IDENTITY, Identifiers())  # equal markers are of identifiers too; those are another test's
    ds = dcmread(BytesIO(written(deidentified(dcmread(BytesIO(full())), how, nobody))))
    days = KEYS.days(IDENTITY)
    ours = "PatientID PatientName PatientIdentityRemoved DeidentificationMethod LongitudinalTemporalInformationModified"
    wrong = []
    for where, item in (("", ds), ("2.", ds.ReferencedSeriesSequence[1].ReferencedSeriesSequence[0])):
        for n, (tag, vr, keyword) in enumerate(every()):
            if (not where and keyword in ours.split()) or keyword in ("SOPClassUID", "Modality"):
                continue
            given = {"StudyInstanceUID": "study", "SeriesInstanceUID": "series", "SOPInstanceUID": "sop"}.get(keyword)
            old = UIDS[given] if given and not where else f"{ROOT}9.{n}"
            meant = expected(tag, vr, keyword, options, days)
            if meant == "uid":
                named = rows().get(tag, {}).get("basic") == "U"
                kept = (keyword.endswith(OF_KINDS) and not named) or (
                    Option.RETAIN_UIDS in options and tag not in rows()
                )
                meant = old if kept else KEYS.uid(old)
            elif meant == "kept":
                meant = old
            is_there = tag in item
            value = item[tag].value if is_there else None
            shown = "gone" if not is_there else "empty" if value in (None, "", b"") else value
            if not _same(shown, meant):
                wrong.append(f"{where}{keyword} {vr}: {shown!r} instead of {meant!r}")
    assert wrong == []


def _same(shown: Any, meant: Any) -> bool:
    if isinstance(meant, float | int) and not isinstance(shown, str):
        return float(shown) == float(meant)
    return str(shown) == str(meant)


def test_the_pseudonym_and_what_was_done_are_said() -> None:
    ds, data, _ = through(base(), profile(Option.MODIFIED_DATES, usual=True))
    assert ds.PatientID == ds.PatientName == KEYS.pseudonym(IDENTITY)
    assert ds.PatientIdentityRemoved == "YES"
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    said = [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]
    assert said == ["113100", "113103", "113104", "113105", "113107"]
    assert {item.CodingSchemeDesignator for item in ds.DeidentificationMethodCodeSequence} == {"DCM"}
    assert data[:128] == b"\0" * 128
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID == KEYS.uid(UIDS["sop"])


def test_a_deflated_object_leaves_readable_for_the_proof() -> None:
    ds = base(StudyComments="Quillfeather")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out, _, _ = through(ds)
    assert out.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


# -------------------------------------------------------- beside the table


def issuer() -> Dataset:
    item = Dataset()
    item.LocalNamespaceEntityID, item.UniversalEntityID, item.UniversalEntityIDType = (
        "MILDRED_RIS",
        "1.2.276.99.7",
        "ISO",
    )
    return item


ELSEWHERE: dict[str, Any] = {
    "PatientBirthDateInAlternativeCalendar": "14 RAMADAN 1349",
    "PatientDeathDateInAlternativeCalendar": "1 MUHARRAM 1440",
    "PatientAlternativeCalendar": "ISLAMIC",
    "CommentsOnTheScheduledProcedureStep": "Dr. Voss: the wife of the mayor, ward Seven",
    "RetrieveURL": "https://pacs.mildred.example/wado?patient=0815",
    "RequestingServiceCodeSequence": [issuer()],
    "IssuerOfAccessionNumberSequence": [issuer()],
    "IssuerOfPatientIDQualifiersSequence": [issuer()],
    "OrderPlacerIdentifierSequence": [issuer()],
    "DeviceID": "ROOM-9-UNIT",
    "PatientBodyMassIndex": "23.5",
}
#: what an option retains of them
RETAINED = {
    Option.RETAIN_INSTITUTION: {keyword for keyword, value in ELSEWHERE.items() if isinstance(value, list)},
    Option.RETAIN_DEVICE: {"DeviceID"},
    Option.RETAIN_PATIENT: {"PatientBodyMassIndex"},
}


@pytest.mark.parametrize("option", [None, *Option], ids=str)
def test_what_says_who_or_where_beside_the_table_goes_unless_its_option_retains_it(option: Option | None) -> None:
    nested = Dataset()
    nested.update(base(**ELSEWHERE))
    ds = base(**ELSEWHERE, ReferencedSeriesSequence=[nested])
    how = profile(*([option] if option else []), usual=True)
    out, data, found = through(ds, how)
    kept = RETAINED.get(option, set()) if option else set()
    for left in (out, out.ReferencedSeriesSequence[0]):
        assert {keyword for keyword in ELSEWHERE if keyword in left} - {"CommentsOnTheScheduledProcedureStep"} == kept
    assert Proof(found).leaks(data) == []
    for said in (b"RAMADAN", b"MUHARRAM", b"Voss", b"mayor", b"example"):
        assert said not in data
    assert (b"MILDRED_RIS" in data) == (b"1.2.276.99.7" in data) == (option is Option.RETAIN_INSTITUTION)


def test_the_root_of_the_house_is_not_looked_for_where_its_uids_are_retained() -> None:
    house = issuer()
    house.UniversalEntityID = ROOT.rstrip(".")
    ds = base(IssuerOfAccessionNumberSequence=[house])
    for options, is_there in (((), False), ((Option.RETAIN_UIDS,), True)):
        _, data, found = through(ds, profile(*options))
        assert Proof(found).leaks(data) == []
        assert (ROOT.encode() in data) == is_there


def test_a_comment_beside_the_table_is_cleaned_like_those_in_it_or_goes() -> None:
    ds = base(SegmentDescription="Nodule of Aunt Prudence, left lung", ContentDescription="for Aunt Prudence")
    out, _, _ = through(ds)
    assert (out.SegmentDescription, out.ContentDescription) == ("Nodule of left lung", "for")
    out, _, _ = through(ds, profile())
    assert "SegmentDescription" not in out
    assert out.ContentDescription == ""


def test_the_class_of_a_device_is_mapped_as_the_table_says() -> None:
    given = f"{ROOT}77"
    ds = base(ManufacturerDeviceClassUID=given, DeviceUID=given, SoftwareVersions=f"of {given}")
    out, data, found = through(ds)
    assert out.ManufacturerDeviceClassUID == out.DeviceUID == KEYS.uid(given)
    assert given.encode() not in data
    out, data, found = through(ds, profile(Option.RETAIN_DEVICE))
    assert out.ManufacturerDeviceClassUID == out.DeviceUID == given
    assert Proof(found).leaks(data) == []


# ------------------------------------------------------------------ the keys


def test_a_uid_that_somebody_made_below_the_root_of_the_standard_is_no_word_of_the_standard() -> None:
    """Some systems append to that of the SOP class; what PS3.6 lists stays as it is."""
    uids = {
        f"{level}InstanceUID": f"{CTImageStorage}.20240229.{n}" for n, level in enumerate(("Study", "Series", "SOP"))
    }
    talairach = "1.2.840.10008.1.4.1.1"
    made, out, _ = through(base(**uids, FrameOfReferenceUID=talairach, SOPClassesInStudy=[CTImageStorage]))
    for keyword, uid in uids.items():
        assert made[keyword].value.startswith("2.25."), keyword
        assert uid.encode() not in out
    assert (made.FrameOfReferenceUID, made.SOPClassUID) == (talairach, CTImageStorage)
    assert made.get("SOPClassesInStudy", CTImageStorage) == CTImageStorage


def test_a_uid_becomes_the_same_uid_everywhere_with_one_key_and_another_with_another() -> None:
    old = generate_uid()
    assert KEYS.uid(old) == KEYS.uid(old) != Keys(b"x" * 32).uid(old)
    assert UID(KEYS.uid(old)).is_valid
    assert KEYS.uid(CTImageStorage) == CTImageStorage


def test_a_key_that_is_none_and_options_that_exclude_one_another_are_refused(tmp_path: Path) -> None:
    (file := tmp_path / "key").write_bytes(b"short")
    with pytest.raises(Refused, match="must be 32"):
        Keys.read(file)
    file.write_bytes(b"k" * 32)
    assert Keys.read(file) == KEYS
    with pytest.raises(Refused, match="exclude one another"):
        chosen([Option.FULL_DATES, Option.MODIFIED_DATES])
    with pytest.raises(Refused, match="is no option"):
        chosen(["retain-everything"])


@given(st.text(min_size=1))
@settings(deadline=None)
def test_pseudonyms_and_days_are_of_the_key(identity: str) -> None:
    assert re.fullmatch("P[0-9A-F]{16}", KEYS.pseudonym(identity))
    assert -3650 <= KEYS.days(identity) <= -1
    assert KEYS.pseudonym(identity) != Keys(b"x" * 32).pseudonym(identity)


@given(st.dates(min_value=date(1900, 1, 1)), st.integers(-3650, -1))
@settings(max_examples=50, deadline=None)
def test_dates_of_a_patient_keep_their_distance(day: Any, days: int) -> None:
    said = f"{day:%Y%m%d}"
    if day.year > 1911:
        assert len(moved(said, days, "DA")) == 8
    assert moved("not a date", days, "DA") == "" == moved("20010231", days, "DA")
    assert moved("20010203040506.1+0100", -1, "DT") == "20010202040506.1+0100"


@pytest.mark.parametrize(
    ("vr", "said", "left"),
    [
        ("DA", "20200101", "20191231"),
        ("DA", "2020.01.01 ", "20191231"),
        ("DA", "20200101-20200301", ""),
        ("DA", "20200101-2020", ""),
        ("DA", "20200101120000", ""),
        ("DA", "20200101 of 20200101", ""),
        ("DT", "2020010112", "2019123112"),
        ("DT", "20200101120000.123456-0930", "20191231120000.123456-0930"),
        ("DT", "20200101-0500", "20191231-0500"),
        ("DT", "20200101-2020", ""),
        ("DT", "20200101120000-20200301", ""),
        ("DT", "2020010120200301", ""),
        ("DT", "2020", ""),
    ],
)
def test_nothing_is_left_beside_a_moved_date(vr: str, said: str, left: str) -> None:
    assert moved(said, -1, vr) == left


def test_no_date_that_came_stands_beside_a_moved_one_in_an_object() -> None:
    ds = base()
    ds.add_new("StudyDate", "DA", "20200101-20200301")
    ds.add_new("ContentDate", "DA", ["20200101", "20200301"])
    ds.add_new("AcquisitionDateTime", "DT", "20200101120000-20200301")
    ds.add_new("ScheduledProcedureStepStartDateTime", "DT", "20200101120000+0100")
    ds.add_new("StudyTime", "TM", "120000 of 20200301")
    ds.add_new("ContentTime", "TM", "12:00:00.5")
    out, data, _ = through(ds, profile(Option.MODIFIED_DATES, usual=True))
    days = KEYS.days(IDENTITY)
    assert (out.StudyDate, out.AcquisitionDateTime, out.StudyTime) == ("", "", "")
    assert list(out.ContentDate) == [moved("20200101", days, "DA"), moved("20200301", days, "DA")]
    assert str(out.ScheduledProcedureStepStartDateTime) == f"{moved('20200101', days, 'DA')}120000+0100"
    assert str(out.ContentTime) == "12:00:00.5"
    assert b"20200301" not in data
    assert b"20200101" not in data


@pytest.mark.parametrize(
    ("offset", "option", "left"),
    [
        ("+0100", Option.MODIFIED_DATES, "+0100"),
        ("-0930", Option.FULL_DATES, "-0930"),
        ("+0100", None, None),
        ("REMOVED", Option.MODIFIED_DATES, None),
        ("+0100 Rome", Option.FULL_DATES, None),
    ],
)
def test_the_time_zone_stays_with_dates_that_stay_or_are_moved(offset: str, option: Option | None, left: Any) -> None:
    out, _, _ = through(base(TimezoneOffsetFromUTC=offset), profile(*([option] if option else []), usual=True))
    assert out.get("TimezoneOffsetFromUTC") == left


@pytest.mark.parametrize(
    ("age", "said"),
    [("089Y", "089Y"), ("090Y", "090Y"), ("101Y", "090Y"), ("999M", "999M"), ("old", ""), ("7y", "007Y")],
)
def test_ages_above_89_years_are_one_age(age: str, said: str) -> None:
    assert capped(age) == said


def test_every_age_that_is_retained_is_capped() -> None:
    nested = Dataset()
    nested.PatientAge = "1199M"  # not even an AS
    ds = base(PatientAge="097Y", SelectorASValue="101Y", ReferencedSeriesSequence=[nested])
    out, _, _ = through(ds, profile(Option.RETAIN_PATIENT))
    assert (out.PatientAge, out.SelectorASValue) == ("090Y", "090Y")
    assert out.ReferencedSeriesSequence[0].PatientAge == ""


# ------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CT Thorax 5mm, Dr. Quill (Ward 7B)", "CT Thorax 5mm"),
        ("t1_mprage_sag Jones", "t1 mprage sag"),
        ("123456789", ""),
        ("", ""),
    ],
)
def test_descriptions_keep_the_words_of_the_list(text: str, said: str) -> None:
    assert cleaned(text) == said


NAMES = [
    ("", "Quillfeather^Oscarina"),
    ("ISO_IR 100", "Müllerström^Käthe"),
    ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO 2022 IR 6\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 144", "Люкceмбypг^Иван"),
]


@pytest.mark.parametrize(("charset", "name"), NAMES, ids=[charset or "ascii" for charset, _ in NAMES])
@pytest.mark.parametrize("keyword", ["Manufacturer", "SoftwareVersions", "StudyDescription", "DerivationDescription"])
def test_a_name_in_any_character_set_goes_from_every_text(charset: str, name: str, keyword: str) -> None:
    ds = base(PatientName=name)
    if charset:
        ds.SpecificCharacterSet = charset.split("\\")
    setattr(ds, keyword, f"of {name.split('=')[-1].replace('^', ' ')} x")
    out, data, found = through(ds)
    assert Proof(found).leaks(data) == []
    for part in re.split("[=^]", name):
        assert part not in str(out)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z", "P", "S")), min_size=3, max_size=12), st.data()
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_name_nothing_of_it_is_left_or_the_object_stays(name: str, data: st.DataObject) -> None:
    ds = base(PatientName=f"{name}^X", SpecificCharacterSet="ISO_IR 192")
    keyword = data.draw(
        st.sampled_from(["Manufacturer", "ManufacturerModelName", "SegmentDescription", "ImageComments"])
    )
    setattr(ds, keyword, f"a {name} b")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, out, found = through(ds)
    if name in found.texts:
        assert Proof(found).leaks(out) or name.encode() not in out


# --------------------------------------------------------- private elements


def with_private() -> Dataset:
    ds = base()
    block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0E, "FD", [0.0, 0.0, 1.0])
    block.add_new(0x0B, "LO", "Quillfeather")
    block.add_new(0x0D, "CS", "QUILLFEATHER")  # a safe element with what it may not hold
    other = ds.private_block(0x0029, "ACME", create=True)
    other.add_new(0x10, "OB", b"\0\1Quillfeather\0")
    return ds


def test_private_elements_go() -> None:
    out, data, _ = through(with_private())
    assert not any(element.tag.is_private for element in out)
    assert b"ACME" not in data


def test_safe_private_elements_stay_where_that_is_asked_for() -> None:
    out, _, found = through(with_private(), profile(Option.SAFE_PRIVATE))
    assert [element.tag for element in out if element.tag.is_private] == [0x00190010, 0x0019100C, 0x0019100E]
    assert Proof(found).leaks(written_as_is(out)) == []


def test_what_no_dictionary_has_goes_with_overlays_and_curves() -> None:
    ds = base()
    ds.add_new(0x00189FFE, "LO", "unknown")
    ds.add_new(0x60003000, "OW", b"\1\1")
    ds.add_new(0x60004000, "LT", "comment")
    ds.add_new(0x50003000, "OW", b"\1\1")
    out, _, _ = through(ds)
    assert not [element for element in out if element.tag.group in (0x6000, 0x5000) or element.tag == 0x00189FFE]


# ------------------------------------------------------------------ leaving


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned-in-annotation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "may-be-burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, "may-be-burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}, "may-be-burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"}, "may-be-burned-in"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1"}, "may-be-burned-in"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "may-be-burned-in"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "may-be-burned-in"),
        ({"ImageType": ["DERIVED", "PRIMARY", "OVERVIEW", "NONE"]}, "may-be-burned-in"),
        *(
            ({"SOPClassUID": f"1.2.840.10008.5.1.{one}"}, "may-be-burned-in")
            for one in ("4.1.1.77.1.2", "4.1.1.77.1.6", "4.1.1.77.1.7", "4.1.1.77.2", "1.29", "1.30")
        ),
    ],
)
def test_what_may_name_somebody_in_its_pixels_stays_unless_a_person_answers_for_it(more: Any, code: str) -> None:
    with pytest.raises(Refused) as refused:
        leaving.require(base(**more), USUAL, with_burned_in=False)
    assert refused.value.code == code
    leaving.require(base(**more), USUAL, with_burned_in=True)


def test_raw_data_and_reports_that_are_not_cleaned_stay_anyway() -> None:
    item = Dataset()
    item.TextValue = "x"
    for more, options, code in (
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66"}, USUAL, "raw-data"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, USUAL, "document"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.4.1"}, USUAL, "recording"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.4.2"}, USUAL, "recording"),
        ({"ContentSequence": [item]}, frozenset[Option](), "content-not-cleaned"),
        ({"GraphicAnnotationSequence": [item]}, frozenset[Option](), "content-not-cleaned"),
        ({"SOPClassUID": ""}, USUAL, "no-class"),
    ):
        with pytest.raises(Refused) as refused:
            leaving.require(base(**more), options, with_burned_in=True)
        assert refused.value.code == code


def test_an_overlay_in_the_bits_of_the_pixels_stays() -> None:
    ds = base()
    ds.add_new(0x60000102, "US", 12)
    with pytest.raises(Refused, match="unused bits"):
        leaving.require(ds, USUAL, with_burned_in=False)
    ds.add_new(0x60003000, "OW", b"\1\1")
    leaving.require(ds, USUAL, with_burned_in=False)


def test_fluoroscopy_that_says_that_nothing_is_drawn_in_leaves_and_a_head_is_noted() -> None:
    leaving.require(
        base(SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1", BurnedInAnnotation="NO"), USUAL, with_burned_in=False
    )
    assert leaving.shows_face(base(BodyPartExamined="HEAD"))
    assert not leaving.shows_face(base(BodyPartExamined="CHEST"))


# ------------------------------------------------------------------- the proof


def looked_for(**more: Any) -> Identifiers:
    ds = base(
        AccessionNumber="ACC7788",
        InstitutionName="St Mildred Infirmary",
        ReferringPhysicianName="Vole^Peter",
        DeviceSerialNumber="SN4455-9",
        IssuerOfAccessionNumberSequence=[issuer()],
        PatientBirthDateInAlternativeCalendar="14 RAMADAN 1349",
        **more,
    )
    found = Identifiers()
    found.gather(dcmread(BytesIO(written_as_is(ds))), USUAL)
    return found


def pixels(inside: bytes) -> dict[str, Any]:
    return {
        **dict(Rows=32, Columns=32, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0),
        **dict(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"),
        "PixelData": inside.ljust(2048, b"\0"),
    }


PLANTED = [
    ("PatientName", dict(SoftwareVersions="v QUILLFEATHER 3")),
    ("PatientName", dict(ManufacturerModelName="oscarina")),
    ("PatientID", dict(RedPaletteColorLookupTableData=b"\0\0QX-0815!")),
    ("AccessionNumber", dict(SegmentDescription="see acc7788")),
    ("PatientBirthDate", dict(SoftwareVersions="03.02.1931")),
    ("PatientBirthDate", dict(SoftwareVersions="x19310203y")),
    ("InstitutionName", dict(Manufacturer="ST MILDRED INFIRMARY")),
    ("ReferringPhysicianName", dict(SoftwareVersions="by Vole.")),
    ("DeviceSerialNumber", dict(SoftwareVersions="SN4455-9")),
    ("LocalNamespaceEntityID", dict(SoftwareVersions="of mildred_ris")),
    ("UniversalEntityID", dict(SoftwareVersions="at 1.2.276.99.7")),
    ("PatientBirthDateInAlternativeCalendar", dict(SoftwareVersions="14 Ramadan 1349")),
    ("UID", dict(SoftwareVersions=f"{UIDS['study']}.77")),
    ("PatientName", pixels(b"Quillfeather")),
    ("PatientName", dict(SoftwareVersions="Quillfeather".encode("utf-16-le").decode("latin-1"))),
]


@pytest.mark.parametrize(("kind", "where"), PLANTED, ids=[f"{kind}-{next(iter(where))}" for kind, where in PLANTED])
def test_the_proof_finds_what_was_planted(kind: str, where: dict[str, Any]) -> None:
    """Into an object that is clean, as if the engine had forgotten something."""
    found = looked_for()
    clean, data, _ = through(base())
    assert Proof(found).leaks(data) == []
    for keyword, value in where.items():
        setattr(clean, keyword, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        leaks = Proof(found).leaks(written_as_is(clean))
    assert kind in [leak.kind for leak in leaks]
    assert "uill" not in str(leaks)


def deflated(*frames: bytes) -> Dataset:
    """An object whose frames are deflated, each by itself (PS3.5 A.4.15)."""
    clean, _, _ = through(base())
    for keyword, value in pixels(b"").items():
        setattr(clean, keyword, value)
    clean.NumberOfFrames = len(frames)
    packed = []
    for frame in frames:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed.append(packer.compress(frame) + packer.flush())
    clean.PixelData = encapsulate([one + b"\0" * (len(one) % 2) for one in packed])
    clean["PixelData"].VR, clean["PixelData"].is_undefined_length = "OB", True
    clean.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.8.1")
    return clean


def leaks_of(ds: Dataset) -> list[Leak]:
    return Proof(looked_for()).leaks(written(ds))


def test_the_proof_looks_into_deflated_frames() -> None:
    frame = b"\0Quillfeather^Oscarina".ljust(2048, b"\0")
    assert b"Quill" not in written(deflated(frame))
    assert leaks_of(deflated(bytes(2048), frame)) == [Leak("PatientName", "a deflated frame")]
    assert leaks_of(deflated(bytes(2048), bytes(2048))) == []
    study = b"\0" + UIDS["study"].encode() + b"\0"
    assert leaks_of(deflated(bytes(2048), study.ljust(2048, b"\0"))) == [Leak("UID", "a deflated frame")]
    # behind what the frame's pixels need, where no viewer looks
    assert leaks_of(deflated(bytes(2048) + frame)) == [Leak("PatientName", "a deflated frame")]


@pytest.mark.parametrize("frames", [(bytes(1 << 26),), (b"",)], ids=["bomb", "short"])
def test_deflated_frames_that_are_not_what_they_are_said_to_be_stay(frames: tuple[bytes, ...]) -> None:
    ds = deflated(*frames)
    if not frames[0]:
        ds.PixelData = encapsulate([b"\xff\xff\xff\xff"])
    with pytest.raises(Refused) as refused:
        leaks_of(ds)
    assert refused.value.code == "unreadable-object"


def test_short_identifiers_are_words_of_texts_and_no_chance_bytes_of_pixels() -> None:
    found = Identifiers()
    found.gather(base(PatientName="Lee^Bo", PatientID="123", AccessionNumber="40417"), USUAL)
    clean, _, _ = through(base())
    for keyword, value, leaks in (
        ("SoftwareVersions", "Sleeping bee", []),
        ("SoftwareVersions", "for LEE", [Leak("PatientName", "SoftwareVersions")]),
        ("SoftwareVersions", "123 times", [Leak("PatientID", "SoftwareVersions")]),
        ("SoftwareVersions", "v40417", []),
        ("SoftwareVersions", "40417 1", [Leak("AccessionNumber", "SoftwareVersions")]),
    ):
        setattr(clean, keyword, value)
        assert Proof(found).leaks(written_as_is(clean)) == leaks
    clean.SoftwareVersions, clean.SeriesNumber = "1", "123"
    for keyword, value in pixels(b"\0Lee\0 40417 LEE").items():
        setattr(clean, keyword, value)
    assert Proof(found).leaks(written_as_is(clean)) == []


def test_names_that_are_ordinary_words_are_looked_for_together() -> None:
    found = Identifiers()
    found.gather(base(PatientName="Head^Long"), USUAL)
    clean, _, _ = through(base())
    clean.BodyPartExamined = "HEAD"
    assert Proof(found).leaks(written_as_is(clean)) == []
    clean.SoftwareVersions = "Long Head"
    assert Proof(found).leaks(written_as_is(clean)) == [Leak("PatientName", "the file")]


def test_retained_identities_are_not_looked_for() -> None:
    how = profile(Option.RETAIN_DEVICE, Option.RETAIN_INSTITUTION, Option.RETAIN_UIDS)
    ds, data, found = through(base(DeviceSerialNumber="SN4455-9", InstitutionName="St Mildred Infirmary"), how)
    assert (ds.DeviceSerialNumber, ds.InstitutionName) == ("SN4455-9", "St Mildred Infirmary")
    assert ds.StudyInstanceUID == UIDS["study"]
    assert Proof(found).leaks(data) == []


# ------------------------------------------------------------- real objects


@cache
def wheel() -> tuple[Path, ...]:
    return tuple(sorted((Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm")))


@pytest.mark.parametrize("options", [USUAL, frozenset(Option) - {Option.FULL_DATES}], ids=["usual", "everything"])
def test_every_object_of_the_pydicom_wheel_leaves_proven_or_says_why_not(options: frozenset[Option]) -> None:
    how, left, stayed = Profile(options, KEYS), 0, list[str]()
    for file in wheel():
        data = file.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = dcmread(BytesIO(data))
                leaving.require(ds, options, with_burned_in=True)
                out, clean, found = through(data, how)
            except InvalidDicomError:
                continue
            except Refused as refused:
                stayed.append(refused.code)
                continue
            assert Proof(found).leaks(clean) == [], file.name
            assert str(ds.get("PatientID") or "?") not in str(out.get("PatientID"))
        left += 1
    assert set(stayed) <= {"no-class", "raw-data", "unreadable-object", "unwritable-object"}
    assert left > 50


def test_pixels_are_those_that_came() -> None:
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    out, _, _ = through(Path(path).read_bytes())
    assert np.array_equal(out.pixel_array, dcmread(path).pixel_array)
