"""What there is of studies to be exported, and which exports had a person."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .arrivals import Kind
from .database import Row
from .results import REJECTION
from .tables import event, input_set, instance, patient, result, series, study
from .trials import no_trial

#: of events: something left the house
EXPORTED = "exported"


def studies(
    tx: Connection,
    *,
    since: float | None = None,
    until: float | None = None,
    modality: str | None = None,
    accession: str | None = None,
    patient_id: str | None = None,
    issuer: str | None = None,
    network: str | None = None,
) -> list[str]:
    """The UIDs of the studies of which all of this holds and that have settled, oldest first; no trials.

    Args:
        since, until: between which they came, in seconds since 1970.
        patient_id, issuer: of the patient, or of whom a person said to be the same.
        network: that has read them.
    """
    query = sa.select(study.c.study_uid).where(study.c.state == "closed", no_trial())
    if since is not None:
        query = query.where(study.c.arrived >= since)
    if until is not None:
        query = query.where(study.c.arrived < until)
    if modality is not None:
        has = sa.exists().where(series.c.study_id == study.c.id, series.c.modality == modality)
        query = query.where(has)
    if accession is not None:
        query = query.where(study.c.accession == accession)
    if network is not None:
        query = query.where(sa.exists().where(input_set.c.study_id == study.c.id, input_set.c.network == network))
    if patient_id is not None or issuer is not None:
        query = query.where(study.c.patient_id.in_(_persons(patient_id, issuer)))
    return list(tx.execute(query.order_by(study.c.arrived, study.c.id)).scalars())


def _persons(patient_id: str | None, issuer: str | None) -> sa.Select[tuple[int]]:
    """The rows of everybody who is called so, and of all that are the same person."""
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id)
    named = sa.select(person)
    if patient_id is not None:
        named = named.where(patient.c.patient_id == patient_id)
    if issuer is not None:
        named = named.where(patient.c.issuer == issuer)
    return sa.select(patient.c.id).where(person.in_(named))


def objects(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """The newest revision of every object that came of a study, our own results not among them."""
    newer = instance.alias("newer")
    replaced = sa.exists().where(newer.c.sop_uid == instance.c.sop_uid, newer.c.revision > instance.c.revision)
    mine = sa.select(instance.c.sop_uid, instance.c.path, instance.c.purged, instance.c.kind)
    mine = mine.where(instance.c.study_id == study_id, instance.c.kind != Kind.OURS, ~replaced)
    return tx.execute(mine.order_by(instance.c.id)).mappings().all()


def results(tx: Connection, study_id: int, networks: Collection[str]) -> Sequence[RowMapping]:
    """The results of a study that stand and are kept, of some networks or, where none is named, of all."""
    query = (
        sa.select(result.c.sop_uid, result.c.path)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .where(input_set.c.study_id == study_id, result.c.state == "ready", result.c.path.is_not(None))
        .where(result.c.kind != REJECTION)
    )
    if networks:
        query = query.where(input_set.c.network.in_(networks))
    return tx.execute(query.order_by(result.c.id)).mappings().all()


def recorded(tx: Connection) -> Sequence[Row]:
    """The events of all exports, oldest first."""
    query = sa.select(event).where(event.c.what == EXPORTED)
    return tx.execute(query.order_by(event.c.number)).mappings().all()
