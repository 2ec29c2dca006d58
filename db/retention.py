"""What may go, and why the rest stays. What goes is given up in one transaction with the files that it had (`doomed`).

Everything here is asked twice: for the whole table, to plan, and for one study under its lock, when it is done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from . import doomed
from .arrivals import Kind
from .database import Clock
from .job_states import OPEN, JobKind, JobState
from .results import REJECTION
from .tables import (
    asked_export,
    attempt,
    data_set_member,
    delivery,
    input_set,
    instance,
    job,
    label,
    refusal,
    result,
    route_decision,
    study,
)

#: a few kilobytes each, and what a destination is told of a withdrawal is made from them
KEPT_RESULTS = ("SR", "NOTICE", REJECTION)
#: labels from which nothing is learnt, now or later
IDLE_LABELS = ("rejected", "accepted")
COMING = "images of it still come, or a person has to decide about it"
BUSY = "a job of it waits, runs, or ended dead"
FETCHED = "it is being fetched"
EXPORTED = "an export of it is still to be made"
HELD = "a result of it is held"
UNDELIVERED = "a result of it is still to be delivered"
UNCOMMITTED = "a destination has not taken over a result of it yet"
TAUGHT = "a label or a data set needs it"


def blocked(tx: Connection, committing: Collection[str], study_id: int | None = None) -> dict[int, str]:
    """The studies of which nothing may go, each with the first reason.

    Args:
        committing: destinations that are asked for storage commitment.
        study_id: of this study alone.
    """
    found: dict[int, str] = {}
    for because, query, column in _reasons(committing):
        mine = query.where(column.is_not(None)) if study_id is None else query.where(column == study_id)
        for (blocked_id,) in tx.execute(mine):
            found.setdefault(int(blocked_id), because)
    for blocked_id in _fetched(tx, study_id):
        found.setdefault(blocked_id, FETCHED)
    return found


def _reasons(committing: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    yield COMING, sa.select(study.c.id).where(study.c.state.in_(["open", "held"])), study.c.id
    of_job = sa.func.coalesce(job.c.study_id, input_set.c.study_id)
    jobs = sa.select(of_job).select_from(job).outerjoin(input_set, input_set.c.id == job.c.input_set_id).distinct()
    yield BUSY, jobs.where(job.c.state.in_([*OPEN, JobState.DEAD])), of_job
    is_read = sa.and_(job.c.subject == label.c.source_sha256, job.c.kind == JobKind.LABEL, job.c.state.in_(OPEN))
    for column in (label.c.study_id, input_set.c.study_id):  # of the object, and of the images that it outlines
        of_label = sa.select(column).select_from(label).join(job, is_read)
        yield BUSY, of_label.outerjoin(input_set, input_set.c.id == label.c.input_set_id).distinct(), column
    yield EXPORTED, sa.select(asked_export.c.study_id).where(asked_export.c.ended.is_(None)), asked_export.c.study_id
    of_results = sa.select(input_set.c.study_id).join(result, result.c.input_set_id == input_set.c.id).distinct()
    yield HELD, of_results.where(result.c.state == "held"), input_set.c.study_id
    sent = of_results.join(delivery, delivery.c.result_id == result.c.id)
    yield UNDELIVERED, sent.where(delivery.c.state.in_(["waiting", "held", "dead"])), input_set.c.study_id
    owed = sa.and_(delivery.c.state == "delivered", delivery.c.destination.in_(list(committing)))
    stands = sa.and_(owed, result.c.state == "ready", delivery.c.rejected_by.is_(None))
    yield UNCOMMITTED, sent.where(stands), input_set.c.study_id
    frozen = sa.select(data_set_member.c.label_id)
    teaches = sa.or_(label.c.state.not_in(IDLE_LABELS), label.c.id.in_(frozen))
    yield TAUGHT, sa.select(label.c.study_id).where(teaches).distinct(), label.c.study_id
    of_images = sa.select(input_set.c.study_id).join(label, label.c.input_set_id == input_set.c.id).distinct()
    yield TAUGHT, of_images.where(teaches), input_set.c.study_id


def _fetched(tx: Connection, study_id: int | None) -> list[int]:
    asked = sa.select(job.c.subject).where(job.c.kind == JobKind.FETCH, job.c.state.in_(OPEN))
    uids = [subject.rsplit("/", 1)[-1] for subject in tx.execute(asked).scalars()]
    found = sa.select(study.c.id).where(study.c.study_uid.in_(uids))
    return list(tx.execute(found if study_id is None else found.where(study.c.id == study_id)).scalars())


def lock(tx: Connection, study_id: int) -> None:
    """Nothing comes to a study, and nobody asks for it, until this transaction ends."""
    tx.execute(sa.select(study.c.id).where(study.c.id == study_id).with_for_update())


# --------------------------------------------------------------------- originals


def _originals() -> sa.ColumnElement[bool]:
    """What was received of a study, but what labels are read from."""
    return sa.and_(instance.c.purged.is_(None), instance.c.path.not_in(sa.select(label.c.source_path)))


def originals(tx: Connection, older_seconds: float) -> Sequence[Row[Any]]:
    """Studies that are done and of which nothing came for so long: study_id, study_uid, files, bytes, since."""
    last = sa.func.max(instance.c.arrived)
    quiet = sa.and_(last < Clock() - older_seconds, sa.func.coalesce(study.c.closed, 0.0) < Clock() - older_seconds)
    return tx.execute(
        sa.select(
            study.c.id.label("study_id"),
            study.c.study_uid,
            sa.func.count().label("files"),
            sa.func.sum(instance.c.size).label("bytes"),
            last.label("since"),
        )
        .join(instance, instance.c.study_id == study.c.id)
        .where(_originals())
        .group_by(study.c.id, study.c.study_uid, study.c.closed)
        .having(quiet)
        .order_by(last)
    ).all()


def taken_over(tx: Connection) -> set[int]:
    """The studies with results, of which every destination that has them has taken over all that stand."""
    of_results = (
        sa.select(input_set.c.study_id)
        .join(result, result.c.input_set_id == input_set.c.id)
        .join(delivery, delivery.c.result_id == result.c.id)
        .where(result.c.state == "ready")
        .distinct()
    )
    committed = set(tx.execute(of_results.where(delivery.c.state == "committed")).scalars())
    others = of_results.where(delivery.c.state.in_(["waiting", "held", "dead", "delivered"]))
    return committed - set(tx.execute(others.where(delivery.c.rejected_by.is_(None))).scalars())


def give_up_originals(tx: Connection, study_id: int, older_seconds: float = 0) -> tuple[int, int]:
    """The bytes of what was received of a study are to go; how many files and bytes that are.

    Args:
        older_seconds: none goes where one of them is younger: it came back since they were looked at.
    """
    going = sa.and_(instance.c.study_id == study_id, _originals())
    newest = tx.execute(sa.select(sa.func.max(instance.c.arrived) > Clock() - older_seconds).where(going)).scalar()
    if newest is None or newest:
        return 0, 0
    found = _give_up_instances(tx, going)
    tx.execute(sa.update(study).where(study.c.id == study_id).values(purged=Clock()))
    return found


def _give_up_instances(tx: Connection, going: sa.ColumnElement[bool]) -> tuple[int, int]:
    files, size = tx.execute(sa.select(sa.func.count(), sa.func.sum(instance.c.size)).where(going)).one()
    doomed.add_from(tx, sa.select(instance.c.path).where(going))
    tx.execute(sa.update(instance).where(going).values(purged=Clock()))
    return int(files), int(size or 0)


# ----------------------------------------------------------------------- results


def _bytes_of_results() -> sa.ColumnElement[bool]:
    return sa.and_(result.c.path.is_not(None), result.c.kind.not_in(KEPT_RESULTS))


def results(tx: Connection, older_seconds: float) -> Sequence[Row[Any]]:
    """Studies whose images are gone and that got no result for so long; columns as of `originals`."""
    last = sa.func.max(result.c.created)
    return tx.execute(
        sa.select(
            study.c.id.label("study_id"),
            study.c.study_uid,
            sa.func.count().label("files"),
            sa.func.sum(result.c.size).label("bytes"),
            last.label("since"),
        )
        .join(input_set, input_set.c.study_id == study.c.id)
        .join(result, result.c.input_set_id == input_set.c.id)
        .where(study.c.purged.is_not(None), _bytes_of_results())
        .group_by(study.c.id, study.c.study_uid)
        .having(last < Clock() - older_seconds)
        .order_by(last)
    ).all()


def give_up_results(tx: Connection, study_id: int) -> tuple[int, int]:
    """The bytes of a study's results are to go, but of its reports; the rows stay, their times with them."""
    mine = sa.select(input_set.c.id).where(input_set.c.study_id == study_id)
    going = sa.and_(result.c.input_set_id.in_(mine), _bytes_of_results())
    files, size = tx.execute(sa.select(sa.func.count(), sa.func.sum(result.c.size)).where(going)).one()
    doomed.add_from(tx, sa.select(result.c.path).where(going))
    tx.execute(sa.update(result).where(going).values(path=None))
    return int(files), int(size or 0)


