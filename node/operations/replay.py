"""`planimeter routes replay`: the routes of another configuration over the studies of the last days.

The header facts that the choose job kept are judged, at the time of the day when the study was closed. Only where a new
condition looks at what was not kept yet, the files are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import track

from db import arrivals, studies
from db.database import Database, Row

from ..errors import Refused
from ..study import facts
from ..study.archive import Archive
from . import routes
from .conditions import Seen
from .decide import mode_of
from .route_trial import PRIORITIES
from .routes import Route
from .terminal import new_table, output, plain

#: network, the series it is offered, destination, mode, priority, the objects that the route says, its deadline
Outcome = tuple[str, str, str, str, str, str, str]
KEYS = ("network", "series_uid", "destination", "mode", "priority", "objects", "deadline_minutes")


def replay(
    database: Database, archive: Archive, before: Sequence[Route], after: Sequence[Route], since: float
) -> dict[str, Any]:
    """Which studies would go another way; the keys are kept from version to version.

    Args:
        before, after: the routes that are in use, and those that are tried.
        since: seconds since 1970; studies that were closed later are looked at.
    """
    with database.read() as tx:
        closed = studies.closed_since(tx, since)
    keywords = routes.keywords((*before, *after))
    changed = []
    for study in track(closed, "replaying", console=Console(stderr=True), transient=True):
        seen = _seen(database, archive, study, keywords)
        old, new = (_outcomes(each, seen) for each in (before, after))
        if old != new:
            changed.append(
                {
                    "study_uid": study["study_uid"],
                    "no_more": [_said(one) for one in sorted(old - new)],
                    "newly": [_said(one) for one in sorted(new - old)],
                }
            )
    return {"studies": len(closed), "changed": changed}


def _seen(database: Database, archive: Archive, study: Row, keywords: Sequence[str]) -> dict[str, Seen]:
    """Series UID -> what conditions look at."""
    with database.read() as tx:
        rows = arrivals.images(tx, study["id"])
        kept = studies.facts(tx, study["id"])
    newest = {row["sop_uid"]: row for row in rows}
    by_series: dict[str, list[Row]] = {}
    for row in newest.values():
        by_series.setdefault(row["series_uid"], []).append(row)
    at = datetime.fromtimestamp(study["closed"]).astimezone().time()
    made = {}
    for series_uid, images in by_series.items():
        callers: dict[str, int] = {}
        for row in images:
            callers[row["calling_ae"]] = callers.get(row["calling_ae"], 0) + 1
        known = kept.get(series_uid, {})
        if lacking := [keyword for keyword in keywords if keyword not in known]:
            known = known | _read(archive, images, lacking)
        made[series_uid] = Seen(_counts(known), callers, at)
    return made


def _counts(known: Mapping[str, Mapping[str, int]]) -> Callable[[str], Mapping[str, int]]:
    return lambda keyword: known.get(keyword, {})


def _read(archive: Archive, images: Sequence[Row], keywords: Sequence[str]) -> dict[str, dict[str, int]]:
    headers = []
    for row in images:
        try:
            headers.append(facts.read(archive.at(row["path"]), also=keywords))
        except (Refused, FileNotFoundError):
            continue  # no route can look at what cannot be read, or is not kept any more
    return {keyword: facts.counted(headers, keyword) for keyword in keywords}


def _outcomes(every: Sequence[Route], seen: Mapping[str, Seen]) -> set[Outcome]:
    return {
        (network, series_uid, destination, mode_of(route), PRIORITIES[route.priority], *_promised(route, destination))
        for series_uid, one in seen.items()
        for route in every
        if route.judge(one).takes
        for network in route.networks
        for destination in route.destinations or ("",)
    }


def _promised(route: Route, destination: str) -> tuple[str, str]:
    """The objects that a route says, and its deadline in minutes; empty where it says nothing."""
    minutes = f"{route.deadline_seconds / 60:g}" if route.deadline_seconds is not None else ""
    return " ".join(route.objects.get(destination, ())), minutes


def _said(outcome: Outcome) -> dict[str, str]:
    return dict(zip(KEYS, outcome, strict=True))


def print_replay(replayed: dict[str, Any]) -> None:
    """For people: the studies that would go another way, and how."""
    console = output()
    changed = replayed["changed"]
    table = new_table(f"{len(changed)} of {replayed['studies']} studies would change", ["study", "no more", "newly"])
    for study in changed:
        table.add_row(plain(study["study_uid"]), *("\n".join(map(_line, study[key])) for key in ("no_more", "newly")))
    if changed:
        console.print(table)
    else:
        console.print(f"[green]None of the {replayed['studies']} studies would change.[/]")


def _line(one: Mapping[str, str]) -> str:
    to = f" to {one['destination']}" if one["destination"] else ""
    silent = ", silent" if one["mode"] == "silent" else ""
    objects = f", {one['objects']}" if one["objects"] else ""
    within = f", within {one['deadline_minutes']} min" if one["deadline_minutes"] else ""
    return plain(f"{one['network']}{to} (series …{one['series_uid'][-8:]}, {one['priority']}{silent}{objects}{within})")
