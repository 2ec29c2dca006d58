"""What one process of all machines does at a time: it has a lease, by the database's clock, and prolongs it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, insert
from .tables import duty


def take(tx: Connection, name: str, holder: str, lease_seconds: float) -> bool:
    """Prolong the lease, or take over one that nobody has or that has run out; whether it is this process's now."""
    until = Clock() + lease_seconds
    new = insert(tx, duty).values(name=name, holder=holder, since=Clock(), lease_until=until)
    mine = duty.c.holder == holder
    taken = new.on_conflict_do_update(
        index_elements=["name"],
        set_=dict(holder=holder, lease_until=until, since=sa.case((mine, duty.c.since), else_=Clock())),
        where=sa.or_(mine, duty.c.lease_until < Clock()),
    )
    return tx.execute(taken.returning(duty.c.name)).first() is not None


def give_up(tx: Connection, name: str, holder: str) -> None:
    """The process ends as it should: another one need not wait for the lease to run out."""
    tx.execute(sa.delete(duty).where(duty.c.name == name, duty.c.holder == holder))


def holder(tx: Connection, name: str) -> str:
    """Who has it; empty where nobody does."""
    has = sa.select(duty.c.holder).where(duty.c.name == name, duty.c.lease_until >= Clock())
    return tx.execute(has).scalar() or ""
