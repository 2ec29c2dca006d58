"""Dates that are moved, ages that are capped, and what stands where a date may not be empty (PS3.5 6.2)."""

from __future__ import annotations

import re
from datetime import date, timedelta

DUMMY_DATE = "18991231"
DAY = r"(\d{4})\.?(\d{2})\.?(\d{2})"
SAID = re.compile(DAY + ".*", re.DOTALL)
TIME = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"
ZONE = r"[+-](?:0\d|1[0-4])[0-5]\d"
#: nothing else may stand in a value that is moved: beside a moved date, one that was not moved tells by how much
DATE = re.compile(DAY)
DATE_TIME = re.compile(rf"{DAY}((?:{TIME})?(?:{ZONE})?)")
OFFSET = re.compile(ZONE)
#: with the colons of older objects
TIME_OF_DAY = re.compile(r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?")
AGE = re.compile(r"(\d{1,3})([DWMY])")
#: how many of a unit of AS are a year
A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
#: whoever is older than 89 years is one of few
OLDEST_YEARS = 90


def moved(text: str, days: int, vr: str) -> str:
    """A DA or DT value so many days later, its time of day as it was; empty where it is none."""
    found = (DATE_TIME if vr == "DT" else DATE).fullmatch(text.strip(" \0"))
    if found is None:
        return ""
    try:
        then = date(*(int(part) for part in found.groups()[:3])) + timedelta(days)
    except (ValueError, OverflowError):
        return ""
    return f"{then.year:04d}{then.month:02d}{then.day:02d}{''.join(found.groups()[3:])}"


def time_of_day(text: str) -> str:
    """A TM value as it was; empty where it is none."""
    return text if TIME_OF_DAY.fullmatch(text.strip(" \0")) else ""


def is_offset(text: str) -> bool:
    """Whether it is an offset from UTC, and nothing else (&ZZXX of a DT)."""
    return OFFSET.fullmatch(text.strip(" \0")) is not None


def capped(age: str) -> str:
    """An AS value; 090Y for whoever is older than 89, empty where it is none."""
    found = AGE.fullmatch(age.strip(" \0").upper())
    if found is None:
        return ""
    number, unit = int(found[1]), found[2]
    return f"{OLDEST_YEARS:03d}Y" if number / A_YEAR[unit] >= OLDEST_YEARS else f"{number:03d}{unit}"


def spellings(birth: str) -> tuple[str, ...]:
    """How people and systems write a date."""
    found = SAID.fullmatch(birth.strip(" \0"))
    if found is None:
        return ()
    y, m, d = found.groups()
    joined = [f"{y}{m}{d}", f"{d}{m}{y}", f"{m}{d}{y}"]
    return (*joined, *(mark.join(parts) for mark in "-./" for parts in ((y, m, d), (d, m, y), (m, d, y))))
