"""The queue as a page shows it: studies by what becomes of them now, the latest first."""

from __future__ import annotations

from dataclasses import dataclass

from db import overview
from db.database import Database

from .status import state_of


@dataclass(frozen=True)
class Entry:
    """A study in the queue."""

    study_uid: str
    state: str
    images: int
    arrived: float
    reason: str


def page(database: Database, limit: int = 50) -> list[Entry]:
    """The latest studies."""
    with database.read() as tx:
        rows = overview.studies(tx, limit=limit)
        kinds = overview.kinds(tx, [study.row["id"] for study in rows if "image" not in study.instances])
    entries = []
    for study in rows:
        state, reason = state_of(study, kinds.get(study.row["id"], set()))
        images = study.instances.get("image", 0)
        entries.append(Entry(study.row["study_uid"], state, images, study.row["arrived"], reason or ""))
    return entries
