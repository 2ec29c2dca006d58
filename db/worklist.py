"""Results that a radiologist might look at, with all that says how doubtful they are, and what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row
from .tables import input_set, inspection, label, measurement, model_version, patient, result, shadow, study
from .trials import no_trial

#: values in one IN (...): SQLite takes 32766
AT_A_TIME = 1000


def candidates(tx: Connection, since: float, network: str | None, most: int) -> Sequence[Row]:
    """The newest results that stand, of which no outline came back, newest first. Trials are left out.

    Columns: input_set_id, run, network, version, study_uid, study_date, segments, flags, created, slot, patient_id (as
    the images name it), person (the row).
    """
    newer = input_set.alias("newer")
    mine = sa.and_(
        result.c.input_set_id == measurement.c.input_set_id,
        result.c.model_version_id == measurement.c.model_version_id,
        result.c.state == "ready",
    )
    run = sa.select(result.c.run).where(mine).order_by(result.c.id.desc()).limit(1)
    query = (
        sa.select(
            measurement.c.input_set_id,
            measurement.c.study_date,
            measurement.c.segments,
            measurement.c.flags,
            measurement.c.created,
            run.correlate(measurement).scalar_subquery().label("run"),
            input_set.c.network,
            input_set.c.slot,
            model_version.c.version,
            study.c.study_uid,
            patient.c.patient_id,
            _person().label("person"),
        )
        .join(input_set, input_set.c.id == measurement.c.input_set_id)
        .join(model_version, model_version.c.id == measurement.c.model_version_id)
        .join(study, study.c.id == input_set.c.study_id)
        .join(patient, patient.c.id == study.c.patient_id)
        .where(measurement.c.created >= since, no_trial(), sa.exists().where(mine))
        .where(~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .where(
            ~sa.exists().where(
                label.c.input_set_id == input_set.c.id, label.c.state.in_(["ready", "superseded", "accepted"])
            )
        )
        .order_by(measurement.c.created.desc())
        .limit(most)
    )
    if network is not None:
        query = query.where(input_set.c.network == network)
    return tx.execute(query).mappings().all()


def _person() -> sa.ColumnElement[int]:
    return sa.func.coalesce(patient.c.alias_of, patient.c.id)


def agreements(tx: Connection, input_set_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Input set -> how the newest candidate in the shadow agrees with the live version."""
    found = {}
    for some in _parts(input_set_ids):
        query = sa.select(shadow.c.input_set_id, shadow.c.agreement).where(shadow.c.input_set_id.in_(some))
        for row in tx.execute(query.order_by(shadow.c.id)):
            found[int(row.input_set_id)] = row.agreement
    return found


def history(tx: Connection, persons: Sequence[int]) -> Sequence[Row]:
    """All that was measured of these persons where a study has one reading: person, network, study_date, segments."""
    found: list[Row] = []
    for some in _parts(persons):
        query = (
            sa.select(_person().label("person"), input_set.c.network, measurement.c.study_date, measurement.c.segments)
            .join(input_set, input_set.c.id == measurement.c.input_set_id)
            .join(study, study.c.id == input_set.c.study_id)
            .join(patient, patient.c.id == study.c.patient_id)
            .where(_person().in_(some), patient.c.patient_id != "", input_set.c.slot == "", no_trial())
            .order_by(measurement.c.study_date, measurement.c.id)
        )
        found += tx.execute(query).mappings().all()
    return found


def inspected(tx: Connection, input_set_ids: Sequence[int]) -> dict[tuple[int, str], Row]:
    """(input set, run) -> what was said last of it."""
    found = {}
    for some in _parts(input_set_ids):
        query = sa.select(inspection).where(inspection.c.input_set_id.in_(some)).order_by(inspection.c.id)
        for row in tx.execute(query).mappings():
            found[int(row["input_set_id"]), str(row["run"])] = row
    return found


def inspections(tx: Connection) -> Sequence[Row]:
    """Everything that was looked at, newest first, with network and study."""
    query = (
        sa.select(inspection, input_set.c.network, study.c.study_uid)
        .join(input_set, input_set.c.id == inspection.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
    )
    return tx.execute(query.order_by(inspection.c.id.desc())).mappings().all()


def came_back(tx: Connection) -> Sequence[Row]:
    """The results of which an outline came back by itself: network, input_set_id, run, and the state of the label."""
    query = (
        sa.select(label.c.network, label.c.input_set_id, label.c.state, result.c.run)
        .join(result, result.c.id == label.c.draft_id)
        .where(label.c.came == "received", label.c.state.in_(["ready", "superseded", "accepted"]))
    )
    return tx.execute(query.order_by(label.c.id)).mappings().all()


def has_run(tx: Connection, input_set_id: int, run: str) -> bool:
    """Whether there is such a result."""
    mine = sa.and_(result.c.input_set_id == input_set_id, result.c.run == run)
    return tx.execute(sa.select(result.c.id).where(mine).limit(1)).first() is not None


def newest_run(tx: Connection, input_set_id: int) -> str | None:
    """The run of an input set's newest result, or None."""
    runs = sa.select(result.c.run).where(result.c.input_set_id == input_set_id, result.c.run != "")
    return tx.execute(runs.order_by(result.c.id.desc()).limit(1)).scalar()


def note(tx: Connection, input_set_id: int, run: str, who: str, said: str) -> None:
    """Somebody looked at a result."""
    values = {"input_set_id": input_set_id, "run": run, "who": who, "said": said}
    tx.execute(sa.insert(inspection).values(**values, at=Clock()))


def _parts(values: Sequence[int]) -> Iterator[list[int]]:
    listed = sorted(set(values))
    for n in range(0, len(listed), AT_A_TIME):
        yield listed[n : n + AT_A_TIME]
