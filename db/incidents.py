"""Incidents: what is wrong, from when it was first seen until it is over. The caller decides what changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row
from .tables import incident

STANDING = ("pending", "open")


def standing(tx: Connection) -> Sequence[Row]:
    """Those that are not over, and those that nobody was told of yet; oldest first."""
    return (
        tx.execute(sa.select(incident).where(incident.c.state.in_(STANDING)).order_by(incident.c.id)).mappings().all()
    )


def listing(tx: Connection, limit: int = 100, before: int | None = None) -> Sequence[Row]:
    """Those that people were told of, newest first.

    Args:
        before: only those with smaller ids.
    """
    query = sa.select(incident).where(incident.c.state != "pending").order_by(incident.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(incident.c.id < before)
    return tx.execute(query).mappings().all()


def one(tx: Connection, incident_id: int) -> Row | None:
    """An incident; None where there is none."""
    return tx.execute(sa.select(incident).where(incident.c.id == incident_id)).mappings().one_or_none()


def add(tx: Connection, kind: str, subject: str, **values: Any) -> int:
    """A new one.

    Raises:
        Conflict: another process has just written the same.
    """
    row = dict(kind=kind, subject=subject, seen=Clock(), **values)
    return int(tx.execute(sa.insert(incident).values(row).returning(incident.c.id)).scalar_one())


def change(tx: Connection, incident_id: int, **values: Any) -> None:
    """Write columns of one."""
    tx.execute(sa.update(incident).where(incident.c.id == incident_id).values(**values))


def forget(tx: Connection, incident_id: int) -> None:
    """Take out one that nobody was told of."""
    tx.execute(sa.delete(incident).where(incident.c.id == incident_id, incident.c.state == "pending"))


def open_by_kind(tx: Connection) -> dict[tuple[str, bool], int]:
    """How many are open, by kind and by whether somebody has acknowledged them."""
    seen = incident.c.acknowledged.is_not(None).label("seen")
    query = sa.select(incident.c.kind, seen, sa.func.count().label("n")).where(incident.c.state == "open")
    return {(row.kind, bool(row.seen)): int(row.n) for row in tx.execute(query.group_by(incident.c.kind, seen))}
