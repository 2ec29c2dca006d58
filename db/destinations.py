"""What is known of each destination: when it answered last, what went wrong last, what waits for it, who paused it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import not_done
from .database import Clock, insert
from .job_states import JobKind
from .tables import delivery, destination, job, result

#: what a pause of one destination holds back
SENDING = (JobKind.DELIVER, JobKind.COMMIT)
DEAD = sa.and_(not_done.UNDONE_DELIVERY, delivery.c.state == "dead")


def note_contact(tx: Connection, name: str) -> None:
    """It answered."""
    _note(tx, name, last_contact=Clock())


def note_error(tx: Connection, name: str, sentence: str) -> None:
    """It did not answer, or turned us away."""
    _note(tx, name, last_error_at=Clock(), last_error=sentence)


def set_paused(tx: Connection, name: str, paused: bool, who: str) -> None:
    """Send it nothing, or go on; what is at hand is finished."""
    if paused:
        _note(tx, name, paused_since=Clock(), paused_by=who)
    else:
        _note(tx, name, paused_since=None, paused_by=None)


def _note(tx: Connection, name: str, **values: object) -> None:
    row = insert(tx, destination).values(name=name, **values)
    tx.execute(row.on_conflict_do_update(index_elements=["name"], set_=values))


def known(tx: Connection) -> dict[str, RowMapping]:
    """What is known, by name."""
    return {row["name"]: row for row in tx.execute(sa.select(destination)).mappings()}


def paused(tx: Connection) -> set[str]:
    """The destinations that are paused."""
    return set(tx.execute(sa.select(destination.c.name).where(destination.c.paused_since.is_not(None))).scalars())


def paused_job() -> sa.ColumnElement[bool]:
    """Whether a job sends to a destination that is paused; its subject begins with the destination's name."""
    begins = destination.c.name.concat("/")
    to_it = sa.func.substr(job.c.subject, 1, sa.func.length(begins)) == begins
    return sa.and_(job.c.kind.in_(SENDING), sa.exists().where(destination.c.paused_since.is_not(None), to_it))


def queues(tx: Connection) -> Sequence[RowMapping]:
    """Per destination and state of what is not delivered, of results that stand: how many, since when the oldest."""
    query = (
        sa.select(
            delivery.c.destination,
            delivery.c.state,
            sa.func.count().label("count"),
            sa.func.min(delivery.c.created).label("oldest"),
        )
        .join(result, result.c.id == delivery.c.result_id)
        .where(not_done.UNDONE_DELIVERY, result.c.state == "ready")
        .group_by(delivery.c.destination, delivery.c.state)
    )
    return tx.execute(query).mappings().all()


def taken(tx: Connection, name: str, seconds: float) -> tuple[int, float | None]:
    """How many objects a destination took within the last so many seconds, and when it took one last."""
    mine = sa.and_(delivery.c.destination == name, delivery.c.delivered.is_not(None))
    # a value: PostgreSQL goes along no index for what clock_timestamp() says, as it may say another thing of each row
    since = float(tx.execute(sa.select(Clock())).scalar_one()) - seconds
    late = sa.select(sa.func.count()).select_from(delivery).where(mine, delivery.c.delivered > since)
    last = sa.select(delivery.c.delivered).where(mine).order_by(delivery.c.delivered.desc()).limit(1)
    return int(tx.execute(late).scalar_one()), tx.execute(last).scalar()


def dead_jobs(tx: Connection, name: str) -> Sequence[RowMapping]:
    """The `deliver` jobs of what is dead at a destination, oldest first."""
    subject = sa.literal(f"{name}/").concat(sa.cast(result.c.input_set_id, sa.Text))
    dead = sa.and_(delivery.c.destination == name, DEAD, result.c.state == "ready")
    subjects = sa.select(subject).join_from(delivery, result, result.c.id == delivery.c.result_id).where(dead)
    query = sa.select(job).where(job.c.kind == JobKind.DELIVER, job.c.subject.in_(subjects)).order_by(job.c.id)
    return tx.execute(query).mappings().all()


def dead_reasons(tx: Connection, name: str, most: int) -> Sequence[RowMapping]:
    """Why what is dead at a destination died: each reason with its number, the most frequent first."""
    query = (
        sa.select(delivery.c.reason, sa.func.count().label("count"))
        .join(result, result.c.id == delivery.c.result_id)
        .where(DEAD, result.c.state == "ready", delivery.c.destination == name)
        .group_by(delivery.c.reason)
        .order_by(sa.func.count().desc(), delivery.c.reason)
    )
    return tx.execute(query.limit(most)).mappings().all()
