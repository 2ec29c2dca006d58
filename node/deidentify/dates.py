"""Dates that are moved, ages that are capped, and what stands where a date may not be empty (PS3.5 6.2)."""

from __future__ import annotations

import re
from datetime import date, timedelta

DUMMY_DATE = "18991231"
DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})(.*)", re.DOTALL)
AGE = re.compile(r"(\d{1,3})([DWMY])")
#: whoever is older than 89 years is one of few
OLDEST_YEARS = 90


def moved(text: str, days: int) -> str:
    """A DA or DT value so many days later, its time of day as it was; empty where it is none."""
    found = DATE.fullmatch(text.strip(" \0"))
    if found is None:
        return ""
    try:
        then = date(*(int(part) for part in found.groups()[:3])) + timedelta(days)
    except (ValueError, OverflowError):
        return ""
    return f"{then.year:04d}{then.month:02d}{then.day:02d}{found[4]}"


def capped(age: str) -> str:
    """An AS value; 090Y for whoever is older than 89, empty where it is none."""
    found = AGE.fullmatch(age.strip(" \0").upper())
    if found is None:
        return ""
    number, unit = int(found[1]), found[2]
    years = number / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[unit]
    return f"{OLDEST_YEARS:03d}Y" if years >= OLDEST_YEARS else f"{number:03d}{unit}"


def spellings(birth: str) -> tuple[str, ...]:
    """How people and systems write a date."""
    found = DATE.fullmatch(birth.strip(" \0"))
    if found is None:
        return ()
    y, m, d = found.groups()[:3]
    joined = [f"{y}{m}{d}", f"{d}{m}{y}", f"{m}{d}{y}"]
    return (*joined, *(mark.join(parts) for mark in "-./" for parts in ((y, m, d), (d, m, y), (m, d, y))))
