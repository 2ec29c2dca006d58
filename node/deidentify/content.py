"""Content items that say of whom a report is and who made it (PS3.16 TID 1002 to 1010, 1020): a header loses the same.

An item is emptied in its place and not taken out: others refer to it by its position (PS3.3 C.17.3.2.5).
"""

from __future__ import annotations

from collections.abc import Collection

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ..objects.characters import UNREADABLE_ELEMENT
from .dates import OLDEST_YEARS
from .dummies import DUMMIES, REMOVED, code
from .options import Option

Code = tuple[str, str]


def _of(scheme: str, *values: str) -> frozenset[Code]:
    return frozenset((scheme, one) for value in values for one in value.split())


#: Subject Age; Age of other templates
AGES = _of("DCM", "121033") | _of("LN", "30525-0") | _of("SCT", "397669002 424144002")
#: no option retains a name, a number or a birthday
OF_PERSONS = _of(
    "DCM",
    "121029 121030 121031 121036",  # of the subject: name, ID, birth date, mother
    "121008 128774 128775",  # of an observer: name, login, identifier
    "113870 113871 113872 121114 121152",  # of a participant: name, ID and its issuer; physician, who gave a drug
    "121020 121021 121022",  # placer, filler and accession number
    "121040 121041 121043 111700 111705",  # of a specimen: accession number, ID, slide, container, parent
    "111706 111724 110190 110119",  # issuers; AE title
) | _of("LN", "21112-8 11951-1 11341-5")  # birth date, fetus ID, occupation
#: option -> the concepts that it retains
RETAINED_BY = {
    Option.RETAIN_PATIENT: AGES
    | _of("DCM", "121032")  # sex
    | _of("LN", "46098-0 8302-2 3137-7 29463-7 3141-9 8277-6 39156-5")  # sex, height, weight, surface, mass index
    | _of("SCT", "263495000 50373000 27113001 301898006 60621009")  # the same
    | _of("LN", "32624-9 72166-2 82810-3 11449-6")  # race, smoking, pregnancy
    | _of("SCT", "415229000 103579009"),  # race
    # organization of an observer and of a participant, service delivery location, room
    Option.RETAIN_INSTITUTION: _of("DCM", "121009 113873 121434 121121"),
    # of a device that observes, is observed or takes part: name, serial number, place; equipment, unique identifiers
    Option.RETAIN_DEVICE: _of("DCM", "121013 121016 121017 121193 121196 121197 113877 113880 121122 121000"),
}
#: how many of a unit of UCUM are a year
A_YEAR = {"a": 1.0, "mo": 12.0, "wk": 52.18, "d": 365.25, "h": 8766.0, "min": 525960.0, "s": 31557600.0}
#: what a content item may say -> its VR; sequences apart
VALUES = {"TextValue": "UT", "PersonName": "PN", "Date": "DA", "DateTime": "DT", "Time": "TM", "NumericValue": "DS"}
#: the same number once more, more exactly
EXACT = ("FloatingPointValue", "RationalNumeratorValue", "RationalDenominatorValue")


def told(item: Dataset) -> frozenset[Code]:
    """Of what a content item is: scheme and value of its concept name; empty where a data set is none."""
    try:
        return frozenset(_code(one) for one in _items(item, "ConceptNameCodeSequence"))
    except UNREADABLE_ELEMENT:
        return frozenset()


def settle(item: Dataset, concepts: frozenset[Code], options: Collection[Option]) -> None:
    """Empty an item of these concepts, unless an option retains it; cap an age that is retained."""
    lost = [retained for option, retained in RETAINED_BY.items() if option not in options]
    if any(concepts & these for these in (OF_PERSONS, *lost)):
        _empty(item)
    elif concepts & AGES:
        measured = [one for one in _items(item, "MeasuredValueSequence") if _capped(one)]
        number = item.NumericValue if _capped(item) else None  # an item of a context has it without a sequence
        _empty(item)
        if measured:
            item.MeasuredValueSequence = Sequence(measured)
        if number is not None:
            item.NumericValue = number


def _empty(item: Dataset) -> None:
    for keyword, vr in VALUES.items():
        _put(item, keyword, DUMMIES.get(vr, REMOVED))
    _put(item, "MeasuredValueSequence", Sequence())
    _put(item, "ConceptCodeSequence", Sequence([code()]))
    _without(item, EXACT)


def _put(item: Dataset, keyword: str, value: object) -> None:
    """In place of a value that is there, whatever VR it came with."""
    if keyword in item:
        del item[keyword]
        setattr(item, keyword, value)


def _without(item: Dataset, keywords: Collection[str]) -> None:
    for keyword in keywords:
        if keyword in item:
            del item[keyword]


def _capped(numeric: Dataset) -> bool:
    """Make 90 years of whatever is more; False where its unit or its number is not known."""
    units = [value for scheme, value in map(_code, _items(numeric, "MeasurementUnitsCodeSequence")) if scheme == "UCUM"]
    try:
        number = float(numeric.NumericValue)
        a_year = A_YEAR[units[0].split("_")[0]]  # a year is a, a_j, a_g or a_t
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
    if not number / a_year < OLDEST_YEARS:  # nor is what is no number
        numeric.NumericValue = f"{OLDEST_YEARS * a_year:.10g}"
    _without(numeric, EXACT)
    return True


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    value = ds.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def _code(item: Dataset) -> Code:
    """Scheme and value, as they are compared."""
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return str(item.get("CodingSchemeDesignator") or "").strip(" \0").upper(), str(value).strip(" \0")
