"""What a person has paused: receive, work, send, learn."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, insert
from .tables import pause

ACTIVITIES = ("receive", "work", "send", "learn")


def set_paused(tx: Connection, activity: str, paused: bool, who: str) -> None:
    """Pause or resume an activity."""
    if paused:
        tx.execute(insert(tx, pause).values(activity=activity, since=Clock(), who=who).on_conflict_do_nothing())
    else:
        tx.execute(sa.delete(pause).where(pause.c.activity == activity))


def paused(tx: Connection) -> set[str]:
    """The activities that are paused."""
    return set(tx.execute(sa.select(pause.c.activity)).scalars())
