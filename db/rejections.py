"""What destinations have to be told not to use any more: results that were sent, and replaced or withdrawn since."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import deliveries, input_sets, not_done
from .database import Clock
from .job_states import JobKind
from .results import REJECTION, NewResult
from .tables import delivery, input_set, job, result


def due(tx: Connection, input_set_id: int, destination: str, *, replaced: bool) -> Sequence[RowMapping]:
    """What a destination has, or may have, of an input set and of those before it, and should not use any more.

    What another worker may be sending of those before it is that worker's: a note could come before its object.

    Args:
        replaced: whether it wants to be told of replaced results too; it always is of those that a person withdrew, or
            discarded while they were sent.
    """
    return (
        tx.execute(
            sa.select(result, delivery.c.id.label("delivery_id"), delivery.c.delivered.is_not(None).label("taken"))
            .join(delivery, delivery.c.result_id == result.c.id)
            .where(untold(destination, replaced=replaced))
            .where(sa.or_(delivery.c.delivered.is_not(None), result.c.input_set_id == input_set_id, ~_on_its_way()))
            .where(result.c.input_set_id.in_(input_sets.line(input_set_id)))
            .order_by(result.c.id)
        )
        .mappings()
        .all()
    )


def under_way(tx: Connection, input_set_id: int, destination: str, *, replaced: bool) -> list[int]:
    """The input sets before this one of which another worker may be sending such results at this moment.

    Args:
        replaced: as of `due`.
    """
    rows = tx.execute(
        sa.select(result.c.input_set_id)
        .join(delivery, delivery.c.result_id == result.c.id)
        .where(untold(destination, replaced=replaced), delivery.c.delivered.is_(None), _on_its_way())
        .where(result.c.input_set_id != input_set_id, result.c.input_set_id.in_(input_sets.line(input_set_id)))
        .distinct()
    )
    return list(rows.scalars())


def _on_its_way() -> sa.ColumnElement[bool]:
    """Of a delivery and its result: whether somebody works on the job that sends it."""
    subject = delivery.c.destination.concat("/").concat(sa.cast(result.c.input_set_id, sa.Text))
    sends = sa.and_(not_done.KIND == str(JobKind.DELIVER), job.c.subject == subject)
    return sa.exists().where(not_done.RUNNING, job.c.lease_until > Clock(), sends)


def untold(destination: str | None, *, replaced: bool) -> sa.ColumnElement[bool]:
    """Of a delivery and its result: a destination, or any, may have it, should not use it, and was not told so."""
    states = ["withdrawn", "discarded"] + (["superseded"] if replaced else [])
    sent = sa.and_(deliveries.may_be_there(), delivery.c.rejected_by.is_(None), result.c.kind != REJECTION)
    here = delivery.c.destination == destination if destination is not None else sa.true()
    return sa.and_(sent, here, result.c.state.in_(states))


def holders(tx: Connection, input_set_id: int) -> list[str]:
    """The destinations that may hold replaced or withdrawn results of an input set, or of those before it, untold."""
    rows = tx.execute(
        sa.select(delivery.c.destination)
        .join(result, result.c.id == delivery.c.result_id)
        .where(untold(None, replaced=True), result.c.input_set_id.in_(input_sets.line(input_set_id)))
        .distinct()
        .order_by(delivery.c.destination)
    )
    return [row.destination for row in rows]


def any_file(tx: Connection, input_set_id: int) -> str | None:
    """The file of any result of the same study, or None where none is kept."""
    of_study = sa.select(input_set.c.study_id).where(input_set.c.id == input_set_id).scalar_subquery()
    found = (
        sa.select(result.c.path)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .where(input_set.c.study_id == of_study, result.c.path.is_not(None))
    )
    return tx.execute(found.order_by(result.c.id.desc()).limit(1)).scalar()


def record(
    tx: Connection, input_set_id: int, destination: str, note: NewResult, rejected: Sequence[RowMapping]
) -> bool:
    """Write a rejection note, queue it, and mark the deliveries that it is about; False where it was there already."""
    found = tx.execute(sa.select(result.c.id).where(result.c.sop_uid == note.sop_uid)).scalar()
    fresh = found is None
    if fresh:
        found = tx.execute(
            sa.insert(result)
            .values(
                input_set_id=input_set_id,
                model_version_id=rejected[0]["model_version_id"],
                kind=REJECTION,
                options=note.options,
                sop_uid=note.sop_uid,
                sop_class=note.sop_class,
                series_uid=note.series_uid,
                sha256=note.sha256,
                path=note.path,
                size=note.size,
                content_time=note.content_time,
                run=rejected[0]["run"],
                revision=rejected[0]["revision"],
                state="ready",
                created=Clock(),
            )
            .returning(result.c.id)
        ).scalar_one()
        tx.execute(
            sa.insert(delivery).values(result_id=found, destination=destination, state="waiting", created=Clock())
        )
    about = [row["delivery_id"] for row in rejected]
    tx.execute(sa.update(delivery).where(delivery.c.id.in_(about)).values(rejected_by=found))
    return fresh
