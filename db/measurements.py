"""What was measured, kept for comparison with what comes later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import input_set, measurement, model_version, patient, result, study

Json = list[dict[str, Any]]


def record(
    tx: Connection, input_set_id: int, model_version_id: int, study_date: str, segments: Json, flags: Json
) -> None:
    """Keep what one model version measured of one input set; what it said before goes.

    Args:
        study_date: StudyDate and StudyTime, one behind the other; empty where the images do not say.
    """
    values = dict(study_date=study_date, segments=segments, flags=flags)
    tx.execute(
        insert(tx, measurement)
        .values(input_set_id=input_set_id, model_version_id=model_version_id, created=Clock(), **values)
        .on_conflict_do_update(index_elements=["input_set_id", "model_version_id"], set_=values)
    )


def find(tx: Connection, input_set_id: int, model_version_id: int) -> RowMapping | None:
    """What a model version measured of an input set, or None."""
    mine = sa.and_(measurement.c.input_set_id == input_set_id, measurement.c.model_version_id == model_version_id)
    return tx.execute(sa.select(measurement).where(mine)).mappings().one_or_none()


def newest(tx: Connection, input_set_id: int) -> RowMapping | None:
    """What was measured of an input set by the version whose result stands, else by that of the newest, or None."""
    made = sa.select(result.c.model_version_id).where(result.c.input_set_id == input_set_id)
    stands_first = sa.case((result.c.state == "ready", 0), else_=1)
    version = tx.execute(made.order_by(stands_first, result.c.id.desc()).limit(1)).scalar()
    return None if version is None else find(tx, input_set_id, version)


def prior(tx: Connection, input_set_id: int, study_date: str) -> RowMapping | None:
    """What the same network measured last, before a date, in another study of the same patient.

    Only results that stand count, and only where a study has one input set for the network: of several readings nobody
    knows which is to be compared.

    Args:
        study_date: of the present study; what is not older is no prior.
    """
    if not study_date:
        return None
    mine = (
        tx.execute(
            sa.select(input_set.c.network, input_set.c.slot, input_set.c.study_id, study.c.patient_id)
            .join(study, study.c.id == input_set.c.study_id)
            .where(input_set.c.id == input_set_id)
        )
        .mappings()
        .one()
    )
    person = same_person(tx, mine["patient_id"])
    if mine["slot"] or not person:
        return None
    newer = input_set.alias("newer")
    stands = sa.exists().where(result.c.input_set_id == input_set.c.id, result.c.state == "ready")
    return (
        tx.execute(
            sa.select(measurement, input_set.c.study_id, study.c.study_uid)
            .join(input_set, input_set.c.id == measurement.c.input_set_id)
            .join(study, study.c.id == input_set.c.study_id)
            .where(study.c.patient_id.in_(person), study.c.id != mine["study_id"], study.c.state != "held")
            .where(input_set.c.network == mine["network"], input_set.c.slot == "", stands)
            .where(~sa.exists().where(newer.c.supersedes == input_set.c.id))
            .where(measurement.c.study_date < study_date, measurement.c.study_date != "")
            .order_by(measurement.c.study_date.desc(), measurement.c.id.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )


def history(tx: Connection, input_set_id: int, most: int) -> Sequence[RowMapping]:
    """What the same network measured in all studies of the patient, the newest last; this one's among them.

    As for `prior`: only results that stand, and only where a study has one input set for the network. Without a date
    there is no order, and nothing is listed.
    """
    mine = (
        tx.execute(
            sa.select(input_set.c.network, input_set.c.slot, study.c.patient_id)
            .join(study, study.c.id == input_set.c.study_id)
            .where(input_set.c.id == input_set_id)
        )
        .mappings()
        .one()
    )
    person = same_person(tx, mine["patient_id"])
    if mine["slot"] or not person:
        return []
    newer = input_set.alias("newer")
    stands = sa.exists().where(result.c.input_set_id == input_set.c.id, result.c.state == "ready")
    query = (
        sa.select(measurement, study.c.study_uid, model_version.c.version)
        .join(model_version, model_version.c.id == measurement.c.model_version_id)
        .join(input_set, input_set.c.id == measurement.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .where(study.c.patient_id.in_(person), study.c.state != "held", measurement.c.study_date != "")
        .where(input_set.c.network == mine["network"], input_set.c.slot == "", stands)
        .where(~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .order_by(measurement.c.study_date.desc(), measurement.c.id.desc())
    )
    return tx.execute(query.limit(most)).mappings().all()[::-1]


def same_person(tx: Connection, patient_row: int) -> Sequence[int]:
    """The rows that name a patient; none for images without a PatientID, which name nobody."""
    row = tx.execute(sa.select(patient).where(patient.c.id == patient_row)).mappings().one()
    if not row["patient_id"]:
        return []
    first = row["alias_of"] or row["id"]
    same = sa.or_(patient.c.id == first, patient.c.alias_of == first)
    return tx.execute(sa.select(patient.c.id).where(same)).scalars().all()


def patient_of(tx: Connection, study_id: int) -> RowMapping:
    """The patient that a study belongs to."""
    found = sa.select(patient).join(study, study.c.patient_id == patient.c.id).where(study.c.id == study_id)
    return tx.execute(found).mappings().one()
