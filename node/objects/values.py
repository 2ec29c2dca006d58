"""Values of real scanners, anonymisers and old archives as conformant ones (PS3.5 6.2).

A value is decoded, then kept, put into the form that its value representation asks for, cut, or left out. An identifier
is never changed: where it cannot stand as it is in a conformant object, the study is refused, or the identifier left
out where the Standard lets it be absent. All lengths are in characters, not in bytes (PS3.5 6.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import date

from highdicom.base import get_sop_class_iod_map
from pydicom.dataset import Dataset

from ..errors import Refused
from .characters import UNREADABLE, texts, vr_of

#: the study is refused where one of these cannot stand as it is
IDENTIFIERS = ("PatientID", "AccessionNumber", "IssuerOfPatientID")
#: left out where they cannot stand as they are: cut short they would name something else
WHOLE_OR_NOT = (
    "StudyID",
    "ClinicalTrialProtocolID",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialSiteID",
    "DeviceSerialNumber",
    "CodeValue",
    "CodingSchemeDesignator",
    "CodingSchemeVersion",
)
MANY_VALUED = ("SoftwareVersions", "DeidentificationMethod")

LONGEST = {"SH": 16, "LO": 64, "PN": 64, "LT": 10240}
#: a name has at most this many component groups, and a group this many components (PS3.5 6.2.1)
MOST_GROUPS, MOST_COMPONENTS = 3, 5

CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
#: they turn or hide the text around them, and belong to no name
DIRECTIONS = re.compile(r"[\u202a-\u202e\u2066-\u2069\ufeff]")
DAMAGED = re.compile(UNREADABLE)
UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)
DATE = re.compile(r"(\d{4})([.-]?)(\d\d)\2(\d\d)", re.ASCII)
TIME = re.compile(r"([01]\d|2[0-3])(?:(:?)([0-5]\d)(?:\2([0-5]\d)(?:\.(\d+))?)?)?", re.ASCII)
AGE = re.compile(r"(\d{1,3})([DWMY])", re.ASCII)
CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}", re.ASCII)
INTEGER = re.compile(r"([+-]?\d{1,12})(\.0*)?", re.ASCII)
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
OFFSET = re.compile(r"(\+(0\d|1[0-3])[0-5]\d|\+1400|-(0\d|1[01])[0-5]\d|-1200)", re.ASCII)


def value(source: Dataset, keyword: str, above: tuple[str, ...] = ("",)) -> str | list[str]:
    """The value of an element as a conformant one; empty where there is none.

    Bytes that do not decode with the SpecificCharacterSet are U+FFFD in names and descriptions, so that a damaged name
    is no other person's. Of several values where one is allowed, the first that can stand is taken.

    Args:
        above: the character sets of the data set that `source` is an item of.

    Raises:
        Refused: `identifier-too-long`, `identifier-ambiguous`, `identifier-undecodable`.
    """
    found = texts(source, keyword, above)
    if keyword in IDENTIFIERS:
        return _identifier(keyword, found)
    if keyword in WHOLE_OR_NOT and keyword not in MANY_VALUED and len(found) > 1:
        return ""
    kept = [part for part in (_conformant(keyword, part) for part in found) if part]
    if keyword in MANY_VALUED and len(kept) > 1:
        return kept
    return kept[0] if kept else ""


def uid(source: Dataset, keyword: str) -> str:
    """A UID, without its padding and otherwise as it is (PS3.5 9.1).

    Raises:
        Refused: `uid-missing`, `uid-illegal`.
    """
    found = texts(source, keyword)
    if not found:
        raise Refused("uid-missing", f"an image of the series has no {keyword}")
    if len(found) > 1 or len(found[0]) > 64 or not UID.fullmatch(found[0]):
        raise Refused("uid-illegal", f"{keyword} of an image of the series is not a UID")
    return found[0]


def sop_class(source: Dataset) -> str:
    """The SOP class of an image that results can be derived from.

    Raises:
        Refused: `uid-missing`, `uid-illegal`; `sop-class-unknown` for private and retired ones, whose modules highdicom
            does not know.
    """
    found = uid(source, "SOPClassUID")
    if found not in get_sop_class_iod_map():
        raise Refused("sop-class-unknown", "the images are of a private or retired SOP class")
    return found


def positive(source: Dataset, keyword: str) -> float:
    """A number greater than zero, or 0 where there is none."""
    return next((number for number in (_number(part) for part in texts(source, keyword)) if number), 0.0)


def decimal(number: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2, DS), as exact as these allow."""
    for digits in range(15, 0, -1):
        text = f"{number:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"