# ------------------------------------------------------------- labels, revisions


def _idle_labels(older_seconds: float) -> sa.ColumnElement[bool]:
    busy = sa.select(label.c.source_path).where(
        sa.or_(label.c.state.not_in(IDLE_LABELS), label.c.created >= Clock() - older_seconds)
    )
    frozen = sa.select(label.c.source_path).join(data_set_member, data_set_member.c.label_id == label.c.id)
    known = sa.select(label.c.source_path)
    path = instance.c.path
    return sa.and_(instance.c.purged.is_(None), path.in_(known), path.not_in(busy), path.not_in(frozen))


def _revisions(older_seconds: float) -> sa.ColumnElement[bool]:
    newer = instance.alias("newer")
    replaced = sa.exists().where(newer.c.sop_uid == instance.c.sop_uid, newer.c.revision > instance.c.revision)
    old = sa.and_(_originals(), instance.c.kind == Kind.IMAGE, instance.c.arrived < Clock() - older_seconds)
    return sa.and_(old, instance.c.image_identity.is_not(None), replaced)


def instances(tx: Connection, what: str, older_seconds: float) -> Sequence[Row[Any]]:
    """Studies with objects of a kind that may go; columns as of `originals`.

    Args:
        what: "labels" or "revisions".
    """
    last = sa.func.max(instance.c.arrived)
    return tx.execute(
        sa.select(
            study.c.id.label("study_id"),
            study.c.study_uid,
            sa.func.count().label("files"),
            sa.func.sum(instance.c.size).label("bytes"),
            last.label("since"),
        )
        .join(instance, instance.c.study_id == study.c.id)
        .where(_which(what, older_seconds))
        .group_by(study.c.id, study.c.study_uid)
        .order_by(last)
    ).all()


