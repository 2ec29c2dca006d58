"""Deliveries: one row per result and destination, and the destinations that cannot be reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import jobs, not_done, results, trials
from .database import Clock, insert
from .job_states import JobKind
from .tables import delivery, input_set, job, result, study

#: sooner than any route's segment jobs: a result that is there should not wait for another study's
PRIORITY = -10
#: why what was dead waits
ASKED_AGAIN = "asked for again"


def subject(destination: str, input_set_id: int) -> str:
    """The subject of the `deliver` job that sends an input set's results to a destination."""
    return f"{destination}/{input_set_id}"


def queue(
    tx: Connection,
    input_set_id: int,
    study_id: int,
    result_ids: Sequence[int],
    destinations: Iterable[str],
    max_attempts: int,
    *,
    held_because: str = "",
) -> None:
    """Write the delivery rows that are not there yet; where any waits, ask for one `deliver` job per destination.

    What was not sent any more, because something newer had taken its place, is to be sent after all. What a destination
    has refused in this form before, and was sent in another one, is not sent to it again. What does not stand any more
    is not sent.

    Nothing of a trial is sent anywhere.

    Args:
        held_because: why a person has to release them first; empty where they may go.
    """
    if trials.is_one(tx, study_id):
        return  # nothing of it is sent, whoever asks
    state, reason = ("held", held_because) if held_because else ("waiting", None)
    stand = results.standing(tx, result_ids)
    for destination in destinations:
        for result_id in (one for one in result_ids if one in stand):
            if _fell_back(tx, result_id, destination):
                continue
            tx.execute(
                insert(tx, delivery)
                .values(result_id=result_id, destination=destination, state=state, reason=reason, created=Clock())
                .on_conflict_do_update(
                    index_elements=["result_id", "destination"],
                    set_=dict(state=state, reason=reason),
                    where=delivery.c.state == "superseded",
                )
            )
        if waiting(tx, input_set_id, destination):
            ask(tx, destination, input_set_id, study_id, max_attempts)


def _fell_back(tx: Connection, result_id: int, destination: str) -> bool:
    found = sa.select(delivery.c.id).where(delivery.c.fell_back_from == result_id)
    return tx.execute(found.where(delivery.c.destination == destination)).first() is not None


def fall_back(tx: Connection, delivery_id: int, result_id: int, reason: str) -> None:
    """A destination refuses the form of a result: this delivery is of another form from now on, once and for all.

    Where the destination was to get that other form already, this delivery is not needed.
    """
    mine = sa.and_(delivery.c.id == delivery_id, delivery.c.state == "waiting")
    destination = sa.select(delivery.c.destination).where(delivery.c.id == delivery_id).scalar_subquery()
    there = sa.select(delivery.c.id).where(delivery.c.result_id == result_id, delivery.c.destination == destination)
    instead: dict[str, object] = dict(result_id=result_id)
    if tx.execute(there).first() is not None:
        instead = dict(state="superseded")
    first = sa.func.coalesce(delivery.c.fell_back_from, delivery.c.result_id)
    # whoever refuses the form has none of it
    tx.execute(sa.update(delivery).where(mine).values(fell_back_from=first, reason=reason, unanswered=0, **instead))


def ask(tx: Connection, destination: str, input_set_id: int, study_id: int, max_attempts: int) -> None:
    jobs.enqueue(
        tx,
        JobKind.DELIVER,
        subject(destination, input_set_id),
        max_attempts=max_attempts,
        priority=PRIORITY,
        study_id=study_id,
        input_set_id=input_set_id,
    )


def waiting(tx: Connection, input_set_id: int, destination: str) -> Sequence[RowMapping]:
    """What is still to be sent of an input set to a destination: rejection notes first, then the oldest result.

    What was sent and never answered comes after all others: it may be that it takes the destination down.
    """
    note = sa.and_(result.c.kind == results.REJECTION, delivery.c.unanswered == 0)
    return (
        tx.execute(
            sa.select(
                delivery.c.id,
                delivery.c.attempts,
                result.c.sop_uid,
                result.c.sop_class,
                result.c.path,
                result.c.kind,
                result.c.options,
                result.c.run,
                result.c.revision,
                delivery.c.result_id,
            )
            .join(result, result.c.id == delivery.c.result_id)
            .where(
                result.c.input_set_id == input_set_id,
                delivery.c.destination == destination,
                delivery.c.state == "waiting",
                result.c.state == "ready",
            )
            .order_by(sa.case((note, 0), else_=1), delivery.c.unanswered, result.c.id)
        )
        .mappings()
        .all()
    )


def begin(tx: Connection, delivery_id: int, *, held_too: bool = False) -> bool:
    """An object is sent now: from now on its destination may have it, whether its answer is ever heard or not.

    Args:
        held_too: also while a person has to decide about its study.

    Returns:
        False where it is not to be sent any more: it does not wait, or a person has to decide about its study first.
    """
    wanted = (
        sa.select(result.c.id)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .where(result.c.id == delivery.c.result_id, result.c.state == "ready")
    )
    if not held_too:
        wanted = wanted.where(study.c.state != "held")
    mine = sa.and_(delivery.c.id == delivery_id, delivery.c.state == "waiting", wanted.exists())
    return tx.execute(sa.update(delivery).where(mine).values(unanswered=delivery.c.unanswered + 1)).rowcount > 0


def not_taken(tx: Connection, delivery_id: int) -> None:
    """The destination has not taken what was sent last; what it may have taken before, it may have still."""
    begun = sa.and_(delivery.c.id == delivery_id, delivery.c.unanswered > 0)
    tx.execute(sa.update(delivery).where(begun).values(unanswered=delivery.c.unanswered - 1))


