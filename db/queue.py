"""The studies by what becomes of them now: counted, filtered and a page of them at a time, in milliseconds.

Deriving the state of every study of months would take long, and is not done: `derived` looks at the rows that are not
done, and all other studies are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import not_done
from .database import Row
from .deadlines import WORK
from .derived import STATES, undone
from .tables import delivery, dispatch, input_set, instance, job, patient, result, series, study

__all__ = [
    "MOST_COUNTED",
    "STATES",
    "Wanted",
    "among",
    "counts",
    "facts",
    "modalities",
    "open_jobs",
    "page",
    "search",
    "sent",
    "urgent",
]

#: of what is done
MOST_COUNTED = 10_000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which studies: all of these hold; empty asks nothing.

    Attributes:
        ids: of studies that were searched for; None: nothing was.
    """

    route: str = ""
    network: str = ""
    destination: str = ""
    ids: tuple[int, ...] | None = None


def _filtered(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    of_study = input_set.c.study_id == study.c.id
    sets = sa.select(sa.literal(1)).select_from(input_set).where(of_study)
    sent = sa.select(sa.literal(1)).select_from(input_set.join(dispatch)).where(of_study)
    made: list[sa.ColumnElement[bool]] = []
    if wanted.network:
        made.append(sets.where(input_set.c.network == wanted.network).correlate(study).exists())
    if wanted.route:
        made.append(sent.where(dispatch.c.route == wanted.route).correlate(study).exists())
    if wanted.destination:
        made.append(sent.where(dispatch.c.destination == wanted.destination).correlate(study).exists())
    if wanted.ids is not None:
        made.append(study.c.id.in_(wanted.ids))
    return made


def counts(tx: Connection, wanted: Wanted, most: int = MOST_COUNTED) -> dict[str, int]:
    """State -> how many studies; every state is there.

    Args:
        most: what is done is counted up to so many: all that was ever done would take the longer the older a node is.
    """
    which, states = _filtered(wanted), undone()
    query = sa.select(states.c.now, sa.func.count()).group_by(states.c.now)
    if which:
        query = query.join(study, study.c.id == states.c.study_id).where(*which)
    found = {str(state): int(count) for state, count in tx.execute(query)}
    others = sum(found.values()) - found.get("done", 0)
    some = sa.select(study.c.id).where(*which).limit(others + most).subquery()
    found["done"] = int(tx.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()) - others
    return {state: found.get(state, 0) for state in STATES}


def page(
    tx: Connection, wanted: Wanted, state: str, limit: int, *, before: int | None = None, after: int | None = None
) -> list[int]:
    """Ids of studies, the latest first: those below `before`, or the next ones above `after`, or the newest."""
    query = sa.select(study.c.id).where(*_filtered(wanted))
    if state:
        states = undone()
        others = sa.select(states.c.study_id).where(states.c.now != "done")
        same = sa.select(states.c.study_id).where(states.c.now == state)
        query = query.where(study.c.id.not_in(others) if state == "done" else study.c.id.in_(same))
    if after is not None:
        found = tx.execute(query.where(study.c.id > after).order_by(study.c.id).limit(limit)).scalars().all()
        return list(found)[::-1]
    if before is not None:
        query = query.where(study.c.id < before)
    return list(tx.execute(query.order_by(study.c.id.desc()).limit(limit)).scalars())


def urgent(tx: Connection, wanted: Wanted, limit: int) -> list[tuple[int, float]]:
    """The studies of which not all is delivered that has a deadline, the most urgent first: id, and the deadline."""
    first = sa.func.min(input_set.c.deadline)
    open_sets = sa.select(job.c.input_set_id).where(not_done.OPEN, not_done.KIND.in_(WORK))
    newer = input_set.alias("newer")
    superseded = sa.exists().where(newer.c.supersedes == input_set.c.id)
    query = sa.select(input_set.c.study_id, first).where(
        input_set.c.deadline.is_not(None), input_set.c.id.in_(open_sets), ~superseded
    )
    if which := _filtered(wanted):
        query = query.where(input_set.c.study_id.in_(sa.select(study.c.id).where(*which)))
    found = query.group_by(input_set.c.study_id).order_by(first, input_set.c.study_id).limit(limit)
    return [(row[0], float(row[1])) for row in tx.execute(found)]


def among(tx: Connection, wanted: Wanted, ids: Sequence[int]) -> set[int]:
    """Which of these studies are wanted."""
    return set(tx.execute(sa.select(study.c.id).where(study.c.id.in_(ids), *_filtered(wanted))).scalars())


def search(tx: Connection, text: str, limit: int) -> list[int]:
    """Ids of the studies that an accession number, a UID (of a study its beginning too) or a PatientID names."""
    found: set[int] = set()
    uid = study.c.study_uid
    for query in (
        sa.select(study.c.id).where(study.c.accession == text),
        sa.select(study.c.id).where(uid.startswith(text, autoescape=True) if len(text) > 7 else uid == text),
        sa.select(instance.c.study_id).where(instance.c.sop_uid == text),
        sa.select(input_set.c.study_id)
        .select_from(result.join(input_set, input_set.c.id == result.c.input_set_id))
        .where(result.c.sop_uid == text),
        sa.select(study.c.id).join(patient, patient.c.id == study.c.patient_id).where(patient.c.patient_id == text),
    ):
        found.update(tx.execute(query.order_by(sa.desc(sa.literal_column("1"))).limit(limit)).scalars())
    return sorted(found, reverse=True)[:limit]


# ------------------------------------------------- what a page shows of them


def facts(tx: Connection, ids: Sequence[int]) -> Mapping[int, Row]:
    """Per study: patient id, accession number, and who sent it."""
    sender = (
        sa.select(instance.c.calling_ae)
        .where(instance.c.study_id == study.c.id)
        .order_by(instance.c.kind, instance.c.revision)
        .limit(1)
        .correlate(study)
        .scalar_subquery()
    )
    query = (
        sa.select(study.c.id, study.c.accession, patient.c.patient_id, sender.label("sender"))
        .join(patient, patient.c.id == study.c.patient_id)
        .where(study.c.id.in_(ids))
    )
    return {row["id"]: row for row in tx.execute(query).mappings()}


def modalities(tx: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    """Per study, of its images."""
    query = sa.select(series.c.study_id, series.c.modality).where(series.c.study_id.in_(ids), series.c.kind == "image")
    found: dict[int, list[str]] = {}
    for study_id, modality in tx.execute(query.distinct().order_by(series.c.modality)):
        found.setdefault(study_id, []).append(modality)
    return found


def open_jobs(tx: Connection, ids: Sequence[int]) -> dict[int, list[Row]]:
    """Per study the jobs that wait or run, with their networks and how far they are."""
    columns = (job.c.id, job.c.study_id, job.c.kind, job.c.state, job.c.windows_done, job.c.windows_of, job.c.run_after)
    query = (
        sa.select(*columns, input_set.c.network)
        .outerjoin(input_set, input_set.c.id == job.c.input_set_id)
        .where(job.c.study_id.in_(ids), not_done.OPEN)
        .order_by(job.c.state, job.c.id)
    )
    found: dict[int, list[Row]] = {}
    for row in tx.execute(query).mappings():
        found.setdefault(row["study_id"], []).append(row)
    return found


def sent(tx: Connection, ids: Sequence[int]) -> dict[int, list[Row]]:
    """Per study and destination, how many of the results that stand are in which state."""
    newer = input_set.alias("newer")
    standing = sa.and_(result.c.state.in_(["ready", "held"]), ~sa.exists().where(newer.c.supersedes == input_set.c.id))
    source = input_set.join(result, result.c.input_set_id == input_set.c.id)
    by = (input_set.c.study_id, delivery.c.destination, delivery.c.state)
    query = (
        sa.select(*by, sa.func.count().label("count"))
        .select_from(source.join(delivery, delivery.c.result_id == result.c.id))
        .where(input_set.c.study_id.in_(ids), standing)
        .group_by(*by)
        .order_by(*by)
    )
    found: dict[int, list[Row]] = {}
    for row in tx.execute(query).mappings():
        found.setdefault(row["study_id"], []).append(row)
    return found
