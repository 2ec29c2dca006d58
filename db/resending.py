"""What was sent and stands, to be sent to another destination."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .overview import NO_RESULT
from .tables import delivery, input_set, instance, measurement, result, study


def standing(
    tx: Connection, *, since: float | None, study_uid: str | None, network: str | None
) -> Sequence[RowMapping]:
    """The objects of every run that stands, whose bytes are kept, and of which some destination got something.

    What a silent route made, or a person held back, was never sent, and is none of them.

    Args:
        since: seconds since 1970; of runs that were made later.

    Returns:
        id, kind, options, size, input_set_id, study_id, study_uid, run, revision, flags; those of a run together.
    """
    newer, other = input_set.alias("newer"), result.alias("other")
    together = sa.and_(
        other.c.input_set_id == result.c.input_set_id,
        other.c.run == result.c.run,
        other.c.revision == result.c.revision,
    )
    sent = sa.select(delivery.c.id).join(other, other.c.id == delivery.c.result_id)
    same = sa.and_(
        measurement.c.input_set_id == result.c.input_set_id,
        measurement.c.model_version_id == result.c.model_version_id,
    )
    query = (
        sa.select(
            result.c.id,
            result.c.kind,
            result.c.options,
            result.c.size,
            result.c.input_set_id,
            result.c.run,
            result.c.revision,
            input_set.c.study_id,
            study.c.study_uid,
            measurement.c.flags,
        )
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .join(study, study.c.id == input_set.c.study_id)
        .outerjoin(measurement, same)
        .where(result.c.state == "ready", result.c.path.is_not(None), result.c.kind.not_in(NO_RESULT))
        .where(study.c.state != "held", ~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .where(sent.where(together, delivery.c.delivered.is_not(None)).exists())
        .order_by(result.c.input_set_id, result.c.revision, result.c.run, result.c.id)
    )
    if since is not None:
        query = query.where(result.c.created >= since)
    if study_uid is not None:
        query = query.where(study.c.study_uid == study_uid)
    if network is not None:
        query = query.where(input_set.c.network == network)
    return tx.execute(query).mappings().all()


def known_at(tx: Connection, destination: str) -> set[int]:
    """The results that a destination has, gets, or refused; what was superseded on the way may come again."""
    there = sa.and_(delivery.c.destination == destination, delivery.c.state != "superseded")
    ids = set(tx.execute(sa.select(delivery.c.result_id).where(there)).scalars())
    fell = sa.select(delivery.c.fell_back_from).where(there, delivery.c.fell_back_from.is_not(None))
    return ids | set(tx.execute(fell).scalars())


def originals(tx: Connection, study_ids: Sequence[int]) -> Sequence[RowMapping]:
    """The newest revision of every object that was received of these studies and is kept, by study."""
    newer = instance.alias("newer")
    replaced = sa.exists().where(newer.c.sop_uid == instance.c.sop_uid, newer.c.revision > instance.c.revision)
    query = sa.select(instance.c.study_id, instance.c.path, instance.c.sop_class, instance.c.transfer_syntax)
    kept = query.where(instance.c.study_id.in_(list(study_ids)), instance.c.purged.is_(None), ~replaced)
    return (
        tx.execute(kept.where(instance.c.kind != "ours").order_by(instance.c.study_id, instance.c.id)).mappings().all()
    )
