"""What a picture of an input set follows from: when any of it has changed, the picture is another one."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .tables import input_set, instance, result


def state(tx: Connection, input_set_id: int) -> tuple[int, int, str] | None:
    """The newest instance of its study, the newest result and that one's state; None where there is no input set."""
    study_id = tx.execute(sa.select(input_set.c.study_id).where(input_set.c.id == input_set_id)).scalar()
    if study_id is None:
        return None
    newest = tx.execute(sa.select(sa.func.max(instance.c.id)).where(instance.c.study_id == study_id)).scalar()
    of_it = sa.select(result.c.id, result.c.state).where(result.c.input_set_id == input_set_id)
    row = tx.execute(of_it.order_by(result.c.id.desc()).limit(1)).one_or_none()
    return (newest or 0, row.id if row else 0, row.state if row else "")


def last_version(tx: Connection, input_set_id: int) -> int | None:
    """The model version that made the newest result of an input set."""
    of_it = sa.select(result.c.model_version_id).where(result.c.input_set_id == input_set_id)
    return tx.execute(of_it.order_by(result.c.id.desc()).limit(1)).scalar()