def _identifier(keyword: str, found: list[str]) -> str:
    if len(found) > 1:
        raise Refused("identifier-ambiguous", f"the images have several values in {keyword}")
    text, longest = found[0] if found else "", LONGEST[vr_of(keyword)]
    if UNREADABLE in text:
        raise Refused("identifier-undecodable", f"{keyword} has bytes that its SpecificCharacterSet does not define")
    if CONTROL.search(text) or DIRECTIONS.search(text):
        raise Refused("identifier-ambiguous", f"{keyword} contains control characters")
    if len(text) > longest:
        raise Refused("identifier-too-long", f"{keyword} has {len(text)} characters; {longest} are allowed (PS3.5 6.2)")
    return text


def _conformant(keyword: str, text: str) -> str:
    vr = vr_of(keyword)
    if keyword in WHOLE_OR_NOT:
        spoilt = len(text) > LONGEST[vr] or any(found.search(text) for found in (CONTROL, DIRECTIONS, DAMAGED))
        return "" if spoilt else text
    repair = SPECIAL.get(keyword) or REPAIRS.get(vr, _line)
    return repair(DIRECTIONS.sub("", text))


def _cut(text: str, longest: int) -> str:
    return text.strip(" ")[:longest].strip(" ")


def _line(text: str) -> str:
    return _cut(CONTROL.sub(" ", text), LONGEST["LO"])


def _short_line(text: str) -> str:
    return _cut(CONTROL.sub(" ", text), LONGEST["SH"])


def _prose(text: str) -> str:
    return _cut(CONTROL_IN_PROSE.sub(" ", text), LONGEST["LT"])


def _name(text: str) -> str:
    """At most three component groups of five components and 64 characters (PS3.5 6.2.1).

    A fourth group is left out, what stands behind the fourth caret becomes one component, and a group is cut.
    """
    groups = CONTROL.sub(" ", text).split("=")[:MOST_GROUPS]
    return "=".join(_group(group) for group in groups).rstrip("=")


def _group(group: str) -> str:
    parts = group.split("^")
    if len(parts) > MOST_COMPONENTS:
        last = " ".join(part for part in parts[MOST_COMPONENTS - 1 :] if part)
        group = "^".join([*parts[: MOST_COMPONENTS - 1], last]).rstrip("^")
    return _cut(group, LONGEST["PN"])


def _date(text: str) -> str:
    """Also as the predecessors of DICOM wrote it (PS3.5 6.2, DA), with points, and with hyphens."""
    found = DATE.fullmatch(text)
    try:
        return f"{date(int(found[1]), int(found[3]), int(found[4])):%Y%m%d}".zfill(8) if found else ""
    except ValueError:
        return ""


def _time(text: str) -> str:
    """Also as the predecessors of DICOM wrote it (PS3.5 6.2, TM), with colons; digits behind the sixth are cut."""
    found = TIME.fullmatch(text)
    if not found:
        return ""
    whole = "".join(part for part in (found[1], found[3], found[4]) if part)
    return f"{whole}.{found[5][:6]}" if found[5] else whole


def _age(text: str) -> str:
    found = AGE.fullmatch(text.upper())
    return found[1].zfill(3) + found[2] if found else ""


def _code_string(text: str) -> str:
    return text.upper() if CODE_STRING.fullmatch(text.upper()) else ""


def _integer(text: str) -> str:
    found = INTEGER.fullmatch(text)
    return str(int(found[1])) if found and -(2**31) <= int(found[1]) < 2**31 else ""


def _number(text: str) -> float:
    number = float(text) if DECIMAL.fullmatch(text) else 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _measure(text: str) -> str:
    """The decimal strings that are carried over are sizes and weights: zero says that they are not known."""
    number = _number(text)
    return decimal(number) if number else ""


def _sex(text: str) -> str:
    return {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}.get(text.upper(), "")


def _yes_or_no(text: str) -> str:
    return text.upper() if text.upper() in ("YES", "NO") else ""


def _offset(text: str) -> str:
    return text if OFFSET.fullmatch(text) and text != "-0000" else ""


REPAIRS: dict[str, Callable[[str], str]] = {
    "AS": _age,
    "CS": _code_string,
    "DA": _date,
    "DS": _measure,
    "IS": _integer,
    "LT": _prose,
    "PN": _name,
    "SH": _short_line,
    "TM": _time,
}
SPECIAL: dict[str, Callable[[str], str]] = {
    "PatientSex": _sex,
    "PatientIdentityRemoved": _yes_or_no,
    "TimezoneOffsetFromUTC": _offset,
}
