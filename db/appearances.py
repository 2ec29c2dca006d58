"""What the images of input sets looked like when networks read them: one small row for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row, insert
from .tables import appearance, data_set_member, input_set, label, patient, study, training_run
from .trials import no_trial


def record(tx: Connection, input_set_id: int, channels: Sequence[dict[str, Any]]) -> None:
    """Keep how an input set looked; read again, it is described anew, and keeps its time.

    Args:
        channels: as `node.study.appearance.of` gives them.
    """
    new = insert(tx, appearance).values(input_set_id=input_set_id, channels=list(channels), created=Clock())
    tx.execute(new.on_conflict_do_update(index_elements=["input_set_id"], set_={"channels": list(channels)}))


def first(tx: Connection, network: str, since: float, persons: int) -> list[Row]:
    """How the images of the first so many persons looked that a network read from a time on, a row for each person."""
    found: dict[int, Row] = {}
    for row in tx.execute(_of(network).where(appearance.c.created >= since)).mappings():
        found.setdefault(row["person"], row)
        if len(found) == persons:
            break
    return list(found.values())


def between(tx: Connection, network: str, since: float, until: float) -> list[Row]:
    """The same of everybody whose images it read from one time on and before another."""
    found: dict[int, Row] = {}
    rows = _of(network).where(appearance.c.created >= since, appearance.c.created < until)
    for row in tx.execute(rows).mappings():
        found.setdefault(row["person"], row)
    return list(found.values())


def trained_on(tx: Connection, model_version_id: int) -> list[Row]:
    """The same of the persons that a version was trained on here; none where it was made elsewhere."""
    members = (
        sa.select(label.c.input_set_id)
        .join(data_set_member, data_set_member.c.label_id == label.c.id)
        .join(training_run, training_run.c.data_set_id == data_set_member.c.data_set_id)
        .where(training_run.c.candidate_id == model_version_id, data_set_member.c.role == "train")
    )
    found: dict[int, Row] = {}
    for row in tx.execute(_described().where(input_set.c.id.in_(members)).order_by(appearance.c.id)).mappings():
        found.setdefault(row["person"], row)
    return list(found.values())


def _of(network: str) -> sa.Select[Any]:
    """What a network read, oldest first, trials left out."""
    return _described().where(input_set.c.network == network, no_trial()).order_by(appearance.c.created)


def _described() -> sa.Select[Any]:
    """With the person that the images are of; who has no PatientID is somebody else in every study."""
    person = sa.case(
        (patient.c.patient_id == "", -study.c.id), else_=sa.func.coalesce(patient.c.alias_of, patient.c.id)
    )
    return (
        sa.select(appearance.c.channels, appearance.c.created, person.label("person"))
        .join(input_set, input_set.c.id == appearance.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .join(patient, patient.c.id == study.c.patient_id)
    )
