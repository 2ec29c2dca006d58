"""The processes of a node that are alive, as they say themselves."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row, insert
from .tables import process

#: a process that lived so long is well, and what ended before it is forgotten
WELL_SECONDS = 600.0


def begin(tx: Connection, name: str, role: str) -> None:
    """A process does its work from now on. Where the one before it left its row behind, that one did not end well."""
    new = insert(tx, process).values(name=name, role=role, started=Clock(), beat=Clock(), crashes=0)
    tx.execute(
        new.on_conflict_do_update(
            index_elements=["name"],
            set_=dict(role=role, started=Clock(), beat=Clock(), crashes=process.c.crashes + 1),
        )
    )


def beat(tx: Connection, name: str, role: str) -> None:
    """It is alive; also where somebody has taken its row away meanwhile."""
    well = sa.case((process.c.started < Clock() - WELL_SECONDS, 0), else_=process.c.crashes)
    alive = sa.update(process).where(process.c.name == name).values(beat=Clock(), crashes=well)
    if not tx.execute(alive).rowcount:
        begin(tx, name, role)


def end(tx: Connection, name: str) -> None:
    """It has ended as it should, or a person knows that it will not come back."""
    tx.execute(sa.delete(process).where(process.c.name == name))


def listing(tx: Connection) -> Sequence[Row]:
    """All of them, with the seconds since they were last heard of (`silent_seconds`)."""
    silent = (Clock() - process.c.beat).label("silent_seconds")
    return tx.execute(sa.select(process, silent).order_by(process.c.name)).mappings().all()
