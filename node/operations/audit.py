"""The record for people: is it whole, what does it say, and a copy for whoever audits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from rich.console import Console

from db import audit_trail, events, networks, training_runs
from db.audit_trail import Backlog
from db.database import Database, Row
from db.events import Head

from ..errors import Refused
from .terminal import new_table, output, plain

#: letters of an event's details that are shown without being asked for
SHORT = 90
#: events that are verified whenever the page is looked at
READ_AT_ONCE = 2000


def verify(database: Database, noted: str | None = None) -> str:
    """Whether the record is whole, and whether releases and evaluations are what it says they are; a sentence.

    Args:
        noted: a head of the record as `head` gave it earlier.

    Raises:
        Refused: `record-broken`, with the first thing that is not as it was written; `not-a-head`.
    """
    try:
        wanted = Head.parse(noted) if noted else None
    except ValueError as error:
        raise Refused("not-a-head", str(error)) from None
    with database.read() as tx:
        fault = events.verify(tx, wanted) or _unrecorded(tx)
        newest = events.head(tx)
    if fault:
        raise Refused("record-broken", f"the record is not as it was written: {fault}")
    if newest is None:
        return "the record is empty"
    against = f", and event {wanted.number} is the one that was noted" if wanted else ""
    return f"the record is whole: {newest.number} events{against}; its head is {newest}"


def head(database: Database) -> str:
    """The head of the record, to be noted where nobody who can write the database can write."""
    with database.read() as tx:
        newest = events.head(tx)
    if newest is None:
        raise Refused("record-empty", "the record is empty: there is no head to note")
    return str(newest)


def _unrecorded(tx: Any) -> str | None:
    """A release or an evaluation without an event, or one that says something else than its event; None: there is none.

    Releases from before there was a record have no event; they are older than all that have one.
    """
    released: dict[int, Mapping[str, Any]] = {}
    judged: dict[int, Mapping[str, Any]] = {}
    for event in events.every(tx):
        details = json.loads(event["details"])
        if "release" in details:
            released[details["release"]] = details | {"what": event["what"], "network": event["subject"]}
        elif "evaluation" in details:
            judged[details["evaluation"]] = details
    return _releases(networks.releases(tx), released) or _evaluations(training_runs.evaluations(tx), judged)


def _releases(rows: Sequence[Row], recorded: Mapping[int, Mapping[str, Any]]) -> str | None:
    first = min(recorded, default=None)
    same = ("network", "what", "version", "weights_sha256", "card_sha256")
    for row in rows:
        said = recorded.get(row["id"])
        if said is None and row["what"] == "seen" and (first is None or row["id"] < first):
            continue
        what = f"release {row['id']}, {row['what']} of {row['network']} {row['version']},"
        if said is None:
            return f"{what} was never recorded"
        if any(row[name] != said[name] for name in same):
            return f"{what} was recorded as {said['what']} of {said['network']} {said['version']}"
    gone = set(recorded) - {row["id"] for row in rows}
    return f"release {min(gone)} was recorded and is gone" if gone else None


def _evaluations(rows: Sequence[Row], recorded: Mapping[int, Mapping[str, Any]]) -> str | None:
    same = ("outcome", "look", "candidate_id", "champion_id", "test_set_id", "training_run_id")
    for row in rows:
        said = recorded.get(row["id"])
        if said is None:
            return f"evaluation {row['id']} of {row['network']} was never recorded"
        changed = [name for name in same if row[name] != said[name]]
        if changed or training_runs.sha256(row["verdict"]) != said["verdict_sha256"]:
            return f"evaluation {row['id']} of {row['network']} is not the one that was recorded"
    gone = set(recorded) - {row["id"] for row in rows}
    return f"evaluation {min(gone)} was recorded and is gone" if gone else None


def listing(database: Database, subject: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """The events, newest first, as plain values."""
    with database.read() as tx:
        found = events.listing(tx, subject, limit)
    return [
        {
            "number": row["number"],
            "at": datetime.fromtimestamp(row["at"]).astimezone().isoformat(timespec="seconds"),
            "who": row["who"],
            "what": row["what"],
            "subject": row["subject"],
            "details": json.loads(row["details"]),
        }
        for row in found
    ]


@dataclass(frozen=True)
class Shown:
    """An event as it is shown; `short` is the beginning of its details."""

    number: int
    at: float
    who: str
    what: str
    subject: str
    short: str
    details: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some of the record.

    Attributes:
        count, head: of all of it; None where it is empty.
        choices: column -> what it has.
        older: number of the last one shown, where there are older ones; else None.
        verified: whether it is whole, as a sentence; "" where it is too long to be read with every look.
        broken: that it is not.
        backlog: what the collector of audit messages is still to be told; None: there is none.
    """

    events: list[Shown]
    count: int
    head: str | None
    choices: dict[str, list[str]]
    older: int | None
    verified: str
    broken: bool
    backlog: Backlog | None


def page(database: Database, before: int | None, limit: int, **which: str) -> Page:
    """Events for the page, newest first; `before` and `which` as in `db.events.page`."""
    with database.read() as tx:
        found = events.page(tx, before=before, limit=limit + 1, **which)
        newest, choices = events.head(tx), events.kinds(tx)
        backlog = audit_trail.backlog(tx)
    shown = [_shown(row) for row in found[:limit]]
    count = newest.number if newest else 0
    verified, broken = _verified(database) if 0 < count <= READ_AT_ONCE else ("", False)
    return Page(
        events=shown,
        count=count,
        head=str(newest) if newest else None,
        choices=choices,
        older=shown[-1].number if len(found) > limit else None,
        verified=verified,
        broken=broken,
        backlog=backlog,
    )


def _verified(database: Database) -> tuple[str, bool]:
    try:
        return verify(database), False
    except Refused as refusal:
        return refusal.sentence, True


def _shown(row: Row) -> Shown:
    said = [(name, _plain(value)) for name, value in json.loads(row["details"]).items() if value not in (None, "")]
    short = ", ".join(f"{name} {_short(value)}" for name, value in said)
    cut = f"{short[:SHORT]}..." if len(short) > SHORT else short
    return Shown(row["number"], row["at"], row["who"], row["what"], row["subject"], cut, said)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def print_table(listed: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """For people; as `listing` gives them."""
    columns = ("number", "at", "who", "what", "subject")
    table = new_table(f"record ({len(listed)})", (*columns, "details"))
    for row in listed:
        said = ", ".join(f"{key} {_short(value)}" for key, value in row["details"].items() if value not in (None, ""))
        table.add_row(*(plain(row[name]) for name in columns), plain(said))
    (console or output()).print(table)


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 and " " not in text else text


def export(database: Database, to: TextIO) -> int:
    """Write all events as JSON lines, oldest first, each with every column as it was hashed; how many there were.

    `db.events.check` verifies such a copy; so does anyone with SHA-256: an event's is that of the JSON array [number,
    at, who, what, subject, details, before] without spaces, where `details` is text.
    """
    count = 0
    with database.read() as tx:
        for row in events.every(tx):
            to.write(json.dumps(dict(row)) + "\n")
            count += 1
    return count
