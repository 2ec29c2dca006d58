"""What `planimeter status` shows of each study, in few queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import not_done
from .arrivals import Kind
from .job_orders import CANCELLED
from .results import REJECTION
from .tables import attempt, delivery, input_set, instance, job, model_version, refusal, result, study

#: kinds that only say why there is none, or that there is none any more
NO_RESULT = ("NOTICE", REJECTION)


@dataclass(frozen=True)
class StudyOverview:
    """A study, counted."""

    row: RowMapping
    #: kind of object -> number of SOP instances
    instances: dict[str, int]
    #: (job kind, job state) -> number
    jobs: dict[tuple[str, str], int]
    #: delivery state -> number, of results that stand
    deliveries: dict[str, int]
    results: int
    #: "withdrawn" or "discarded" where a person decided so about the newest results, and nothing stands
    put_away: str
    #: what the self-check found of results that stand
    faults: list[str]
    #: code and sentence of what went wrong or was refused, newest last
    reasons: list[tuple[str, str]]


#: SQLite takes no longer lists
AT_ONCE = 5000


def latest(tx: Connection, most: int) -> list[int]:
    """Ids of the newest studies, and of all others of which something waits for a worker, a destination or a person."""
    of_result = result.join(input_set, input_set.c.id == result.c.input_set_id)
    unsent = of_result.join(delivery, delivery.c.result_id == result.c.id)
    parts = (
        sa.select(study.c.id).where(study.c.state.in_(["open", "held"])),
        sa.select(job.c.study_id).where(not_done.OPEN),
        sa.select(job.c.study_id).where(not_done.DEAD),
        sa.select(input_set.c.study_id).select_from(of_result).where(not_done.HELD_RESULT),
        sa.select(input_set.c.study_id).select_from(unsent).where(not_done.UNDONE_DELIVERY),
    )
    newest = tx.execute(sa.select(study.c.id).order_by(study.c.id.desc()).limit(most)).scalars()
    return sorted(
        {*newest, *(one for one in tx.execute(sa.union_all(*parts)).scalars() if one is not None)}, reverse=True
    )


def studies(tx: Connection, *, limit: int | None = None, ids: Sequence[int] | None = None) -> list[StudyOverview]:
    """All studies, the latest first; or those with these ids."""
    if ids is not None and len(ids) > AT_ONCE:
        return [one for n in range(0, len(ids), AT_ONCE) for one in studies(tx, ids=ids[n : n + AT_ONCE])]
    query = sa.select(study).order_by(study.c.id.desc()).limit(limit)
    rows = tx.execute(query if ids is None else query.where(study.c.id.in_(ids))).mappings().all()
    ids = [row["id"] for row in rows]
    first = instance.c.revision == 1  # every object has one
    instances = _counted(tx, instance.c.study_id, [instance.c.kind], sa.func.count(), ids, where=first)
    jobs = _counted(tx, job.c.study_id, [job.c.kind, job.c.state], sa.func.count(), ids)
    of_results = result.join(input_set, input_set.c.id == result.c.input_set_id)
    newer = input_set.alias("newer")
    standing = sa.and_(result.c.state.in_(["ready", "held"]), ~sa.exists().where(newer.c.supersedes == input_set.c.id))
    results = _counted(tx, input_set.c.study_id, [result.c.kind], sa.func.count(), ids, of_results, standing)
    deliveries = _counted(
        tx,
        input_set.c.study_id,
        [delivery.c.state],
        sa.func.count(),
        ids,
        of_results.join(delivery, delivery.c.result_id == result.c.id),
        standing,
    )
    reasons = _reasons(tx, ids)
    faults = _faults(tx, ids, of_results, standing)
    put_away = _put_away(tx, ids, of_results)
    return [
        StudyOverview(
            row=row,
            instances={kind: n for (kind,), n in instances.get(row["id"], {}).items()},
            jobs={(kind, state): n for (kind, state), n in jobs.get(row["id"], {}).items()},
            deliveries={state: n for (state,), n in deliveries.get(row["id"], {}).items()},
            results=sum(n for (kind,), n in results.get(row["id"], {}).items() if kind not in NO_RESULT),
            put_away=put_away.get(row["id"], ""),
            faults=faults.get(row["id"], []),
            reasons=reasons.get(row["id"], []),
        )
        for row in rows
    ]


def _counted(
    tx: Connection,
    study_column: sa.Column[int],
    by: list[sa.Column[str]],
    number: sa.ColumnElement[int],
    ids: list[int],
    source: sa.FromClause | None = None,
    where: sa.ColumnElement[bool] | None = None,
) -> dict[int, dict[tuple[str, ...], int]]:
    query = sa.select(study_column, *by, number).where(study_column.in_(ids)).group_by(study_column, *by)
    if source is not None:
        query = query.select_from(source)
    if where is not None:
        query = query.where(where)
    found: dict[int, dict[tuple[str, ...], int]] = {}
    for row in tx.execute(query):
        study_id, *key, count = tuple(row)
        found.setdefault(int(study_id), {})[tuple(str(part) for part in key)] = int(count)
    return found


def _faults(
    tx: Connection, ids: list[int], of_results: sa.FromClause, standing: sa.ColumnElement[bool]
) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    query = sa.select(input_set.c.study_id, result.c.reason).select_from(of_results).distinct()
    for row in tx.execute(query.where(standing, result.c.state == "held", input_set.c.study_id.in_(ids))):
        found.setdefault(row.study_id, []).append(row.reason or "")
    return found


def _put_away(tx: Connection, ids: list[int], of_results: sa.FromClause) -> dict[int, str]:
    query = sa.select(input_set.c.study_id, result.c.state).select_from(of_results).order_by(result.c.id)
    states: dict[int, list[str]] = {}
    for row in tx.execute(query.where(result.c.kind.not_in(NO_RESULT), input_set.c.study_id.in_(ids))):
        states.setdefault(row.study_id, []).append(row.state)
    gone = ("withdrawn", "discarded")
    return {study_id: some[-1] for study_id, some in states.items() if some[-1] in gone and "ready" not in some}


def _reasons(tx: Connection, ids: list[int]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    for row in tx.execute(
        sa.select(job.c.study_id, job.c.code, job.c.reason)
        .where(
            job.c.study_id.in_(ids),
            job.c.reason.is_not(None),
            sa.or_(job.c.state.in_(["waiting", "refused", "dead"]), job.c.code == CANCELLED),
        )
        .order_by(job.c.id)
    ):
        found.setdefault(row.study_id, []).append((row.code or "", row.reason))
    for row in tx.execute(
        sa.select(refusal.c.study_id, refusal.c.code, refusal.c.sentence)
        .where(refusal.c.study_id.in_(ids), refusal.c.of == "instance")
        .order_by(refusal.c.id)
    ):
        found.setdefault(row.study_id, []).append((row.code, row.sentence))
    return found


def kinds(tx: Connection, study_ids: Sequence[int]) -> dict[int, set[str]]:
    """The SOP classes of the objects of a study that are no images."""
    found: dict[int, set[str]] = {}
    for row in tx.execute(
        sa.select(instance.c.study_id, instance.c.sop_class)
        .where(instance.c.study_id.in_(list(study_ids)), instance.c.kind != Kind.IMAGE)
        .distinct()
    ):
        found.setdefault(row.study_id, set()).add(row.sop_class)
    return found


def jobs(tx: Connection, *, latest: int | None = None) -> Sequence[RowMapping]:
    """Jobs, newest first, with their study's UID, their model and the seconds of their last attempt that kept any.

    Args:
        latest: so many, and all others that are open or dead; None: all there ever were.
    """
    last = (
        sa.select(attempt.c.seconds)
        .where(attempt.c.job_id == job.c.id, attempt.c.outcome.is_not(None))
        .order_by(attempt.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(
            job,
            study.c.study_uid,
            input_set.c.network,
            model_version.c.version.label("model_version"),
            last.label("seconds"),
        )
        .select_from(job)
        .outerjoin(study, study.c.id == job.c.study_id)
        .outerjoin(input_set, input_set.c.id == job.c.input_set_id)
        .outerjoin(model_version, model_version.c.id == job.c.model_version_id)
        .order_by(job.c.id.desc())
    )
    if latest is not None:
        newest = sa.select(job.c.id).order_by(job.c.id.desc()).limit(latest).subquery()
        # no union: SQLite would sort the parts, and read the whole table in the order of its key for that
        some = sa.union_all(
            sa.select(newest), sa.select(job.c.id).where(not_done.OPEN), sa.select(job.c.id).where(not_done.DEAD)
        )
        query = query.where(job.c.id.in_(some))
    return tx.execute(query).mappings().all()


def attempts(tx: Connection, job_id: int) -> Sequence[RowMapping]:
    """The attempts of a job, oldest first."""
    return tx.execute(sa.select(attempt).where(attempt.c.job_id == job_id).order_by(attempt.c.id)).mappings().all()
