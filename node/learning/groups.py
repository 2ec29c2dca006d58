"""The subgroups that a case belongs to: networks are judged in each, and nobody can be told by them."""

from __future__ import annotations

from datetime import date

import numpy as np
from pydicom.dataset import Dataset

from ..objects.values import value
from ..study.volume import Volume
from .buckets import Key

UNKNOWN = "unknown"
OLDEST_DECADE = 90
#: spacings are grouped in steps of this
SPACING_STEP_MM = 0.5
LONGEST_SCANNER = 64


def groups(volume: Volume, key: Key) -> dict[str, str]:
    """The subgroups of a case, of its first channel's first image: kind of group -> the group.

    An institution is a short keyed hash: sites can be told apart, not named. Ages are decades, those from 90 on one.
    """
    header = volume.headers[0]
    scanner = " ".join(" ".join(_text(header, name) for name in ("Manufacturer", "ManufacturerModelName")).split())
    institution = _text(header, "InstitutionName")
    return {
        "scanner": scanner[:LONGEST_SCANNER] or UNKNOWN,
        "site": key.site(institution) if institution else UNKNOWN,
        "spacing": _spacing(volume),
        "sex": _text(header, "PatientSex") or UNKNOWN,
        "age": _age_band(header),
    }


def _text(header: Dataset, keyword: str) -> str:
    found = value(header, keyword)
    return found if isinstance(found, str) else " ".join(found)


def _spacing(volume: Volume) -> str:
    grid = volume.geometry
    if not grid.is_calibrated:
        return UNKNOWN
    in_plane = _rounded(float(np.sqrt(grid.pixel_mm2)))
    return f"{in_plane} x {_rounded(grid.slice_step_mm)} mm" if grid.in_patient else f"{in_plane} mm"


def _rounded(spacing_mm: float) -> str:
    return f"{max(1, round(spacing_mm / SPACING_STEP_MM)) * SPACING_STEP_MM:g}"


def _age_band(header: Dataset) -> str:
    years = _years(_text(header, "PatientAge"), _text(header, "PatientBirthDate"), _text(header, "StudyDate"))
    if years is None:
        return UNKNOWN
    decade = years // 10 * 10
    return f"{decade}-{decade + 9}" if decade < OLDEST_DECADE else f"{OLDEST_DECADE} and older"


def _years(age: str, born: str, studied: str) -> int | None:
    """From PatientAge (nnnY, nnnM, nnnW, nnnD), else from the dates (YYYYMMDD); None where neither says it."""
    if age:
        return int(int(age[:3]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[age[3]])
    if not born or not studied:
        return None
    then, now = date.fromisoformat(born), date.fromisoformat(studied)
    years = now.year - then.year - ((now.month, now.day) < (then.month, then.day))
    return years if years >= 0 else None
