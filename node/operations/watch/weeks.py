"""What a network did, week by week: how much it read, what came of it, and what people made of that.

A result counts in the week in which it was made, so that the rates of a week are of one lot of studies. It is
*corrected* when an outline came back that differs from it; *accepted* when it came back unchanged, or was delivered and
nobody corrected it within `accepted_days`; until then it is *pending*. Who corrects in a viewer and sends nothing back
is not seen: the rates are of what the node was told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np

from db import watch as rows
from db.database import Row

SECONDS_A_DAY = 86400.0
NOT_DIFFERENT = "accepted"


@dataclass(frozen=True)
class Spread:
    """Some numbers in few: how many, and their quartiles."""

    number: int
    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None of none."""
        if not values:
            return None
        lower, median, upper = (round(float(one), 4) for one in np.percentile(values, [25, 50, 75]))
        return cls(len(values), lower, median, upper)


@dataclass(frozen=True, kw_only=True)
class Week:
    """One week of a network.

    Attributes:
        week: as ISO 8601 writes it; begins: its Monday.
        results: input sets that results were made of; empty, flagged: those in which nothing was found, with a flag.
        flags, refused: code -> how many.
        delivered, accepted, corrected, pending: of the results; `unchanged` of the accepted came back as they were.
        acceptance_rate: of those that are accepted or corrected; None while any is pending: corrections come first, and
            a rate of what came so far would be too low.
        dice: of drafts with their corrections, means over the classes.
        volumes_ml: label value -> over the results in which it was found.
    """

    week: str
    begins: str
    versions: tuple[str, ...] = ()
    results: int = 0
    empty: int = 0
    flagged: int = 0
    flags: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    delivered: int = 0
    accepted: int = 0
    unchanged: int = 0
    corrected: int = 0
    pending: int = 0
    acceptance_rate: float | None = None
    dice: Spread | None = None
    volumes_ml: Mapping[int, Spread] = field(default_factory=dict)


def monday(of: date) -> date:
    """The first day of a week."""
    return of - timedelta(days=of.weekday())


def begins(day: date) -> float:
    """Seconds since 1970 of a day's first moment, by the machine's time zone."""
    return datetime.combine(day, time()).astimezone().timestamp()


def named(day: date) -> str:
    """The week of a day: 2026-W47."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


def of_network(tx: Any, network: str, now: float, number: int, accepted_days: float) -> list[Week]:
    """The last weeks of a network, the newest first.

    Args:
        now: seconds since 1970.
        number: of weeks, this one among them.
    """
    newest = monday(datetime.fromtimestamp(now).astimezone().date())
    days = [newest - timedelta(weeks=back) for back in range(number)]
    ends = {day: (begins(day), begins(day + timedelta(weeks=1))) for day in days}
    since = ends[days[-1]][0]
    measured, refused = rows.measured(tx, network, since), rows.refused(tx, network, since)
    back = _newest_word(rows.returned(tx, network, since))
    return [
        _week(
            day,
            [row for row in measured if first <= row["created"] < last],
            [row for row in refused if first <= row["ended"] < last],
            back,
            now - accepted_days * SECONDS_A_DAY,
        )
        for day, (first, last) in ends.items()
    ]


def _newest_word(returned: Iterable[Row]) -> dict[int, Row]:
    """Input set -> what came back of it; that something was corrected is not undone by an unchanged copy."""
    found: dict[int, Row] = {}
    for row in returned:
        if row["input_set_id"] not in found or row["state"] != NOT_DIFFERENT:
            found[row["input_set_id"]] = row
    return found


def _week(day: date, measured: Sequence[Row], refused: Sequence[Row], back: Mapping[int, Row], settled: float) -> Week:
    """
    Args:
        settled: what was delivered before, and not corrected since, is accepted.
    """
    came = [back.get(row["input_set_id"]) for row in measured]
    unchanged = sum(one is not None and one["state"] == NOT_DIFFERENT for one in came)
    corrected = sum(one is not None and one["state"] != NOT_DIFFERENT for one in came)
    alone = [row["delivered"] for row, one in zip(measured, came, strict=True) if one is None and row["delivered"]]
    accepted = unchanged + sum(at <= settled for at in alone)
    pending = sum(at > settled for at in alone)
    judged = accepted + corrected
    dices = [
        dice
        for one in came
        if one is not None and one["state"] != NOT_DIFFERENT and (dice := mean_dice(one["comparison"])) is not None
    ]
    return Week(
        week=named(day),
        begins=day.isoformat(),
        versions=tuple(sorted({row["version"] for row in measured})),
        results=len(measured),
        empty=sum(is_empty(row["segments"]) for row in measured),
        flagged=sum(bool(row["flags"]) for row in measured),
        flags=Counter(code for row in measured for code in {flag["code"] for flag in row["flags"]}),
        refused=Counter(row["code"] or row["state"] for row in refused),
        delivered=sum(row["delivered"] is not None for row in measured),
        accepted=accepted,
        unchanged=unchanged,
        corrected=corrected,
        pending=pending,
        acceptance_rate=round(accepted / judged, 4) if judged and not pending else None,
        dice=Spread.of(dices),
        volumes_ml=_volumes(row["segments"] for row in measured),
    )


def is_empty(segments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a network found nothing at all; of one that judges whole images, never."""
    if any("probability" in one for one in segments):
        return False
    return not any(one.get("volume_ml") or one.get("area_mm2") or one.get("number") for one in segments)


def mean_dice(comparison: Mapping[str, Any] | None) -> float | None:
    """Of a draft with its correction, over the classes that either has; None where there are none."""
    dices = [one["dice"] for one in (comparison or {}).get("classes", ()) if one["dice"] is not None]
    return sum(dices) / len(dices) if dices else None


def _volumes(measured: Iterable[Sequence[Mapping[str, Any]]]) -> dict[int, Spread]:
    found: dict[int, list[float]] = {}
    for segments in measured:
        for one in segments:
            if one.get("volume_ml"):
                found.setdefault(one["value"], []).append(one["volume_ml"])
    return {value: spread for value in sorted(found) if (spread := Spread.of(found[value]))}
