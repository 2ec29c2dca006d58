"""De-identification of reports: what a header loses of its patient, the content items of the subject lose too."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.deidentify.identifiers import Identifiers
from node.deidentify.instance import deidentified, written
from node.deidentify.options import Option
from node.deidentify.proof import Proof
from tests.test_deidentify import IDENTITY, UIDS, base, profile, written_as_is

SYNTAXES = pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)


def code(value: str, scheme: str = "DCM", meaning: str = "of somebody") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def item(kind: str, concept: Dataset, **more: Any) -> Dataset:
    ds = Dataset()
    ds.RelationshipType, ds.ValueType, ds.ConceptNameCodeSequence = "HAS OBS CONTEXT", kind, [concept]
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def measured(number: str, unit: str = "a", **more: Any) -> Dataset:
    ds = Dataset()
    ds.NumericValue, ds.MeasurementUnitsCodeSequence = number, [code(unit, "UCUM", "unit")]
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def age(number: str, unit: str = "a", **more: Any) -> Dataset:
    return item("NUM", code("121033"), MeasuredValueSequence=[measured(number, unit, **more)])


def report(*items: Dataset) -> Dataset:
    """A report with these items, and once more two levels deeper."""
    deep = item("CONTAINER", code("126010"), ContentSequence=[item("CONTAINER", code("125007"), ContentSequence=items)])
    return base(
        SOPClassUID=ComprehensiveSRStorage,
        Modality="SR",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=[code("126000")],
        PatientAge="097Y",
        PatientSex="F",
        ContentSequence=[*items, deep],
    )


def through(ds: Dataset, *options: Option, syntax: str = ExplicitVRLittleEndian) -> tuple[list[list[Dataset]], bytes]:
    """The items of what leaves, those on top and those within, and its bytes."""
    how = profile(*options, usual=True)
    ds.file_meta.TransferSyntaxUID = syntax
    data, found = written_as_is(ds), Identifiers()
    found.gather(dcmread(BytesIO(data)), how.options)
    out = written(deidentified(dcmread(BytesIO(data)), how, how.person(IDENTITY, found)))
    assert Proof(found).leaks(out) == []
    top = list(dcmread(BytesIO(out)).ContentSequence)
    return [top[:-1], list(top[-1].ContentSequence[0].ContentSequence)], out


@SYNTAXES
def test_age_sex_and_size_go_from_a_report_as_from_a_header(syntax: str) -> None:
    given = report(
        age("97", FloatingPointValue=97.25),
        item("CODE", code("121032"), ConceptCodeSequence=[code("F", meaning="Female")]),
        item("NUM", code("8302-2", "LN"), MeasuredValueSequence=[measured("187.5", "cm")]),
        item("TEXT", code("121033"), TextValue="97"),
        item("NUM", code("113701"), MeasuredValueSequence=[measured("12.5", "mGy")]),
    )
    for items in through(given, syntax=syntax)[0]:
        years, sex, height, said, dose = items
        assert not years.MeasuredValueSequence and not height.MeasuredValueSequence
        assert [one.CodeValue for one in sex.ConceptCodeSequence] == ["REMOVED"]
        assert said.TextValue == "REMOVED"
        assert dose.MeasuredValueSequence[0].NumericValue == 12.5
        assert [one.ConceptNameCodeSequence[0].CodeValue for one in items[:2]] == ["121033", "121032"]


@SYNTAXES
@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [
        ("97", "a", "90"),
        ("89", "a", "89"),
        ("89.9", "a", "89.9"),
        ("90", "a_j", "90"),
        ("1164", "mo", "1080"),
        ("33", "mo", "33"),
        ("35430", "d", "32872.5"),
        ("5061", "wk", "4696.2"),
        ("97", "furlong", None),
    ],
)
def test_a_retained_age_is_90_years_at_most_whatever_its_unit(syntax: str, number: str, unit: str, said: Any) -> None:
    given = report(age(number, unit, FloatingPointValue=float(number)), item("TEXT", code("121033"), TextValue=number))
    for years, text in through(given, Option.RETAIN_PATIENT, syntax=syntax)[0]:
        left = [str(one.NumericValue) for one in years.MeasuredValueSequence]
        assert left == ([said] if said else [])
        assert not any("FloatingPointValue" in one for one in years.MeasuredValueSequence)
        assert text.TextValue == "REMOVED"  # an age in words cannot be capped


def test_sex_and_size_stay_where_the_header_retains_them() -> None:
    given = report(
        item("CODE", code("121032"), ConceptCodeSequence=[code("F", meaning="Female")]),
        item("NUM", code("8302-2", "LN"), MeasuredValueSequence=[measured("187.5", "cm")]),
        item("CODE", code("121034"), ConceptCodeSequence=[code("337915000", "SCT", "Homo sapiens")]),
    )
    for sex, height, species in through(given, Option.RETAIN_PATIENT)[0]:
        assert sex.ConceptCodeSequence[0].CodeValue == "F"
        assert height.MeasuredValueSequence[0].NumericValue == 187.5
        assert species.ConceptCodeSequence[0].CodeValue == "337915000"


@SYNTAXES
@pytest.mark.parametrize("option", [None, *Option], ids=str)
def test_birth_names_and_numbers_go_with_every_option(syntax: str, option: Option | None) -> None:
    given = report(
        item("DATE", code("121031"), Date="19310203"),
        item("TEXT", code("121030"), TextValue="471"),
        item("TEXT", code("121022"), TextValue="472"),
        item("PNAME", code("121008"), PersonName="Volemouse^Peter"),
        item("TEXT", code("113871"), TextValue="473"),
    )
    items, data = through(given, *([option] if option else []), syntax=syntax)
    for birth, subject, accession, observer, participant in items:
        assert str(birth.Date) == "18991231"  # not moved either: a known date that is moved tells by how much
        assert [one.TextValue for one in (subject, accession, participant)] == ["REMOVED"] * 3
        assert str(observer.PersonName) == "REMOVED"
    assert b"Vole" not in data


@pytest.mark.parametrize("option", [Option.RETAIN_INSTITUTION, Option.RETAIN_DEVICE])
def test_organizations_and_devices_of_observers_follow_their_option(option: Option) -> None:
    given = report(
        item("TEXT", code("121009"), TextValue="CT head"),
        item("TEXT", code("121013"), TextValue="CT chest"),
    )
    institution, device = option is Option.RETAIN_INSTITUTION, option is Option.RETAIN_DEVICE
    for organization, name in through(given)[0]:
        assert (organization.TextValue, name.TextValue) == ("REMOVED", "REMOVED")
    for organization, name in through(given, option)[0]:
        assert organization.TextValue == ("CT head" if institution else "REMOVED")
        assert name.TextValue == ("CT chest" if device else "REMOVED")


def test_an_item_keeps_its_place_since_others_refer_to_it_by_number() -> None:
    reference = Dataset()
    reference.RelationshipType, reference.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 2]
    finding = item("NUM", code("113701"), MeasuredValueSequence=[measured("12.5", "mGy")], ContentSequence=[reference])
    given = report(age("97"), finding)
    for years, dose in through(given)[0]:
        assert not years.MeasuredValueSequence
        assert dose.ContentSequence[0].ReferencedContentItemIdentifier == [1, 2]


@SYNTAXES
def test_an_age_of_a_context_that_is_no_report_goes_or_is_capped(syntax: str) -> None:
    """The items of a protocol context hold their number themselves (PS3.3 10.2)."""
    context = item(
        "NUMERIC", code("121033"), NumericValue="97", MeasurementUnitsCodeSequence=[code("a", "UCUM", "year")]
    )
    sex = item("CODE", code("121032"), ConceptCodeSequence=[code("F")])
    for options, number, said in (((), 0, "REMOVED"), ((Option.RETAIN_PATIENT,), 90, "F")):
        given = base(ProtocolContextSequence=[context, sex])
        given.file_meta.TransferSyntaxUID = syntax
        how = profile(*options, usual=True)
        data = written_as_is(given)
        out = written(deidentified(dcmread(BytesIO(data)), how, how.person(IDENTITY, Identifiers())))
        left = dcmread(BytesIO(out)).ProtocolContextSequence
        assert left[0].NumericValue == number
        assert left[1].ConceptCodeSequence[0].CodeValue == said


def test_an_item_is_known_though_its_code_is_the_number_of_the_patient() -> None:
    given = report(age("97"))
    given.PatientID = "121033"
    for (years,) in through(given)[0]:
        assert not years.MeasuredValueSequence


def test_items_that_are_not_what_their_names_say_are_no_errors() -> None:
    broken = item("NUM", code("121033"), TextValue="97")
    broken.add_new("MeasuredValueSequence", "LO", "97 years")
    broken.add_new("ConceptCodeSequence", "LO", "97 years")
    nameless = item("CODE", code(""), TextValue="lung")
    nameless.add_new("ConceptNameCodeSequence", "LO", "121033")
    for years, text in through(report(broken, nameless))[0]:
        assert "97" not in str(years)
        assert text.TextValue == "lung"
    assert UIDS["study"] not in str(through(report(broken, nameless))[0])
