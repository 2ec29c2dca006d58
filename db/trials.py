"""Trials: studies that a person brought to try a network on. Nothing of them is sent, learnt from, or counted."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row
from .tables import instance, study, trial


def begin(tx: Connection, study_uid: str, network: str, who: str) -> int:
    """Note a trial, before the first image of its study is there."""
    values = {"study_uid": study_uid, "network": network, "who": who}
    return int(tx.execute(sa.insert(trial).values(**values, began=Clock()).returning(trial.c.id)).scalar_one())


def note(tx: Connection, study_uid: str, outcome: str) -> None:
    """What became of its files."""
    tx.execute(sa.update(trial).where(trial.c.study_uid == study_uid).values(outcome=outcome))


def claim(tx: Connection, study_uid: str, source_uid: str) -> bool:
    """Note which study the images of a trial are of; False where they are of another one."""
    fresh = sa.and_(trial.c.study_uid == study_uid, trial.c.source_uid == "")
    tx.execute(sa.update(trial).where(fresh).values(source_uid=source_uid))
    mine = sa.and_(trial.c.study_uid == study_uid, trial.c.source_uid == source_uid)
    return tx.execute(sa.select(trial.c.id).where(mine)).first() is not None


def size(tx: Connection, study_uid: str) -> tuple[int, int]:
    """How many objects of a trial are here, and their bytes."""
    counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(instance.c.size), 0))
    row = tx.execute(
        counted.select_from(instance)
        .join(study, study.c.id == instance.c.study_id)
        .where(study.c.study_uid == study_uid)
    ).one()
    return int(row[0]), int(row[1])


def of_study(tx: Connection, study_uid: str) -> Row | None:
    """The trial that a study is, or None."""
    return tx.execute(sa.select(trial).where(trial.c.study_uid == study_uid)).mappings().one_or_none()


def is_one(tx: Connection, study_id: int) -> bool:
    """Whether a study is a trial."""
    query = sa.select(trial.c.id).join(study, study.c.study_uid == trial.c.study_uid)
    return tx.execute(query.where(study.c.id == study_id)).first() is not None


def newest(tx: Connection, most: int) -> Sequence[Row]:
    """The newest trials, with the state of their studies; None where no image of it was taken."""
    query = sa.select(trial, study.c.state).outerjoin(study, study.c.study_uid == trial.c.study_uid)
    return tx.execute(query.order_by(trial.c.id.desc()).limit(most)).mappings().all()


def no_trial() -> sa.ColumnElement[bool]:
    """A condition for queries with `study` in them."""
    return ~sa.exists().where(trial.c.study_uid == study.c.study_uid)
