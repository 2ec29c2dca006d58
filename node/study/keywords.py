"""The keywords of the data dictionary (PS3.6) that a condition may name."""

from __future__ import annotations

from functools import cache

from pydicom.datadict import DicomDictionary, dictionary_VR

#: elements whose value is no text: pixels, curves, what nobody knows the type of
NO_TEXT = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}


@cache
def known() -> frozenset[str]:
    """Of elements that have values to look at, sequences included."""
    return frozenset(
        keyword
        for vr, _, _, _, keyword in DicomDictionary.values()
        if keyword and not NO_TEXT & set(vr.replace(" or ", " ").split())
    )


@cache
def sequences() -> frozenset[str]:
    """Of sequences."""
    return frozenset(keyword for vr, _, _, _, keyword in DicomDictionary.values() if vr == "SQ" and keyword)


def number(keyword: str, value: str) -> float | None:
    """A value as a number; an age (PS3.5 6.2, AS) in years. None where it is none."""
    last = keyword.rpartition(".")[2]
    try:
        if dictionary_VR(last) == "AS":
            return float(value[:-1]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[value[-1:].upper()]
        return float(value)
    except (KeyError, ValueError):
        return None
