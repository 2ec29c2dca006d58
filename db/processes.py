"""The processes of a node that are alive, on all its machines, as they say themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import Clock, Row, insert
from .tables import job, process

#: a process that lived so long is well, and what ended before it is forgotten
WELL_SECONDS = 600.0


def begin(tx: Connection, name: str, role: str, machine: str = "", version: str = "") -> None:
    """A process does its work from now on. Where the one before it left its row behind, that one did not end well."""
    who: dict[str, Any] = dict(role=role, started=Clock(), beat=Clock(), machine=machine, version=version)
    new = insert(tx, process).values(name=name, crashes=0, **who)
    tx.execute(
        new.on_conflict_do_update(
            index_elements=["name"],
            set_=dict(**who, drained=None, crashes=process.c.crashes + 1),
        )
    )


def beat(tx: Connection, name: str, role: str, machine: str = "", version: str = "") -> None:
    """It is alive; also where somebody has taken its row away meanwhile."""
    well = sa.case((process.c.started < Clock() - WELL_SECONDS, 0), else_=process.c.crashes)
    alive = sa.update(process).where(process.c.name == name).values(beat=Clock(), crashes=well)
    if not tx.execute(alive).rowcount:
        begin(tx, name, role, machine, version)


def end(tx: Connection, name: str) -> None:
    """It has ended as it should, or a person knows that it will not come back."""
    tx.execute(sa.delete(process).where(process.c.name == name))


def listing(tx: Connection) -> Sequence[Row]:
    """All of them, with the seconds since they were last heard of (`silent_seconds`)."""
    silent = (Clock() - process.c.beat).label("silent_seconds")
    return tx.execute(sa.select(process, silent).order_by(process.c.name)).mappings().all()


def drain(tx: Connection, machine: str, *, drained: bool) -> int:
    """The workers of a machine finish what they have and begin nothing, or go on; how many there are."""
    workers = sa.and_(process.c.machine == machine, process.c.role == "work")
    since = sa.func.coalesce(process.c.drained, Clock()) if drained else None
    return int(tx.execute(sa.update(process).where(workers).values(drained=since)).rowcount)


def is_drained(tx: Connection, name: str) -> bool:
    """Whether this process is to begin nothing."""
    drained = sa.select(process.c.name).where(process.c.name == name, process.c.drained.is_not(None))
    return tx.execute(drained).first() is not None


def forget(tx: Connection, machine: str, silent_seconds: float) -> int:
    """A machine does not come back: its processes that were not heard of for so long are forgotten; how many."""
    gone = sa.and_(process.c.machine == machine, process.c.beat < Clock() - silent_seconds)
    return int(tx.execute(sa.delete(process).where(gone)).rowcount)


def at_work(tx: Connection, machine: str) -> int:
    """How many jobs the workers of a machine hold."""
    here = job.c.worker.startswith(f"{machine}:", autoescape=True)
    held = sa.select(sa.func.count()).select_from(job).where(not_done.RUNNING, here)
    return int(tx.execute(held).scalar_one())
