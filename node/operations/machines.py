"""The machines of a node: what runs on each, and which of them is to begin nothing any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import audit_trail, duties, events, processes
from db.database import Database

from .. import warm
from ..errors import Refused, Unavailable
from .metrics import ALIVE_SECONDS

#: the duty of which one process has the lease (`node.schedule`)
SCHEDULE = "schedule"
LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process, as it says itself.

    Attributes:
        process: its name on its machine.
        state: "alive", "on duty", "standing by" (a schedule process beside the one on duty), "drained" or "silent".
        since: seconds since 1970.
    """

    machine: str
    process: str
    role: str
    state: str
    version: str
    since: float
    silent_seconds: float


def listing(database: Database) -> list[Running]:
    """What runs where, by machine and name."""
    with database.read() as tx:
        rows, on_duty = processes.listing(tx), duties.holder(tx, SCHEDULE)
    return [_running(row, on_duty, leased=not database.is_sqlite) for row in rows]


def _running(row: Any, on_duty: str, *, leased: bool) -> Running:
    state = "alive"
    if row["role"] == "schedule" and leased:
        state = "on duty" if row["name"] == on_duty else "standing by"
    if row["drained"] is not None:
        state = "drained"
    if row["silent_seconds"] >= ALIVE_SECONDS:
        state = "silent"
    machine, _, process = row["name"].rpartition("/")
    return Running(
        machine=row["machine"] or machine,
        process=process,
        role=row["role"],
        state=state,
        version=row["version"],
        since=float(row["started"]),
        silent_seconds=round(max(0.0, float(row["silent_seconds"])), 1),
    )


def warm_networks(database: Database, home: Path) -> list[dict[str, Any]]:
    """The networks that are loaded, on every machine whose workers are heard of."""
    with database.read() as tx:
        heard = {one["machine"] for one in processes.listing(tx) if one["silent_seconds"] < ALIVE_SECONDS}
    return warm.read(home, heard)


def drain(database: Database, machine: str, who: str, *, drained: bool) -> str:
    """The workers of a machine finish what they have and begin nothing, until they are started again or resumed.

    Raises:
        Refused: `no-such-machine`.
    """
    with database.write() as tx:
        count = processes.drain(tx, machine, drained=drained)
        if not count:
            raise _unknown(tx, machine, "no worker of it is known")
        events.append(tx, who, "machine-drained" if drained else "machine-resumed", machine)
    if not drained:
        return f"the workers of {machine} take jobs again"
    return f"the {count} workers of {machine} begin nothing any more; `planimeter machines resume {machine}` ends that"


def wait_until_drained(
    database: Database, machine: str, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Until its workers hold no job.

    Raises:
        Unavailable: `still-at-work`: they do after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        with database.read() as tx:
            count = processes.at_work(tx, machine)
        if not count:
            return f"{machine} has no job"
        if time.monotonic() > deadline:
            raise Unavailable("still-at-work", f"{machine} still has {count} jobs; stopped now, it gives them back")
        sleep(LOOK_SECONDS)


def forget(database: Database, machine: str, who: str) -> str:
    """A machine does not come back: nobody waits for its processes, no alarm tells of them, it keeps no audit trail.

    Of one that ended as it should nothing may be known but that.

    Raises:
        Refused: `no-such-machine`.
    """
    with database.write() as tx:
        count = processes.forget(tx, machine, ALIVE_SECONDS)
        here = any(row["machine"] == machine for row in processes.listing(tx))
        if not count and (here or machine not in audit_trail.keepers(tx)):
            raise _unknown(tx, machine, "none of its processes is silent")
        if not here:
            audit_trail.forget(tx, machine)
        events.append(tx, who, "machine-forgotten", machine)
    return f"{machine} is forgotten: {count} processes"


def _unknown(tx: Any, machine: str, why: str) -> Refused:
    names = {row["machine"] for row in processes.listing(tx)} | set(audit_trail.keepers(tx))
    known = ", ".join(sorted(names - {""})) or "none"
    return Refused("no-such-machine", f"{machine}: {why}; the machines of this node are: {known}")
