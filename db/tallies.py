"""Counts that only grow, whatever is purged and whoever is started again: what the metrics are made of.

An attempt that has ended is counted once (`attempt.tallied`), by the schedule process; what comes in, by the receiver
once a second. So no question goes through all rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Row, insert
from .job_states import JobKind, Outcome
from .tables import attempt, input_set, job, tally

Key: TypeAlias = tuple[str, ...]
"""a name, then labels"""

#: upper ends of the histograms of seconds
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
INFINITE = "+Inf"
#: attempts that one transaction counts
PAGE = 1000
#: different codes, stages and so on of one name; what is beyond is counted as OTHER
MOST, OTHER = 300, "other"
#: a histogram of one has so many rows
PARTS = len(BUCKETS) + 1


def add(tx: Connection, counts: Mapping[Key, float]) -> None:
    """Count, in one order for all, so that two who count at once do not wait for each other in a circle."""
    for (name, *labels), value in sorted(counts.items()):
        new = insert(tx, tally).values(name=name, labels=json.dumps(labels), value=value)
        tx.execute(
            new.on_conflict_do_update(
                index_elements=["name", "labels"], set_=dict(value=tally.c.value + new.excluded.value)
            )
        )


def read(tx: Connection) -> dict[Key, float]:
    """Everything that was counted."""
    rows = tx.execute(sa.select(tally.c.name, tally.c.labels, tally.c.value))
    return {(row.name, *json.loads(row.labels)): float(row.value) for row in rows}


def count_attempts(tx: Connection, page: int = PAGE) -> int:
    """Count attempts that have ended and are not counted yet; how many these were."""
    query = (
        sa.select(attempt, job.c.kind, job.c.subject, input_set.c.network)
        .select_from(
            attempt.join(job, job.c.id == attempt.c.job_id).outerjoin(input_set, input_set.c.id == job.c.input_set_id)
        )
        .where(sa.text("NOT attempt.tallied AND attempt.ended IS NOT NULL"))
        .order_by(attempt.c.id)
        .limit(page)
        .with_for_update(skip_locked=True, of=attempt)
    )
    rows = tx.execute(query).mappings().all()
    if not rows:
        return 0
    counts: Counter[Key] = Counter()
    for row in rows:
        for key, value in _of_attempt(row):
            counts[key] += value  # type: ignore[assignment]
    add(tx, _bounded(tx, counts))
    tx.execute(sa.update(attempt).where(attempt.c.id.in_([row["id"] for row in rows])).values(tallied=True))
    return len(rows)


def any_uncounted(tx: Connection) -> bool:
    """Whether `count_attempts` is worth a write lock."""
    query = sa.select(attempt.c.id).where(sa.text("NOT attempt.tallied AND attempt.ended IS NOT NULL"))
    return tx.execute(query.limit(1)).first() is not None


def _of_attempt(row: Row) -> list[tuple[Key, float]]:
    kind, outcome = row["kind"], row["outcome"] or Outcome.LOST.value
    found: list[tuple[Key, float]] = [(("attempts", kind, outcome), 1)]
    if outcome == Outcome.REFUSED:
        found.append((("refusals", kind, row["code"] or ""), 1))
    if kind == JobKind.DELIVER:
        found.append((("deliveries", row["subject"].rsplit("/", 1)[0], outcome), 1))
    if kind == JobKind.SEGMENT and row["network"]:
        found.append((("runs", row["network"], outcome), 1))
    stages: dict[str, Any] = {**(row["seconds"] or {}), "whole": max(0.0, row["ended"] - row["started"])}
    for stage, seconds in stages.items():
        if isinstance(seconds, int | float):
            found += [(("stage", kind, stage, bucket(seconds)), 1), (("stage_seconds", kind, stage), float(seconds))]
    return found


def bucket(seconds: float) -> str:
    """The upper end of the bucket that it falls into."""
    return next((f"{end:g}" for end in BUCKETS if seconds <= end), INFINITE)


def _bounded(tx: Connection, counts: Mapping[Key, float]) -> Mapping[Key, float]:
    """The same, where what would be one label too many of a name counts as OTHER."""
    known = set(read(tx))
    sizes = Counter(key[0] for key in known)
    bounded: Counter[Key] = Counter()
    for key, value in counts.items():
        most = MOST * PARTS if key[0] == "stage" else MOST
        kept = key
        if key not in known and sizes[key[0]] >= most:
            kept = (*key[:2], OTHER, *key[3:])
        elif key not in known:
            known.add(key)
            sizes[key[0]] += 1
        bounded[kept] += value  # type: ignore[assignment]
    return bounded
