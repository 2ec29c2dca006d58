"""What an object that came back may be about: images, input sets, and what we had sent for them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .arrivals import Kind
from .database import Row
from .input_sets import UNREAD
from .tables import input_member, input_set, instance, result, series, study
from .tables import patient as patients

#: so many of the segmentations that we made of some images are compared with what comes back
DRAFTS = 5


def source(tx: Connection, path: str) -> Row:
    """The instance that an object came as, with its patient."""
    query = (
        sa.select(instance, patients.c.issuer, patients.c.patient_id.label("patient"), patients.c.alias_of)
        .join(patients, patients.c.id == instance.c.patient_id)
        .where(instance.c.path == path)
    )
    return tx.execute(query).mappings().one()


def patient(tx: Connection, patient_id: int) -> Row:
    """A patient by the row's id."""
    return tx.execute(sa.select(patients).where(patients.c.id == patient_id)).mappings().one()


def candidates(tx: Connection, study_uid: str, patient_ids: Sequence[int], sop_uids: Sequence[str]) -> Sequence[Row]:
    """The newest input sets that an object may mean: of its study, of its patient's, of images that it names."""
    newer = input_set.alias("newer")
    named = sa.select(input_member.c.input_set_id).where(input_member.c.sop_uid.in_(list(sop_uids)))
    query = (
        sa.select(input_set, study.c.study_uid, study.c.state.label("study_state"), study.c.held_because)
        .join(study, study.c.id == input_set.c.study_id)
        .where(input_set.c.slot != UNREAD, ~sa.exists().where(newer.c.supersedes == input_set.c.id))
        .where(study.c.purged.is_(None))
        .where(
            sa.or_(
                study.c.study_uid == study_uid,
                study.c.patient_id.in_(list(patient_ids)),
                input_set.c.id.in_(named),
            )
        )
        .order_by(input_set.c.id)
    )
    return tx.execute(query).mappings().all()


def series_ids(tx: Connection, series_uids: Sequence[str]) -> list[int]:
    """The rows of series, whatever they hold."""
    return list(tx.execute(sa.select(series.c.id).where(series.c.series_uid.in_(list(series_uids)))).scalars())


def holds(tx: Connection, sop_uids: Sequence[str], series_uids: Sequence[str]) -> bool:
    """Whether any of these images is here, or any image of these series."""
    image = sa.select(instance.c.id).where(instance.c.kind == Kind.IMAGE, instance.c.purged.is_(None)).limit(1)
    by_uid = image.where(instance.c.sop_uid.in_(list(sop_uids)))
    by_series = image.where(instance.c.series_id.in_(series_ids(tx, series_uids)))
    return any(tx.execute(query).first() is not None for query in (by_uid, by_series))


def drafts(tx: Connection, input_set_id: int, sop_uid: str, arrived: float) -> list[Row]:
    """Segmentations that an object may be made from: what we made of its study before it arrived, one of each run.

    That with its UID, then those of the input set, the newest first, then those that other networks made. Where it
    arrived before all of them, it is compared with what came later.

    Args:
        sop_uid, arrived: of the object.
    """
    study_id = sa.select(input_set.c.study_id).where(input_set.c.id == input_set_id).scalar_subquery()
    nearness = sa.case((result.c.sop_uid == sop_uid, 0), (input_set.c.id == input_set_id, 1), else_=2)
    query = (
        sa.select(result)
        .join(input_set, input_set.c.id == result.c.input_set_id)
        .where(input_set.c.study_id == study_id)
        .where(result.c.kind == "SEG", result.c.path.is_not(None), result.c.state.not_in(["held", "discarded"]))
        .order_by(nearness, result.c.id.desc())
    )
    rows = tx.execute(query).mappings().all()
    of_runs: dict[tuple[int, str], Row] = {}
    for row in [row for row in rows if row["created"] <= arrived] or rows:
        of_runs.setdefault((row["input_set_id"], row["run"]), row)
    return list(of_runs.values())[:DRAFTS]
