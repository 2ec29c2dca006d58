"""The options of the Basic Application Level Confidentiality Profile (PS3.15 E.3), and how an object says them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from ..errors import Refused


class Option(StrEnum):
    """As the command line spells them."""

    CLEAN_DESCRIPTORS = "clean-descriptors"
    CLEAN_STRUCTURED_CONTENT = "clean-structured-content"
    CLEAN_GRAPHICS = "clean-graphics"
    RETAIN_UIDS = "retain-uids"
    RETAIN_DEVICE = "retain-device-identity"
    RETAIN_INSTITUTION = "retain-institution-identity"
    RETAIN_PATIENT = "retain-patient-characteristics"
    FULL_DATES = "retain-full-dates"
    MODIFIED_DATES = "retain-modified-dates"
    SAFE_PRIVATE = "retain-safe-private"


#: what is done where nobody says otherwise: reports and annotations leave, without the words that nobody knows
USUAL = frozenset({Option.CLEAN_DESCRIPTORS, Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_GRAPHICS})
#: option -> its column of the table
COLUMNS = {
    Option.RETAIN_UIDS: "uids",
    Option.RETAIN_DEVICE: "device",
    Option.RETAIN_INSTITUTION: "institution",
    Option.RETAIN_PATIENT: "patient",
    Option.FULL_DATES: "full_dates",
    Option.MODIFIED_DATES: "modified_dates",
    Option.CLEAN_DESCRIPTORS: "descriptors",
    Option.CLEAN_STRUCTURED_CONTENT: "structured",
    Option.CLEAN_GRAPHICS: "graphics",
}
#: PS3.16 CID 7050
BASIC = ("113100", "Basic Application Confidentiality Profile")
CODES = {
    Option.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.CLEAN_STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.RETAIN_PATIENT: ("113108", "Retain Patient Characteristics Option"),
    Option.RETAIN_DEVICE: ("113109", "Retain Device Identity Option"),
    Option.RETAIN_UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.RETAIN_INSTITUTION: ("113112", "Retain Institution Identity Option"),
}


def chosen(names: Iterable[str], *, usual: bool = True) -> frozenset[Option]:
    """The options of these names, and the usual ones.

    Raises:
        Refused: `unknown-option`, `options-exclude`.
    """
    found = set(USUAL if usual else ())
    for name in names:
        if name not in [option.value for option in Option]:
            raise Refused("unknown-option", f"{name} is no option; there are {', '.join(Option)}")
        found.add(Option(name))
    if {Option.FULL_DATES, Option.MODIFIED_DATES} <= found:
        raise Refused("options-exclude", "dates are either kept or moved: full and modified dates exclude one another")
    return frozenset(found)


def codes(options: Collection[Option]) -> list[tuple[str, str]]:
    """Code value and meaning of the profile and of each option, in the order of their codes."""
    return [BASIC, *sorted(CODES[option] for option in options)]


def dates_are(options: Collection[Option]) -> str:
    """LongitudinalTemporalInformationModified (PS3.3 C.12.1.1.1)."""
    if Option.FULL_DATES in options:
        return "UNMODIFIED"
    return "MODIFIED" if Option.MODIFIED_DATES in options else "REMOVED"
