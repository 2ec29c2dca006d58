"""Messages about incidents: a queue of its own, so that nothing is lost while a mail server or a receiver is away."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row
from .tables import alarm_message as message

#: a sender that died with a message in its hands: another one takes it after this long
HELD_SECONDS = 300.0


def queue(tx: Connection, incident_id: int | None, recipient: str, what: str, delay_seconds: float = 0.0) -> int:
    """One more message; its id."""
    row = dict(
        incident_id=incident_id,
        recipient=recipient,
        what=what,
        state="waiting",
        created=Clock(),
        send_after=Clock() + delay_seconds,
    )
    return int(tx.execute(sa.insert(message).values(row).returning(message.c.id)).scalar_one())


def drop_unsent(tx: Connection, incident_id: int, recipient: str) -> int:
    """Those about an incident that did not go yet are not needed any more: a later one says it all; how many."""
    mine = sa.and_(message.c.incident_id == incident_id, message.c.recipient == recipient)
    dropped = sa.update(message).where(mine, message.c.state == "waiting").values(state="dropped")
    return int(tx.execute(dropped).rowcount)


def take(tx: Connection) -> Row | None:
    """The next one that is due, for this caller alone for HELD_SECONDS; None where there is none."""
    due = (
        sa.select(message.c.id)
        .where(message.c.state == "waiting", message.c.send_after <= Clock())
        .order_by(message.c.send_after, message.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    taken = (
        sa.update(message)
        .where(message.c.id == sa.select(due.c.id).scalar_subquery())
        .values(send_after=Clock() + HELD_SECONDS, attempts=message.c.attempts + 1)
        .returning(message)
    )
    return tx.execute(taken).mappings().one_or_none()


def any_due(tx: Connection) -> bool:
    """Whether `take` is worth a write lock."""
    due = sa.select(message.c.id).where(message.c.state == "waiting", message.c.send_after <= Clock())
    return tx.execute(due.limit(1)).first() is not None


def sent(tx: Connection, message_id: int) -> None:
    """It was taken."""
    tx.execute(sa.update(message).where(message.c.id == message_id).values(state="sent", sent=Clock(), reason=None))


def failed(tx: Connection, message_id: int, reason: str, wait_seconds: float | None) -> None:
    """It was not taken.

    Args:
        wait_seconds: until it is tried again; None: never.
    """
    values = dict(reason=reason)
    if wait_seconds is None:
        done = sa.update(message).values(state="given-up", **values)
    else:
        done = sa.update(message).values(send_after=Clock() + wait_seconds, **values)
    tx.execute(done.where(message.c.id == message_id, message.c.state == "waiting"))


def leave_alone(tx: Connection, recipient: str, wait_seconds: float) -> None:
    """A recipient takes nothing at the moment: what waits for it keeps nobody else's messages back."""
    mine = sa.and_(message.c.recipient == recipient, message.c.state == "waiting")
    later = sa.and_(mine, message.c.send_after < Clock() + wait_seconds)
    tx.execute(sa.update(message).where(later).values(send_after=Clock() + wait_seconds))


def stuck(tx: Connection) -> Sequence[Row]:
    """The recipients that did not take messages: how many, and since when the oldest of them has been tried."""
    query = (
        sa.select(
            message.c.recipient,
            sa.func.count().label("count"),
            sa.func.min(message.c.created).label("since"),
        )
        .where(message.c.state == "waiting", message.c.attempts > 0, message.c.reason.is_not(None))
        .group_by(message.c.recipient)
    )
    return tx.execute(query).mappings().all()


def of_incident(tx: Connection, incident_id: int) -> Sequence[Row]:
    """All messages about an incident, oldest first."""
    return (
        tx.execute(sa.select(message).where(message.c.incident_id == incident_id).order_by(message.c.id))
        .mappings()
        .all()
    )


def by_state(tx: Connection) -> dict[tuple[str, str], int]:
    """How many there are, by recipient and state."""
    query = sa.select(message.c.recipient, message.c.state, sa.func.count().label("n"))
    rows = tx.execute(query.group_by(message.c.recipient, message.c.state))
    return {(row.recipient, row.state): int(row.n) for row in rows}