def give_up_instances(tx: Connection, study_id: int, what: str, older_seconds: float) -> tuple[int, int]:
    """The bytes of these objects of a study are to go."""
    return _give_up_instances(tx, sa.and_(instance.c.study_id == study_id, _which(what, older_seconds)))


def _which(what: str, older_seconds: float) -> sa.ColumnElement[bool]:
    return _idle_labels(older_seconds) if what == "labels" else _revisions(older_seconds)


# ----------------------------------------------------------------------- history


def _old_rows(older_seconds: float) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    before = Clock() - older_seconds
    ended = sa.select(job.c.id).where(job.c.ended < before, job.c.state != JobState.DEAD)
    newest = sa.select(sa.func.max(route_decision.c.id)).group_by(route_decision.c.series_id)
    return [
        (attempt, attempt.c.job_id.in_(ended)),
        (route_decision, sa.and_(route_decision.c.decided < before, route_decision.c.id.not_in(newest))),
        (refusal, sa.and_(refusal.c.at < before, refusal.c.of == "instance")),
    ]


def history(tx: Connection, older_seconds: float) -> dict[str, int]:
    """Table -> rows that only tell what happened so long ago."""
    counted = [
        (table.name, tx.execute(sa.select(sa.func.count()).select_from(table).where(old)).scalar_one())
        for table, old in _old_rows(older_seconds)
    ]
    return {name: int(count) for name, count in counted if count}


def forget(tx: Connection, older_seconds: float) -> dict[str, int]:
    """Delete them; how many there were."""
    gone = [(table.name, tx.execute(sa.delete(table).where(old)).rowcount) for table, old in _old_rows(older_seconds)]
    return {name: int(count) for name, count in gone if count}


# ------------------------------------------------------------------------- usage


def usage(tx: Connection) -> dict[str, tuple[int, int]]:
    """What the rows know of the disk: kind -> (files, bytes); and how many studies have no images any more."""
    found: dict[str, tuple[int, int]] = {}
    kept = sa.select(instance.c.kind, sa.func.count(), sa.func.sum(instance.c.size)).where(instance.c.purged.is_(None))
    for kind, files, size in tx.execute(kept.group_by(instance.c.kind)):
        found[str(kind)] = (int(files), int(size or 0))
    of_results = sa.select(sa.func.count(), sa.func.sum(result.c.size)).where(result.c.path.is_not(None))
    files, size = tx.execute(of_results).one()
    found["results"] = (int(files), int(size or 0))
    gone = sa.select(sa.func.count()).select_from(study).where(study.c.purged.is_not(None))
    found["purged studies"] = (int(tx.execute(gone).scalar_one()), 0)
    return found
