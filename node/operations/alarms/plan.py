"""What becomes of incidents, given what is wrong now: sums over values, no database.

An incident is pending until it has held for as long as its kind asks; then it is open and people are told, once. It
stays one while it lasts. It is closed when it was not seen for `clear_seconds`, so that what comes and goes is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from db.database import Row

from .findings import Finding
from .rules import AlarmPolicy

#: how old what an incident's row says may be
NOTE_SECONDS = 60.0


class Step(StrEnum):
    """What happens to an incident."""

    BEGIN = "begin"
    FORGET = "forget"
    OPEN = "open"
    NOTE = "note"
    GROW = "grow"
    REMIND = "remind"
    CLEAR = "clear"
    CLOSE = "close"


TOLD: dict[Step, str] = {Step.OPEN: "opened", Step.GROW: "grown", Step.REMIND: "reminder", Step.CLOSE: "closed"}
"""the steps that people are told of, by which message"""


@dataclass(frozen=True)
class Change:
    """A step, and what it writes into the incident's row.

    Attributes:
        id: of the incident; None: a new one.
    """

    step: Step
    id: int | None
    kind: str
    subject: str
    values: dict[str, Any] = field(default_factory=dict)


def changes(standing: Sequence[Row], findings: Sequence[Finding], now: float, policy: AlarmPolicy) -> list[Change]:
    """What is to be written, in the order of the incidents.

    Args:
        standing: the incidents that are pending or open.
        now: by the database's clock.
    """
    found = {(str(finding.kind), finding.subject): finding for finding in findings}
    known = {(row["kind"], row["subject"]) for row in standing}
    steps: list[Change] = []
    for row in standing:
        finding = found.get((row["kind"], row["subject"]))
        step = _gone(row, now, policy) if finding is None else _seen(row, finding, now, policy)
        steps += [step] if step else []
    return steps + [_begins(finding, now) for key, finding in found.items() if key not in known]


def _begins(finding: Finding, now: float) -> Change:
    told = finding.for_seconds >= finding.hold_seconds
    values: dict[str, Any] = dict(
        sentence=finding.sentence, count=finding.count, since=now - finding.for_seconds, state="pending"
    )
    if told:
        values |= dict(state="open", opened=now, told=now)
    return Change(Step.OPEN if told else Step.BEGIN, None, finding.kind, finding.subject, values)


def _seen(row: Row, finding: Finding, now: float, policy: AlarmPolicy) -> Change | None:
    values: dict[str, Any] = dict(sentence=finding.sentence, count=finding.count, seen=now)
    if row["clear_since"] is not None:
        values |= dict(clear_since=None, times=row["times"] + 1)
    step = Step.NOTE
    if row["state"] == "pending":
        if now - row["since"] < finding.hold_seconds:
            return None
        step, values = Step.OPEN, values | dict(state="open", opened=now, told=now)
    elif row["acknowledged"] is not None and finding.count > (row["acknowledged_count"] or 0) > 0 and _grows(row):
        step, values = Step.GROW, values | dict(acknowledged=None, acknowledged_by=None, told=now)
    elif row["acknowledged"] is None and 0 < policy.reminder_seconds <= now - (row["told"] or now):
        step, values = Step.REMIND, values | dict(told=now)
    elif row["clear_since"] is None and _same(row, finding) and now - row["seen"] < NOTE_SECONDS:
        return None
    return Change(step, row["id"], row["kind"], row["subject"], values)


def _grows(row: Row) -> bool:
    """Whether more of it is news to somebody who knows of it: dead letters stay until a person has looked at each."""
    return bool(row["kind"] == "dead-letter")


def _same(row: Row, finding: Finding) -> bool:
    return bool(row["count"] == finding.count and row["sentence"] == finding.sentence)


def _gone(row: Row, now: float, policy: AlarmPolicy) -> Change | None:
    if row["state"] == "pending":
        return Change(Step.FORGET, row["id"], row["kind"], row["subject"])
    if row["clear_since"] is None:
        return Change(Step.CLEAR, row["id"], row["kind"], row["subject"], dict(clear_since=now))
    if now - row["clear_since"] < policy.clear_seconds:
        return None
    values = dict(state="closed", closed=now)
    return Change(Step.CLOSE, row["id"], row["kind"], row["subject"], values)
