"""Trials: studies that a person brought to try a network on. Nothing of them is sent, learnt from, or counted."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row
from .tables import study, trial


def begin(tx: Connection, study_uid: str, network: str, who: str) -> int:
    """Note a trial, before the first image of its study is there."""
    values = {"study_uid": study_uid, "network": network, "who": who}
    return int(tx.execute(sa.insert(trial).values(**values, began=Clock()).returning(trial.c.id)).scalar_one())


def note(tx: Connection, study_uid: str, outcome: str) -> None:
    """What became of its files."""
    tx.execute(sa.update(trial).where(trial.c.study_uid == study_uid).values(outcome=outcome))


def of_study(tx: Connection, study_uid: str) -> Row | None:
    """The trial that a study is, or None."""
    return tx.execute(sa.select(trial).where(trial.c.study_uid == study_uid)).mappings().one_or_none()


def newest(tx: Connection, most: int) -> Sequence[Row]:
    """The newest trials, with the state of their studies; None where no image of it was taken."""
    query = sa.select(trial, study.c.state).outerjoin(study, study.c.study_uid == trial.c.study_uid)
    return tx.execute(query.order_by(trial.c.id.desc()).limit(most)).mappings().all()


def no_trial() -> sa.ColumnElement[bool]:
    """A condition for queries with `study` in them."""
    return ~sa.exists().where(trial.c.study_uid == study.c.study_uid)
