"""Storage commitment: which destination was asked to take responsibility for what, and what it said (PS3.4 Annex J).

transaction   asked   -> answered     the destination reported on it, or a query took the report's place
              asked   -> expired      no report came before the deadline, or the request was refused
              expired -> answered     a late report still counts
delivery      delivered -> committed  it keeps the object; also from waiting or dead, when the report comes late
              delivered -> waiting    it does not have the object: sent again, once
              delivered -> dead       it does not have it again: a person decides; `planimeter retry` sends it anew
              delivered -> superseded it does not have it, and nobody needs it there any more

`delivery.transaction_uid` is the transaction whose answer settled that delivery last; empty until there was one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import deliveries, job_orders, jobs
from .database import Clock
from .job_states import JobKind
from .tables import commitment, delivery, input_set, job, result, study

#: after the deliveries, before any route's segment jobs: a request may wait some seconds for its answer
PRIORITY = deliveries.PRIORITY + 5


def order(tx: Connection, destination: str, input_set_id: int, study_id: int | None, max_attempts: int) -> None:
    """Ask for the `commit` job of an input set and a destination, where it owes an answer for anything."""
    if owed(tx, input_set_id, destination):
        jobs.enqueue(
            tx,
            JobKind.COMMIT,
            deliveries.subject(destination, input_set_id),
            max_attempts=max_attempts,
            priority=PRIORITY,
            study_id=study_id,
            input_set_id=input_set_id,
        )


def owed(tx: Connection, input_set_id: int, destination: str) -> Sequence[RowMapping]:
    """What a destination has and has not taken responsibility for; `asked`: whether an open transaction is about it.

    An object that was sent again after a transaction was asked is not the one that this transaction is about.
    """
    about = sa.exists().where(
        commitment.c.input_set_id == input_set_id,
        commitment.c.destination == destination,
        commitment.c.state == "asked",
        commitment.c.deadline > Clock(),
        commitment.c.asked >= delivery.c.delivered,
    )
    return (
        tx.execute(
            sa.select(
                delivery.c.id,
                delivery.c.reason,
                result.c.sop_uid,
                result.c.sop_class,
                result.c.series_uid,
                study.c.study_uid,
                about.label("asked"),
            )
            .join(result, result.c.id == delivery.c.result_id)
            .join(input_set, input_set.c.id == result.c.input_set_id)
            .join(study, study.c.id == input_set.c.study_id)
            .where(
                result.c.input_set_id == input_set_id,
                result.c.state == "ready",
                delivery.c.destination == destination,
                delivery.c.state == "delivered",
                delivery.c.rejected_by.is_(None),
            )
            .order_by(delivery.c.id)
        )
        .mappings()
        .all()
    )


def ask(tx: Connection, transaction_uid: str, destination: str, input_set_id: int, seconds: float) -> None:
    """Write a transaction, before its request is sent: whatever happens then, its answer is known when it comes."""
    tx.execute(
        sa.insert(commitment).values(
            transaction_uid=transaction_uid,
            destination=destination,
            input_set_id=input_set_id,
            state="asked",
            asked=Clock(),
            deadline=Clock() + seconds,
        )
    )


def expire(tx: Connection, input_set_id: int, destination: str) -> None:
    """Give up waiting for what was not answered in time."""
    mine = sa.and_(commitment.c.input_set_id == input_set_id, commitment.c.destination == destination)
    late = sa.and_(commitment.c.state == "asked", commitment.c.deadline <= Clock())
    tx.execute(sa.update(commitment).where(mine, late).values(state="expired"))


def refuse(tx: Connection, transaction_uid: str) -> None:
    """The request itself was refused: no report is waited for."""
    mine = sa.and_(commitment.c.transaction_uid == transaction_uid, commitment.c.state == "asked")
    tx.execute(sa.update(commitment).where(mine).values(state="expired"))


def tries(tx: Connection, input_set_id: int, destination: str, since: float) -> int:
    """How many transactions were asked since a time."""
    mine = sa.and_(commitment.c.input_set_id == input_set_id, commitment.c.destination == destination)
    return int(tx.execute(sa.select(sa.func.count()).where(mine, commitment.c.asked >= since)).scalar_one())


def pending(tx: Connection, input_set_id: int, destination: str) -> tuple[float, float] | None:
    """How many seconds the newest open transaction has waited for its answer, and how many it still will."""
    row = tx.execute(
        sa.select((Clock() - commitment.c.asked).label("waited"), (commitment.c.deadline - Clock()).label("left"))
        .where(
            commitment.c.input_set_id == input_set_id,
            commitment.c.destination == destination,
            commitment.c.state == "asked",
            commitment.c.deadline > Clock(),
        )
        .order_by(commitment.c.asked.desc())
        .limit(1)
    ).one_or_none()
    return (float(row.waited), float(row.left)) if row else None


def is_answered(tx: Connection, transaction_uid: str) -> bool:
    """Whether the report on a transaction has come."""
    found = sa.select(commitment.c.state).where(commitment.c.transaction_uid == transaction_uid)
    return tx.execute(found).scalar() == "answered"


def settle(
    tx: Connection,
    transaction_uid: str,
    of: Collection[str],
    committed: Collection[str],
    failed: Mapping[str, str],
    how: str = "",
) -> bool:
    """Take in an answer. The same answer again changes nothing.

    Args:
        of: the destinations that the answer may speak for.
        committed: SOP Instance UIDs that it keeps.
        failed: SOP Instance UIDs that it does not have -> why; one that is in both is taken for failed.
        how: how that is known, where the destination did not say it itself.

    Returns:
        False where there is no such transaction of these destinations.
    """
    mine = sa.and_(commitment.c.transaction_uid == transaction_uid, commitment.c.destination.in_(list(of)))
    asked = tx.execute(sa.select(commitment).where(mine).with_for_update()).mappings().one_or_none()
    if asked is None:
        return False
    answered = sa.func.coalesce(commitment.c.answered, Clock())
    tx.execute(sa.update(commitment).where(mine).values(state="answered", answered=answered))
    again = False
    for row in _named(tx, asked, {*committed, *failed}):
        if row["sop_uid"] not in failed:
            if row["state"] in ("delivered", "waiting", "dead"):
                reason = joined(row["reason"], how) if row["state"] == "delivered" else how or None
                _change(tx, row["id"], "committed", transaction_uid, reason, committed=Clock())
        elif row["state"] == "delivered" and row["delivered"] <= asked["asked"]:
            state, reason = _after_failure(row, failed[row["sop_uid"]])
            _change(tx, row["id"], state, transaction_uid, reason)
            again = again or state == "waiting"
    if again:
        _send_again(tx, asked["destination"], asked["input_set_id"])
    job_orders.hurry(tx, JobKind.COMMIT, deliveries.subject(asked["destination"], asked["input_set_id"]))
    return True


def _named(tx: Connection, asked: RowMapping, sop_uids: Collection[str]) -> list[RowMapping]:
    """The deliveries of a transaction that an answer is about, locked. Those never delivered are none of them."""
    rows = tx.execute(
        sa.select(delivery, result.c.sop_uid, result.c.state.label("result_state"))
        .join(result, result.c.id == delivery.c.result_id)
        .where(
            result.c.input_set_id == asked["input_set_id"],
            delivery.c.destination == asked["destination"],
            delivery.c.delivered.is_not(None),
        )
        .order_by(delivery.c.id)
        .with_for_update(of=delivery)
    ).mappings()
    return [row for row in rows if row["sop_uid"] in sop_uids]


def _after_failure(row: RowMapping, sentence: str) -> tuple[str, str]:
    if row["result_state"] != "ready":
        return "superseded", f"{sentence}; it is not needed there any more"
    if row["transaction_uid"] is None:
        return "waiting", f"{sentence}; it is sent again"
    return "dead", f"{sentence}, though it was sent again"


def _change(
    tx: Connection, delivery_id: int, state: str, transaction_uid: str, reason: str | None, **values: object
) -> None:
    new = dict(state=state, transaction_uid=transaction_uid, reason=reason, **values)
    tx.execute(sa.update(delivery).where(delivery.c.id == delivery_id).values(**new))


def _send_again(tx: Connection, destination: str, input_set_id: int) -> None:
    """Open the `deliver` job again that had sent it, as often as it may be tried then."""
    subject = deliveries.subject(destination, input_set_id)
    sent = sa.select(job.c.study_id, job.c.max_attempts).where(job.c.kind == JobKind.DELIVER, job.c.subject == subject)
    row = tx.execute(sent).one()
    deliveries.ask(tx, destination, input_set_id, row.study_id, row.max_attempts)


def note(tx: Connection, rows: Iterable[RowMapping], sentence: str) -> None:
    """Say on deliveries why nobody knows whether they are kept."""
    for row in rows:
        reason = joined(row["reason"], sentence)
        tx.execute(sa.update(delivery).where(delivery.c.id == row["id"]).values(reason=reason))


def joined(reason: str | None, sentence: str) -> str | None:
    """What is said of a delivery already, and one thing more; said once."""
    if sentence and sentence not in (reason or ""):
        return f"{reason}; {sentence}" if reason else sentence
    return reason
