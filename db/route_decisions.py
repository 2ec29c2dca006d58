"""What the routes said of a series when its study was chosen from, and by which values; kept for every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import route_decision, series, study


def record(
    tx: Connection, series_id: int, said: Sequence[Mapping[str, Any]], config_version: int | None = None
) -> None:
    """Keep what every route said; a second choice of the same generation of its study takes the first one's place.

    Args:
        config_version: of the configuration whose routes these are.
    """
    generation = sa.select(study.c.generation).join(series, series.c.study_id == study.c.id)
    row = dict(
        series_id=series_id,
        generation=tx.execute(generation.where(series.c.id == series_id)).scalar_one(),
        decided=Clock(),
        said=list(said),
        config_version=config_version,
    )
    again = {name: row[name] for name in ("decided", "said", "config_version")}
    tx.execute(
        insert(tx, route_decision)
        .values(row)
        .on_conflict_do_update(index_elements=["series_id", "generation"], set_=again)
    )


def of_study(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """What was said of the series of a study, the newest first; with their UIDs."""
    found = (
        sa.select(route_decision, series.c.series_uid)
        .join(series, series.c.id == route_decision.c.series_id)
        .where(series.c.study_id == study_id)
        .order_by(route_decision.c.generation.desc(), series.c.series_uid)
    )
    return tx.execute(found).mappings().all()
