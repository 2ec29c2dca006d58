"""The destinations that cannot be reached, or have no room: what waits for them, and who tries them again."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import destinations, job_orders
from .database import Clock, insert
from .job_states import JobKind
from .tables import outage

#: why a job waits whose destination is out of resources
NO_ROOM = "no-room"


def unreachable(tx: Connection, destination: str, reason: str, retry_seconds: float) -> None:
    """A destination does not answer: nobody tries it again for so long."""
    destinations.note_error(tx, destination, reason)  # first, as in `reachable`: each would wait for the other's row
    tx.execute(
        insert(tx, outage)
        .values(
            destination=destination,
            since=Clock(),
            retry_after=Clock() + retry_seconds,
            failures=1,
            reason=reason,
        )
        .on_conflict_do_update(
            index_elements=["destination"],
            set_=dict(retry_after=Clock() + retry_seconds, failures=outage.c.failures + 1, reason=reason),
        )
    )
    job_orders.put_off(tx, JobKind.DELIVER, f"{destination}/", retry_seconds)


def reachable(tx: Connection, destination: str, *, has_room: bool = False) -> None:
    """A destination answers; if it did not before, everything that waits for it is due now.

    What it had no room for keeps its own time: it may be an object that is too large for it, and would be in the way of
    all others each time.

    Args:
        has_room: a person says so: that is due too.
    """
    destinations.note_contact(tx, destination)
    if tx.execute(sa.delete(outage).where(outage.c.destination == destination)).rowcount or has_room:
        job_orders.due_in(tx, JobKind.DELIVER, f"{destination}/", 0, but="" if has_room else NO_ROOM)


def try_alone(tx: Connection, destination: str, seconds: float) -> None:
    """Somebody tries a destination that was away: nobody else does so long."""
    mine = sa.update(outage).where(outage.c.destination == destination)
    tx.execute(mine.values(retry_after=Clock() + seconds))


def wait_seconds(tx: Connection, destination: str) -> tuple[float, str]:
    """How long a destination is still to be left alone, and why; 0 when it may be tried."""
    row = tx.execute(
        sa.select((outage.c.retry_after - Clock()).label("seconds"), outage.c.reason).where(
            outage.c.destination == destination
        )
    ).one_or_none()
    return (max(0.0, row.seconds), row.reason) if row else (0.0, "")


def forget(tx: Connection, destination: str) -> None:
    """A destination is none any more: nobody will ever reach it."""
    tx.execute(sa.delete(outage).where(outage.c.destination == destination))


def listing(tx: Connection) -> Sequence[RowMapping]:
    """The destinations that do not answer."""
    return tx.execute(sa.select(outage).order_by(outage.c.since)).mappings().all()
