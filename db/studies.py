"""The state of a study: images come, it settles, it is chosen from, a person closes or releases it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import completeness, job_orders, jobs
from .database import Clock
from .job_states import JobKind
from .tables import input_set, series, series_fact, study
from .trials import no_trial

#: no PACS is asked how many images a study has
NOBODY: Mapping[str, float] = {}


def any_due(tx: Connection, quiet_seconds: float, wait_seconds: Mapping[str, float] = NOBODY) -> bool:
    """Whether `settle` would close anything; asked without a write lock."""
    due = sa.select(study.c.id).where(completeness.due(quiet_seconds, wait_seconds))
    return tx.execute(due.limit(1)).first() is not None


def due_in(tx: Connection, quiet_seconds: float) -> float | None:
    """The seconds until `settle` will close a study, 0 where it would now; None where none is open. No write lock."""
    first = sa.select(sa.func.min(study.c.last_image) + quiet_seconds - Clock()).where(study.c.state == "open")
    left = tx.execute(first).scalar()
    return None if left is None else max(0.0, float(left))


def settle(
    tx: Connection, quiet_seconds: float, max_attempts: int, wait_seconds: Mapping[str, float] = NOBODY
) -> list[str]:
    """Close every study that is complete, and queue its `choose` job in the same transaction.

    Args:
        quiet_seconds, wait_seconds: see `completeness.due`.

    Returns:
        The UIDs of the closed studies.
    """
    due = tx.execute(
        sa.select(study.c.id, study.c.study_uid, *completeness.columns())
        .where(completeness.due(quiet_seconds, wait_seconds))
        .order_by(study.c.last_image)
        .limit(100)
        .with_for_update(skip_locked=True)
    ).all()
    for row in due:
        _close(tx, row.id, row.study_uid, completeness.because(row, quiet_seconds), max_attempts)
    return [row.study_uid for row in due]


def close(tx: Connection, study_uid: str, because: str, max_attempts: int) -> bool:
    """Close a study now, whatever its state: a person decided. False when there is no such study with images."""
    row = tx.execute(
        sa.select(study.c.id, study.c.last_image).where(study.c.study_uid == study_uid).with_for_update()
    ).one_or_none()
    if row is None or row.last_image is None:
        return False
    _close(tx, row.id, study_uid, because, max_attempts)
    tx.execute(sa.update(study).where(study.c.id == row.id).values(forced=study.c.generation))
    return True


def close_arriving(tx: Connection, study_uid: str, because: str, max_attempts: int) -> bool:
    """The same for a study that still comes in, and for no other: one that a person has to decide about stays held."""
    mine = sa.select(study.c.id).where(study.c.study_uid == study_uid, study.c.state == "open").with_for_update()
    return tx.execute(mine).first() is not None and close(tx, study_uid, because, max_attempts)


def _close(tx: Connection, study_id: int, study_uid: str, because: str, max_attempts: int) -> None:
    tx.execute(
        sa.update(study)
        .where(study.c.id == study_id)
        .values(
            state="closed",
            generation=study.c.generation + 1,
            closed=Clock(),
            closed_because=because,
            held_because=None,
        )
    )
    jobs.enqueue(tx, JobKind.CHOOSE, study_uid, max_attempts=max_attempts, study_id=study_id)
    job_orders.hurry(tx, JobKind.CHOOSE, study_uid)  # it may wait for a series that is here now


def find(tx: Connection, study_uid: str) -> RowMapping | None:
    """The study's row, or None."""
    return tx.execute(sa.select(study).where(study.c.study_uid == study_uid)).mappings().one_or_none()


def by_id(tx: Connection, study_id: int) -> RowMapping:
    """The study's row."""
    return tx.execute(sa.select(study).where(study.c.id == study_id)).mappings().one()


def is_arriving(row: RowMapping, *, waits: bool) -> bool:
    """Whether only what need not wait is to be chosen from a study: it settles later, and is chosen from as a whole.

    Args:
        waits: a study that has settled may wait for more series; then it has not been chosen from as a whole.
    """
    waits = waits and row["forced"] != row["generation"]
    return bool(row["state"] == "open" and (waits or row["generation"] == row["chosen"]))


def note_chosen(tx: Connection, study_id: int, generation: int) -> None:
    """A study was chosen from as a whole."""
    tx.execute(sa.update(study).where(study.c.id == study_id, study.c.chosen < generation).values(chosen=generation))


def hold(tx: Connection, study_id: int, because: str) -> None:
    """A person has to decide about a study."""
    tx.execute(sa.update(study).where(study.c.id == study_id).values(state="held", held_because=because))


def closed_since(tx: Connection, since: float) -> Sequence[RowMapping]:
    """The studies that were closed after a time (seconds since 1970), the oldest first; no trials."""
    closed = sa.select(study).where(study.c.closed >= since, study.c.last_image.is_not(None), no_trial())
    return tx.execute(closed.order_by(study.c.closed, study.c.id)).mappings().all()


def facts(tx: Connection, study_id: int) -> dict[str, dict[str, dict[str, int]]]:
    """The header facts of a study: series UID -> keyword -> value -> number of instances."""
    rows = tx.execute(
        sa.select(series.c.series_uid, series_fact.c.keyword, series_fact.c.value, series_fact.c.count)
        .join(series, series.c.id == series_fact.c.series_id)
        .where(series.c.study_id == study_id)
    )
    found: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        found.setdefault(row.series_uid, {}).setdefault(row.keyword, {})[row.value] = row[3]
    return found


def uid_of(tx: Connection, study_id: int) -> str:
    """The Study Instance UID of a row."""
    return str(tx.execute(sa.select(study.c.study_uid).where(study.c.id == study_id)).scalar_one())


def note_facts(tx: Connection, series_id: int, facts: Mapping[str, Mapping[str, int]]) -> None:
    """Replace the header facts of a series: keyword -> value -> number of instances."""
    tx.execute(sa.delete(series_fact).where(series_fact.c.series_id == series_id))
    rows = [
        dict(series_id=series_id, keyword=keyword, value=value, count=count)
        for keyword, values in facts.items()
        for value, count in values.items()
    ]
    if rows:
        tx.execute(sa.insert(series_fact), rows)


def named(tx: Connection, study_id: int | None, input_set_id: int | None) -> tuple[str, str]:
    """The UID of a study and the network of an input set; each empty where there is none."""
    uid = tx.execute(sa.select(study.c.study_uid).where(study.c.id == study_id)).scalar() if study_id else None
    of = sa.select(input_set.c.network).where(input_set.c.id == input_set_id)
    network = tx.execute(of).scalar() if input_set_id else None
    return uid or "", network or ""
