"""The studies by what becomes of them now: counted, filtered and a page of them at a time, in milliseconds.

The state of a study is derived from its jobs, results and deliveries, here as an expression of SQL that says what
`node.operations.status.state_of` says (tests/test_queue.py compares them over rows at random). Deriving it for
every study of months would take long, and is not done: partial indexes know the few rows that are not done, only their
studies are looked at, and all others are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Row
from .job_orders import CANCELLED
from .overview import NO_RESULT
from .tables import delivery, dispatch, input_set, instance, job, patient, result, series, study

STATES = (
    *("arriving", "waiting", "running", "sending", "done"),
    *("held", "failed", "refused", "withdrawn", "discarded", "cancelled"),
)
COMPUTING = ("choose", "segment")
UNDONE = ("waiting", "held", "dead")
APART = ("held", "withdrawn", "discarded")


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


def _job(*which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists().where(job.c.study_id == study.c.id, *which)


def _result(*which: sa.ColumnElement[bool], standing: bool = True, sent: bool = False) -> sa.ColumnElement[bool]:
    """Whether the study has such a result; of one that stands, no newer input set has taken the place."""
    source = input_set.join(result, result.c.input_set_id == input_set.c.id)
    if sent:
        source = source.join(delivery, delivery.c.result_id == result.c.id)
    found = sa.select(sa.literal(1)).select_from(source).where(input_set.c.study_id == study.c.id, *which)
    if standing:
        newer = input_set.alias("newer")
        taken = sa.exists().where(newer.c.supersedes == input_set.c.id)
        found = found.where(result.c.state.in_(["ready", "held"]), ~taken)
    # with an OFFSET, PostgreSQL asks this of each study, and does not collect the results of all studies first
    return found.limit(1).offset(0).correlate(study).exists()


def _put_away() -> sa.ColumnElement[str | None]:
    """The state of the study's newest result, where a person took all of them away; else NULL."""
    source = input_set.join(result, result.c.input_set_id == input_set.c.id)
    of_it = sa.and_(input_set.c.study_id == study.c.id, result.c.kind.not_in(NO_RESULT))
    newest = sa.select(result.c.state).select_from(source).where(of_it).order_by(result.c.id.desc()).limit(1)
    apart = _result(result.c.state.in_(APART), result.c.kind.not_in(NO_RESULT), standing=False)
    ready = _result(result.c.state == "ready", result.c.kind.not_in(NO_RESULT), standing=False)
    return sa.case((apart & ~ready, newest.correlate(study).scalar_subquery()))


def _state() -> sa.ColumnElement[str]:
    computing = job.c.kind.in_(COMPUTING)
    put_away = _put_away()
    return sa.case(
        (study.c.state == "held", "held"),
        (study.c.state == "none", "refused"),
        (study.c.state == "open", "arriving"),
        (_job(job.c.state == "running", computing), "running"),
        (_job(job.c.state == "waiting", computing), "waiting"),
        (_result(result.c.state == "held"), "held"),
        (_result(delivery.c.state == "held", sent=True), "held"),
        (put_away.in_(["withdrawn", "discarded"]), put_away),
        (_result(delivery.c.state == "waiting", sent=True), "sending"),
        (_job(job.c.state == "dead"), "failed"),
        (_result(delivery.c.state == "dead", sent=True), "failed"),
        (_result(result.c.kind.not_in(NO_RESULT)), "done"),
        (_job(job.c.code == CANCELLED, job.c.reason.is_not(None), job.c.state != "done"), "cancelled"),
        (_job(job.c.state == "refused"), "refused"),
        else_="done",
    )


def _candidates() -> sa.Select[tuple[int]]:
    """The studies that may be anything but done. Each part is answered by an index as small as what is not done."""
    of_result = result.join(input_set, input_set.c.id == result.c.input_set_id)
    parts = (
        sa.select(study.c.id).where(study.c.state.in_(["none", "open", "held"])),
        sa.select(job.c.study_id).where(job.c.state != "done", job.c.study_id.is_not(None)),
        sa.select(input_set.c.study_id).select_from(of_result).where(result.c.state.in_(APART)),
        sa.select(input_set.c.study_id)
        .select_from(of_result.join(delivery, delivery.c.result_id == result.c.id))
        .where(delivery.c.state.in_(UNDONE)),
    )
    both = sa.union(*parts).subquery("candidates")
    return sa.select(both.c[0])


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


def counts(tx: Connection, wanted: Wanted) -> dict[str, int]:
    """State -> how many studies; every state is there."""
    which = _filtered(wanted)
    total = tx.execute(sa.select(sa.func.count()).select_from(study).where(*which)).scalar_one()
    looked_at = sa.select(_state().label("now")).where(study.c.id.in_(_candidates()), *which).subquery("looked_at")
    query = sa.select(looked_at.c.now, sa.func.count()).group_by(looked_at.c.now)
    found = {str(state): int(count) for state, count in tx.execute(query)}
    found["done"] = found.get("done", 0) + int(total) - sum(found.values())
    return {state: found.get(state, 0) for state in STATES}


def page(
    tx: Connection, wanted: Wanted, state: str, limit: int, *, before: int | None = None, after: int | None = None
) -> list[int]:
    """Ids of studies, the latest first: those below `before`, or the next ones above `after`, or the newest."""
    query = sa.select(study.c.id).where(*_filtered(wanted))
    if state:
        query = query.where(_state() == state)
        if state != "done":
            query = query.where(study.c.id.in_(_candidates()))
    if after is not None:
        found = tx.execute(query.where(study.c.id > after).order_by(study.c.id).limit(limit)).scalars().all()
        return list(found)[::-1]
    if before is not None:
        query = query.where(study.c.id < before)
    return list(tx.execute(query.order_by(study.c.id.desc()).limit(limit)).scalars())


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
        .where(job.c.study_id.in_(ids), job.c.state != "done", job.c.state.in_(["waiting", "running"]))
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
