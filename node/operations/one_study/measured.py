"""What was measured, against the prior and from study to study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.database import Row
from models.card import Card

from ...errors import NodeError
from ...measurements import change
from ...measurements.values import Change, Verdict
from ...networks import Networks
from .values import Point, Quantity, Trend

#: of one patient, the newest
MOST_STUDIES = 24
#: key of a record -> name, unit
SHOWN = {"volume_ml": ("volume", "ml"), "area_mm2": ("area", "mm²"), "long_axis_mm": ("long axis", "mm")}


@dataclass(frozen=True)
class Shown:
    """What is shown of one input set's numbers."""

    quantities: tuple[Quantity, ...] = ()
    flags: tuple[str, ...] = ()
    trends: tuple[Trend, ...] = ()


def of(networks: Networks, newest: Row | None, history: Sequence[Row]) -> Shown:
    """The numbers of the newest result.

    Args:
        newest: `db.measurements.newest`.
        history: of all studies of the patient, the oldest first.
    """
    if newest is None:
        return Shown()
    labels = _labels(networks, newest["model_version_id"])
    flags = tuple(str(one["sentence"]) for one in newest["flags"])
    if any("finding" in one for one in newest["segments"]):
        return Shown(tuple(_finding(one) for one in newest["segments"]), flags)
    line = _line(newest, history)
    changes = _changes(newest, line)
    quantities = tuple(
        Quantity(
            number=one["value"],
            label=labels.get(one["value"], f"label {one['value']}"),
            volume_ml=one["volume_ml"],
            area_mm2=one.get("area_mm2") or None,
            long_axis_mm=one["long_axis_mm"],
            change=changes.get(one["value"], ""),
        )
        for one in newest["segments"]
    )
    return Shown(quantities, flags, tuple(_trends(newest, line, labels)) if len(line) > 1 else ())


def _labels(networks: Networks, version: int) -> Mapping[int, str]:
    try:
        card: Card = networks.pinned(version).card
    except NodeError:  # it is not here any more; its numbers are
        return {}
    return {segment.value: segment.label for segment in card.segment}


def _finding(one: Mapping[str, Any]) -> Quantity:
    if "probability" in one:
        said = f"{'present' if one['present'] else 'absent'}, probability {100 * one['probability']:.1f} %"
        return Quantity(number=None, label=str(one["label"]), more=said)
    if "score" not in one:
        return Quantity(number=None, label=str(one["label"]), more="none found")
    size = " × ".join(f"{part:.1f}" for part in one["size_mm"])
    said = f"score {100 * one['score']:.1f} %, {size} mm"
    return Quantity(number=None, label=f"{one['label']} {one['number']}", more=said)


def _line(newest: Row, history: Sequence[Row]) -> list[Row]:
    """One measurement for each study: that of the version that is shown, where there is one; else the newest."""
    of_study: dict[str, Row] = {}
    for row in history:
        known = of_study.get(row["study_uid"])
        if known is None or known["model_version_id"] != newest["model_version_id"]:
            of_study[row["study_uid"]] = row
    return sorted(of_study.values(), key=lambda row: (row["study_date"], row["id"]))


def _changes(newest: Row, line: Sequence[Row]) -> dict[int, str]:
    """Label value -> what changed since the prior of the same version, in words."""
    earlier = [row for row in line if row["study_date"] < newest["study_date"]]
    if not earlier:
        return {}
    prior = earlier[-1]
    same = prior["model_version_id"] == newest["model_version_id"]
    found = change.changes(
        newest["segments"],
        prior["segments"] if same else None,
        prior_study_uid=prior["study_uid"],
        prior_date=prior["study_date"][:8],
        other_version=not same,
    )
    said: dict[int, list[str]] = {}
    for one in found:
        said.setdefault(one.segment, []).append(_said(one))
    return {value: "; ".join(dict.fromkeys(words)) for value, words in said.items()}


def _said(one: Change) -> str:
    day = _day(one.prior_date)
    if one.verdict is Verdict.OTHER_VERSION or one.prior is None:
        return f"not compared: {day} was read by another version"
    unit = "ml" if one.quantity == "volume" else "mm"
    least = f"(two scans may differ by {one.least:g} {unit})"
    return f"{one.quantity} {one.verdict}: {one.now - one.prior:+.4g} {unit} since {day} {least}"


def _day(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}"


def _trends(newest: Row, line: Sequence[Row], labels: Mapping[int, str]) -> list[Trend]:
    found = []
    for value in [one["value"] for one in newest["segments"]]:
        for key, (quantity, unit) in SHOWN.items():
            points = [point for row in line if (point := _point(row, newest, value, key)) is not None]
            if len(points) > 1 and any(point.value for point in points):
                label = labels.get(value, f"label {value}")
                found.append(Trend(label=label, quantity=quantity, unit=unit, points=tuple(points)))
                break
    return found


def _point(row: Row, newest: Row, value: int, key: str) -> Point | None:
    number = next((one.get(key) for one in row["segments"] if one.get("value") == value), None)
    if number is None:
        return None
    return Point(
        study_uid=row["study_uid"],
        date=_day(row["study_date"]),
        value=float(number),
        version=row["version"],
        same_version=row["model_version_id"] == newest["model_version_id"],
        here=row["input_set_id"] == newest["input_set_id"],
    )
