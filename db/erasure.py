"""All rows of a patient, found by following every reference to them, and deleted in one transaction.

What refers to a row that goes, goes: so a table that is added later is not forgotten. What is append-only (the record,
evaluations, releases) refers to none of them and names nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import data_sets, deliveries, labels, not_done, rejections, shadows
from .job_states import JobKind
from .tables import (
    asked_export,
    data_set,
    data_set_member,
    delivery,
    instance,
    job,
    label,
    metadata,
    model_version,
    patient,
    refusal,
    result,
    shadow,
    study,
    training_run,
)
from .training_runs import OPEN

AT_ONCE = 500
#: columns that name a study, in tables that refer to no row of it
STUDY_UIDS = ("study_uid", "source_uid")
Rows = dict[str, set[int]]
"""table -> ids"""


def find(tx: Connection, patient_id: str, issuer: str | None = None) -> Sequence[RowMapping]:
    """The rows of a PatientID (of an issuer), and of all that a person said to be the same patient."""
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id)
    named = sa.select(person).where(patient.c.patient_id == patient_id.strip())
    if issuer is not None:
        named = named.where(patient.c.issuer == issuer.strip())
    return tx.execute(sa.select(patient).where(person.in_(named)).order_by(patient.c.id)).mappings().all()


def follow(tx: Connection, patient_ids: Collection[int]) -> Rows:
    """All rows that go with a patient."""
    found: Rows = {patient.name: set(patient_ids)}
    fresh: Rows = {name: set(ids) for name, ids in found.items()}
    while fresh:
        more: defaultdict[str, set[int]] = defaultdict(set)
        for table, column, target in _references():
            for some in _parts(fresh.get(target, ())):
                more[table.name] |= set(tx.execute(sa.select(table.c.id).where(column.in_(some))).scalars())
        fresh = {name: new for name, ids in more.items() if (new := ids - found.get(name, set()))}
        for name, ids in fresh.items():
            found.setdefault(name, set()).update(ids)
    _by_uid(tx, found)
    return found


def _references() -> Iterator[tuple[sa.Table, Any, str]]:
    """Every reference between tables with ids: the table, its column, and the table that it refers to."""
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            if "id" in table.c and key.column.name == "id":
                yield table, key.parent, key.column.table.name


def _by_uid(tx: Connection, found: Rows) -> None:
    """What names a study or an object by its UID alone: jobs that fetch it, objects that were refused, trials of it,
    what a PACS has of it.
    """
    studies, objects = uids(tx, found)
    fetches = tx.execute(sa.select(job.c.id, job.c.subject).where(job.c.kind == JobKind.FETCH))
    named = {row.id for row in fetches if row.subject.rsplit("/", 1)[-1] in studies}
    for some in _parts(studies):
        named |= set(tx.execute(sa.select(job.c.id).where(job.c.subject.in_(some))).scalars())
    found.setdefault("job", set()).update(named)
    for some in _parts(named):
        attempts = metadata.tables["attempt"]
        of_jobs = sa.select(attempts.c.id).where(attempts.c.job_id.in_(some))
        found.setdefault("attempt", set()).update(tx.execute(of_jobs).scalars())
    for table in metadata.sorted_tables:
        for column in (table.c[name] for name in STUDY_UIDS if table is not study and name in table.c):
            for some in _parts(studies):
                naming = tx.execute(sa.select(table.c.id).where(column.in_(some))).scalars()
                found.setdefault(table.name, set()).update(naming)
    for some in _parts(objects | studies):
        refused = sa.select(refusal.c.id).where(refusal.c.subject.in_(some))
        found.setdefault("refusal", set()).update(tx.execute(refused).scalars())


def uids(tx: Connection, found: Rows) -> tuple[set[str], set[str]]:
    """The UIDs of the studies, and of the objects and results."""
    studies = set(_values(tx, study.c.study_uid, study, found))
    objects = set(_values(tx, instance.c.sop_uid, instance, found)) | set(_values(tx, result.c.sop_uid, result, found))
    return studies, objects


def _values(tx: Connection, column: sa.Column[str], table: sa.Table, found: Rows) -> Iterator[str]:
    for some in _parts(found.get(table.name, ())):
        yield from tx.execute(sa.select(column).where(table.c.id.in_(some), column.is_not(None))).scalars()


def paths(tx: Connection, found: Rows) -> set[str]:
    """The files of these rows, below the home folder; masks that others have too are not among them."""
    columns = (
        asked_export.c.path,
        instance.c.path,
        result.c.path,
        label.c.source_path,
        label.c.mask_path,
        shadow.c.mask_path,
    )
    return {path for column in columns for path in _values(tx, column, column.table, found)}


def masks_of_others(tx: Connection) -> set[str]:
    """What is still named once the rows are gone: equal masks are one file."""
    return labels.mask_paths(tx) | data_sets.mask_paths(tx) | shadows.mask_paths(tx)


def delete(tx: Connection, found: Rows) -> None:
    """Delete the rows, whoever refers to whom."""
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    tables = list(reversed(metadata.sorted_tables))
    for table in tables:
        _forget_own(tx, table, found)
    for table in tables:
        if "id" not in table.c:
            for key in table.foreign_keys:
                for some in _parts(found.get(key.column.table.name, ())):
                    tx.execute(sa.delete(table).where(key.parent.in_(some)))
            continue
        for some in _parts(found.get(table.name, ())):
            tx.execute(sa.delete(table).where(table.c.id.in_(some)))


def _forget_own(tx: Connection, table: sa.Table, found: Rows) -> None:
    """Rows that go refer to rows of their own table no more."""
    for key in table.foreign_keys:
        if key.column.table is table:
            for some in _parts(found.get(table.name, ())):
                tx.execute(sa.update(table).where(table.c.id.in_(some)).values({key.parent: None}))


def _parts(ids: Iterable[Any]) -> Iterator[list[Any]]:
    listed = sorted(ids)
    for n in range(0, len(listed), AT_ONCE):
        yield listed[n : n + AT_ONCE]


# ----------------------------------------------------------------- what was learnt


def learnt_from(tx: Connection, patient_ids: Collection[int]) -> Sequence[RowMapping]:
    """The training runs that had a patient: run, state, role, and the version that came of it, if any."""
    in_set = sa.or_(
        training_run.c.data_set_id == data_set_member.c.data_set_id,
        training_run.c.test_set_id == data_set_member.c.data_set_id,
    )
    query = (
        sa.select(
            training_run.c.id,
            training_run.c.network,
            training_run.c.folder,
            training_run.c.state,
            training_run.c.candidate_id,
            data_set_member.c.role,
            model_version.c.version,
        )
        .join(data_set_member, in_set)
        .outerjoin(model_version, model_version.c.id == training_run.c.candidate_id)
        .where(data_set_member.c.patient_id.in_(list(patient_ids)))
        .distinct()
        .order_by(training_run.c.id)
    )
    return tx.execute(query).mappings().all()


def is_open(run: RowMapping) -> bool:
    """Whether a training run is still to read its data sets."""
    return run["state"] in OPEN


def descendants(tx: Connection, version_ids: Collection[int]) -> Sequence[RowMapping]:
    """The versions that were trained from these, or from those that were."""
    known = set(version_ids)
    rows = tx.execute(sa.select(model_version).order_by(model_version.c.id)).mappings().all()
    made = []
    for row in rows:  # a parent is older than what came of it
        if row["parent"] in known and row["id"] not in known:
            known.add(row["id"])
            made.append(row)
    return made


def leave_data_sets(tx: Connection, label_ids: Collection[int], pseudonyms: Collection[str]) -> list[str]:
    """Take a patient out of what is written of frozen data sets; the names of the cases.

    Their hash stays that of the whole set: what was trained on it was trained on it.
    """
    gone: list[str] = []
    for row in tx.execute(sa.select(data_set)).mappings():
        manifest = dict(row["manifest"])
        cases = manifest.get("cases", [])
        mine = [one for one in cases if one["label_id"] in label_ids or one["patient"] in pseudonyms]
        if not mine:
            continue
        gone += [str(one["case"]) for one in mine]
        manifest["cases"] = [one for one in cases if one not in mine]
        manifest["erased"] = manifest.get("erased", 0) + len(mine)
        manifest["left_out"] = [one for one in manifest.get("left_out", []) if one.get("label_id") not in label_ids]
        tx.execute(sa.update(data_set).where(data_set.c.id == row["id"]).values(manifest=manifest))
    return gone


def holders(tx: Connection, found: Rows) -> dict[str, int]:
    """Destination -> objects that it was given, answered or not, and that no rejection note took back which it took."""
    given: defaultdict[str, int] = defaultdict(int)
    note = delivery.alias("note")
    took_it = sa.and_(note.c.result_id == delivery.c.rejected_by, note.c.destination == delivery.c.destination)
    told = sa.exists().where(took_it, note.c.delivered.is_not(None))
    for some in _parts(found.get("delivery", ())):
        of = sa.select(delivery.c.destination, sa.func.count()).join(result, result.c.id == delivery.c.result_id)
        sent = of.where(delivery.c.id.in_(some), deliveries.may_be_there(), ~told, result.c.kind != "KOS")
        for destination, count in tx.execute(sent.group_by(delivery.c.destination)):
            given[destination] += int(count)
    return dict(given)


def unsent(tx: Connection, found: Rows) -> int:
    """Rejection notes of these results that still wait to be sent, and jobs that have one to write first."""
    count, to_write = 0, set[str]()
    subject = delivery.c.destination.concat("/").concat(sa.cast(result.c.input_set_id, sa.Text))
    for some in _parts(found.get("delivery", ())):
        waits = sa.select(sa.func.count()).select_from(delivery).join(result, result.c.id == delivery.c.result_id)
        told = sa.and_(result.c.kind == "KOS", delivery.c.state == "waiting")
        count += int(tx.execute(waits.where(delivery.c.id.in_(some), told)).scalar_one())
        its_job = sa.and_(job.c.kind == str(JobKind.DELIVER), job.c.subject == subject)
        lacks = sa.select(subject).join(result, result.c.id == delivery.c.result_id).join(job, its_job)
        untold = lacks.where(delivery.c.id.in_(some), not_done.OPEN, rejections.untold(None, replaced=False))
        to_write |= set(tx.execute(untold).scalars())
    return count + len(to_write)


def runs_of_results(tx: Connection, found: Rows) -> list[int]:
    """One result of each run that a destination holds, or may hold, and that was not withdrawn."""
    first: dict[tuple[int, str, int], int] = {}
    for some in _parts(found.get("result", ())):
        given = sa.exists().where(delivery.c.result_id == result.c.id, deliveries.may_be_there())
        stands = sa.and_(result.c.kind != "KOS", result.c.state.not_in(["withdrawn", "discarded"]), given)
        for row in tx.execute(sa.select(result).where(result.c.id.in_(some), stands)):
            first.setdefault((row.input_set_id, row.run, row.revision), row.id)
    return sorted(first.values())
