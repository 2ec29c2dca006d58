"""What there is of studies to be exported, and which exports had a person."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .arrivals import Kind
from .database import Row
from .results import REJECTION
from .tables import event, input_set, instance, result, series, study
from .trials import no_trial

#: of events: something left the house
EXPORTED = "exported"


def studies(
    tx: Connection, *, since: float | None = None, until: float | None = None, modality: str | None = None
) -> list[str]:
    """The UIDs of the studies that came in between (seconds since 1970) and have settled, oldest first; no trials."""
    query = sa.select(study.c.study_uid).where(study.c.state == "closed", no_trial())
    if since is not None:
        query = query.where(study.c.arrived >= since)
    if until is not None:
        query = query.where(study.c.arrived < until)
    if modality is not None:
        has = sa.exists().where(series.c.study_id == study.c.id, series.c.modality == modality)
        query = query.where(has)
    return list(tx.execute(query.order_by(study.c.arrived, study.c.id)).scalars())


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
