"""What may be removed by policy, and what stays though it is old enough: planned and shown; `purge` does it.

Nothing goes of which somebody may still need anything (`db.retention.blocked`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from typing import Any

from db import retention
from db.database import Database

from .terminal import new_table, output, plain

DAY_SECONDS = 86_400.0
SHOWN = 40


class What(StrEnum):
    """Kinds of things that go, in the order in which they go when there is no room."""

    REVISIONS = "revisions"
    LABELS = "labels"
    ORIGINALS = "originals"
    RESULTS = "results"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The keys of `[retention]`; days of 0: for ever.

    Attributes:
        wait_seconds: from a time of the day until things go by themselves.
        committing: the destinations that are asked for storage commitment.
        refuse_bytes, reserve_bytes: below so much free space callers are turned away, and objects.
    """

    originals_days: float = 0
    originals_when_committed: bool = False
    results_days: float = 0
    labels_days: float = 0
    revisions_days: float = 0
    history_days: float = 0
    when_full: bool = False
    wait_seconds: Callable[[time], float] = lambda _: 0.0
    committing: frozenset[str] = frozenset()
    refuse_bytes: int = 0
    reserve_bytes: int = 0

    @property
    def days(self) -> dict[What, float]:
        """Of the kinds that go some day."""
        each = {
            What.REVISIONS: self.revisions_days,
            What.LABELS: self.labels_days,
            What.ORIGINALS: self.originals_days,
            What.RESULTS: self.results_days,
        }
        return {what: days for what, days in each.items() if days}

    @property
    def removes_anything(self) -> bool:
        return bool(self.days or self.history_days or self.originals_when_committed)


@dataclass(frozen=True, kw_only=True)
class Going:
    """Objects of one study that may go.

    Attributes:
        since: of the last of them, seconds since 1970.
        older_seconds: than they have to be when it is done.
    """

    what: What
    study_id: int
    study_uid: str
    files: int
    bytes: int
    because: str
    since: float
    older_seconds: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would go, and what would if nothing spoke against it.

    Attributes:
        kept: reason -> number of studies that are old enough.
        rows: table -> rows that only tell what happened.
    """

    going: tuple[Going, ...]
    kept: dict[str, int]
    rows: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.going)


# -------------------------------------------------------------------- planning


def plan(database: Database, policy: Policy, *, full: bool = False) -> Plan:
    """What may go now.

    Args:
        full: there is no room: what would go some day goes at once, the oldest first.
    """
    with database.read() as tx:
        stays = retention.blocked(tx, policy.committing)
        old = _old(tx, policy, full=full)
        rows = retention.history(tx, policy.history_days * DAY_SECONDS) if policy.history_days else {}
    going = tuple(one for one in old if one.study_id not in stays)
    kept = Counter(stays[study_id] for study_id in {one.study_id for one in old if one.study_id in stays})
    return Plan(going=going, kept=dict(kept), rows=rows)


def _old(tx: Any, policy: Policy, *, full: bool) -> list[Going]:
    found: list[Going] = []
    for what, days in policy.days.items():
        seconds = 0.0 if full else days * DAY_SECONDS
        because = "there is no room" if full else f"older than {days:g} days"
        found += [_going(what, row, because, seconds) for row in _rows(tx, what, seconds)]
    if policy.originals_when_committed:
        there = {(one.what, one.study_id) for one in found}
        over = retention.taken_over(tx)
        for row in retention.originals(tx, 0.0):
            if row.study_id in over and (What.ORIGINALS, row.study_id) not in there:
                found.append(_going(What.ORIGINALS, row, "its results were taken over", 0.0))
    order = list(What)
    return sorted(found, key=lambda one: (order.index(one.what), one.since))


def _rows(tx: Any, what: What, seconds: float) -> Sequence[Any]:
    if what is What.ORIGINALS:
        return retention.originals(tx, seconds)
    if what is What.RESULTS:
        return retention.results(tx, seconds)
    return retention.instances(tx, what, seconds)


def _going(what: What, row: Any, because: str, older_seconds: float) -> Going:
    return Going(
        what=what,
        study_id=row.study_id,
        study_uid=row.study_uid,
        files=int(row.files),
        bytes=int(row.bytes or 0),
        because=because,
        since=float(row.since),
        older_seconds=older_seconds,
    )


# --------------------------------------------------------------------- showing


def as_values(planned: Plan) -> dict[str, Any]:
    """For programs; the keys are kept from version to version."""
    return {
        "bytes": planned.bytes,
        "going": [
            {
                "what": str(one.what),
                "study_uid": one.study_uid,
                "files": one.files,
                "bytes": one.bytes,
                "because": one.because,
                "since": datetime.fromtimestamp(one.since).astimezone().isoformat(timespec="seconds"),
            }
            for one in planned.going
        ],
        "kept": planned.kept,
        "rows": planned.rows,
    }


def print_plan(planned: Plan, policy: Policy) -> None:
    """For people: what would go and why, and what stays though it is old enough."""
    console = output()
    if not policy.removes_anything:
        console.print("Nothing is removed by itself: [retention] of the configuration keeps everything for ever.")
        return
    table = new_table(f"would go: {planned.bytes / 1e9:.2f} GB", ("what", "study", "files", "MB", "because"))
    for one in planned.going[:SHOWN]:
        table.add_row(one.what, plain(one.study_uid), str(one.files), f"{one.bytes / 1e6:.1f}", one.because)
    console.print(table)
    if len(planned.going) > SHOWN:
        console.print(f"[dim]and {len(planned.going) - SHOWN} more; --json shows all[/]")
    for because, count in planned.kept.items():
        console.print(f"{count} studies are old enough and stay: {because}")
    for name, count in planned.rows.items():
        console.print(f"{count} rows of {name} would go")
