"""Incidents as they stand: judged every few seconds by the schedule process, shown and acknowledged by people."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

from db import alarm_messages, events, incidents, processes
from db.database import Conflict, Database, clock

from ...errors import Refused
from . import findings, plan
from .findings import World
from .kinds import EXPLAINED, Kind
from .plan import TOLD, Change, Step
from .rules import AlarmPolicy

logger = logging.getLogger(__name__)

ACKNOWLEDGED = "alarm-acknowledged"


@dataclass(frozen=True)
class Incident:
    """For people and for programs.

    Attributes:
        state: "open", "acknowledged" or "closed".
        times: how often it came back before it was over.
        since, opened, closed: seconds since 1970; `closed` is None while it lasts.
    """

    id: int
    kind: str
    subject: str
    state: str
    title: str
    sentence: str
    to_do: str
    page: str
    count: int
    times: int
    since: float
    opened: float
    closed: float | None
    acknowledged: float | None
    acknowledged_by: str | None


def judge(database: Database, policy: AlarmPolicy, home: Path, at: datetime) -> list[Change]:
    """Look at everything once, write what has changed, and queue the messages; what has changed.

    Args:
        at: the time of the machine's clock, with its zone: quiet hours are by this.

    Raises:
        DatabaseUnreachable
    """
    with database.read() as tx:
        if not _changes(tx, policy, home, at):
            return []
    try:
        with database.write() as tx:
            steps = _changes(tx, policy, home, at)
            for step in steps:
                _write(tx, policy, step, at.time())
    except Conflict:  # another schedule process has just judged the same
        return []
    for step in steps:
        if step.step in (Step.OPEN, Step.CLOSE):
            logger.warning(
                "alarm %s: %s %s", "begins" if step.step is Step.OPEN else "is over", step.kind, step.subject
            )
    return steps


def _changes(tx: Any, policy: AlarmPolicy, home: Path, at: datetime) -> list[Change]:
    standing = incidents.standing(tx)
    open_now = frozenset((row["kind"], row["subject"]) for row in standing if row["state"] == "open")
    world = World(shutil.disk_usage(home).free, at.timestamp(), open_now)
    # what the database could not keep itself is closed by whoever saw it
    ours = [row for row in standing if row["kind"] != Kind.DATABASE_AWAY]
    return plan.changes(ours, findings.look(tx, policy, world), clock(tx), policy)


def _write(tx: Any, policy: AlarmPolicy, step: Change, now: time) -> None:
    incident_id = step.id
    if step.step is Step.FORGET and incident_id is not None:
        incidents.forget(tx, incident_id)
    elif incident_id is None:
        incident_id = incidents.add(tx, step.kind, step.subject, **step.values)
    else:
        incidents.change(tx, incident_id, **step.values)
    if step.step in TOLD:
        assert incident_id is not None
        tell(tx, policy, incident_id, step.kind, step.subject, TOLD[step.step], now)


def tell(tx: Any, policy: AlarmPolicy, incident_id: int, kind: str, subject: str, what: str, now: time) -> None:
    """Queue a message to everybody who is to be told; one that did not go yet gives way to the later one."""
    for recipient in policy.recipients:
        if not recipient.takes(kind) or (kind == Kind.MESSAGES_STUCK and recipient.name == subject):
            continue
        if what == "closed" and not (recipient.ended and _was_told(tx, incident_id, recipient.name)):
            continue
        alarm_messages.drop_unsent(tx, incident_id, recipient.name)
        delay = policy.delay_seconds(recipient, kind, now)
        alarm_messages.queue(tx, incident_id, recipient.name, what, delay)


def _was_told(tx: Any, incident_id: int, recipient: str) -> bool:
    return any(one["recipient"] == recipient for one in alarm_messages.of_incident(tx, incident_id))


def acknowledge(database: Database, incident_id: int, who: str, why: str = "") -> str:
    """A person knows of it: no more reminders. A process that is not heard of is forgotten; it comes back by itself.

    Raises:
        Refused: `no-such-alarm`, `alarm-over`.
    """
    with database.write() as tx:
        row = incidents.one(tx, incident_id)
        if row is None or row["state"] == "pending":
            raise Refused("no-such-alarm", f"there is no alarm {incident_id}; `planimeter alarms list` shows them")
        if row["state"] == "closed":
            raise Refused("alarm-over", f"alarm {incident_id} is over: there is nothing to acknowledge")
        if row["acknowledged"] is not None:
            return f"alarm {incident_id} was acknowledged by {row['acknowledged_by']} before"
        now = clock(tx)
        incidents.change(tx, incident_id, acknowledged=now, acknowledged_by=who, acknowledged_count=row["count"])
        if row["kind"] == Kind.PROCESS_LOST:
            processes.end(tx, row["subject"])
        details = {"alarm": incident_id, "kind": row["kind"], "why": why}
        events.append(tx, who, ACKNOWLEDGED, row["subject"] or row["kind"], details)
    return f"alarm {incident_id} is acknowledged: no more reminders of it"


def listing(database: Database, limit: int = 100, before: int | None = None) -> list[Incident]:
    """The incidents, newest first."""
    with database.read() as tx:
        return [shown(row) for row in incidents.listing(tx, limit, before)]


def open_ones(tx: Any) -> list[Incident]:
    """Those that are not over, oldest first."""
    return [shown(row) for row in incidents.standing(tx) if row["state"] == "open"]


def shown(row: Any) -> Incident:
    """An incident of its row; of a kind that this version does not know, too."""
    known = EXPLAINED.get(row["kind"])
    state = "acknowledged" if row["state"] == "open" and row["acknowledged"] is not None else row["state"]
    return Incident(
        id=row["id"],
        kind=row["kind"],
        subject=row["subject"],
        state=state,
        title=known.title if known else row["kind"],
        sentence=row["sentence"],
        to_do=known.to_do if known else "",
        page=known.page if known else "/alarms",
        count=row["count"],
        times=row["times"],
        since=row["since"],
        opened=row["opened"],
        closed=row["closed"],
        acknowledged=row["acknowledged"],
        acknowledged_by=row["acknowledged_by"],
    )


def banner(tx: Any) -> list[str]:
    """What every page says on top: the alarms that nobody has acknowledged, in one sentence each, three at most."""
    lines = [f"{one.sentence[:1].upper()}{one.sentence[1:]}." for one in open_ones(tx) if one.state == "open"]
    more = len(lines) - 3
    return lines[:3] + ([f"and {more} more alarms, see Alarms"] if more > 0 else [])