def settle(
    tx: Connection, delivery_id: int, state: str, status: int | None, reason: str | None, *, perhaps: bool = False
) -> None:
    """An attempt to deliver one object came to an answer, or to none.

    A row that is not waiting any more keeps its state, but what was delivered is delivered, also when a newer result
    took its place on the way, or a person took it back or put it away. What was taken back says so still.

    Args:
        perhaps: nothing says whether the destination has taken it.
    """
    values: dict[str, object] = dict(status=status, reason=reason, attempts=delivery.c.attempts + 1, state=state)
    if state == "delivered":
        values |= dict(delivered=Clock(), unanswered=0)
    elif not perhaps:
        not_taken(tx, delivery_id)
    mine = delivery.c.id == delivery_id
    waits = sa.update(delivery).where(mine, delivery.c.state == "waiting").values(**values)
    if tx.execute(waits).rowcount or state != "delivered":
        return
    taken_back = delivery.c.state == "withdrawn"
    values["state"] = sa.case((taken_back, delivery.c.state), else_=state)
    values["reason"] = sa.case((taken_back, delivery.c.reason), else_=reason)
    gone = delivery.c.state.in_(["superseded", "withdrawn", "discarded"])
    tx.execute(sa.update(delivery).where(mine, gone).values(**values))


def sending(tx: Connection, input_set_id: int) -> set[str]:
    """The destinations to which results of an input set may be on their way at this moment."""
    mine = sa.and_(not_done.KIND == str(JobKind.DELIVER), job.c.input_set_id == input_set_id)
    subjects = tx.execute(sa.select(job.c.subject).where(not_done.RUNNING, mine)).scalars()
    return {one.rsplit("/", 1)[0] for one in subjects}


def may_be_there() -> sa.ColumnElement[bool]:
    """Of a delivery: its destination has taken it, or was sent it and nothing says that it has not."""
    return sa.or_(delivery.c.delivered.is_not(None), delivery.c.unanswered > 0)


def outdate(tx: Connection, input_set_id: int, destination: str) -> None:
    """The results that wait of an input set are not sent any more: newer images took its place. A rejection note is
    about what is there already, and goes."""
    reason = "newer images came before it was sent"
    _mark_waiting(tx, input_set_id, destination, result.c.kind != results.REJECTION, state="superseded", reason=reason)


def outcome(tx: Connection, input_set_id: int, destination: str) -> tuple[list[str], list[str]]:
    """Why what still waits does so, and why what is dead died; both empty when everything was delivered."""
    rows = tx.execute(
        sa.select(delivery.c.state, delivery.c.reason)
        .join(result, result.c.id == delivery.c.result_id)
        .where(
            result.c.input_set_id == input_set_id,
            result.c.state == "ready",
            delivery.c.destination == destination,
            delivery.c.state.in_(["waiting", "dead"]),
        )
        .order_by(delivery.c.id)
    ).all()
    return (
        [row.reason or "" for row in rows if row.state == "waiting"],
        [row.reason or "" for row in rows if row.state == "dead"],
    )


def _mark_waiting(
    tx: Connection, input_set_id: int, destination: str, *which: sa.ColumnElement[bool], **values: object
) -> None:
    mine = sa.select(result.c.id).where(result.c.input_set_id == input_set_id, *which)
    tx.execute(
        sa.update(delivery)
        .where(delivery.c.result_id.in_(mine), delivery.c.destination == destination, delivery.c.state == "waiting")
        .values(**values)
    )


def note(tx: Connection, input_set_id: int, destination: str, reason: str) -> None:
    """Say on the waiting rows why they wait."""
    _mark_waiting(tx, input_set_id, destination, reason=reason)


def bury(tx: Connection, input_set_id: int, destination: str, reason: str) -> None:
    """The attempts of a `deliver` job are used up: what it has not delivered is dead, until a person retries it.

    Args:
        reason: of those that have none of their own.
    """
    own = sa.func.coalesce(sa.func.nullif(delivery.c.reason, ASKED_AGAIN), reason)
    _mark_waiting(tx, input_set_id, destination, state="dead", reason=own)


def revive(tx: Connection, job_id: int) -> int:
    """`planimeter retry` of a `deliver` job: its dead deliveries wait again."""
    row = tx.execute(sa.select(job.c.subject, job.c.input_set_id).where(job.c.id == job_id)).one()
    destination = row.subject.rsplit("/", 1)[0]
    mine = sa.select(result.c.id).where(result.c.input_set_id == row.input_set_id, result.c.state == "ready")
    return tx.execute(
        sa.update(delivery)
        .where(delivery.c.result_id.in_(mine), delivery.c.destination == destination, delivery.c.state == "dead")
        .values(state="waiting", reason=ASKED_AGAIN)
    ).rowcount


def listing(tx: Connection, study_id: int | None = None, *, latest: int | None = None) -> Sequence[RowMapping]:
    """Deliveries, newest first, with their object and study.

    Args:
        latest: so many, and all others that are not done; None: all there ever were.
    """
    query = (
        sa.select(
            delivery, result.c.sop_uid, result.c.kind, result.c.options, study.c.study_uid, study.c.id.label("study_id")
        )
        .join(result, result.c.id == delivery.c.result_id)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .order_by(delivery.c.id.desc())
    )
    if study_id is not None:
        query = query.where(study.c.id == study_id)
    if latest is not None:
        newest = sa.select(delivery.c.id).order_by(delivery.c.id.desc()).limit(latest).subquery()
        undone = sa.select(delivery.c.id).where(not_done.UNDONE_DELIVERY)
        # no union: see `overview.jobs`
        query = query.where(delivery.c.id.in_(sa.union_all(sa.select(newest), undone)))
    return tx.execute(query).mappings().all()
