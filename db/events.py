"""The record: what was learnt, judged, decided and released, by whom. Append-only; each event hashes the one before.

Whoever changes, takes out or reorders rows breaks the chain, and `verify` names the first place. Rows that were cut off
at the end, and a chain that was hashed anew from some row on, show only against a head that was noted elsewhere
(`planimeter audit head`). Events name patients by pseudonyms at most; no name, no PatientID, no UID of a study.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Row, clock
from .tables import event

#: what the first event has in place of a predecessor's hash
NONE_BEFORE = "0" * 64
#: of PostgreSQL's advisory locks; no other module uses this number
LOCK = 7564
PAGE = 1000


Event = Row | Mapping[str, Any]
"""a row of the record, from the database or from a copy"""


@dataclass(frozen=True)
class Head:
    """The newest event: to be noted where nobody who can write the database can write."""

    number: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.number}:{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """A head as `str` gives it.

        Raises:
            ValueError: it is something else.
        """
        number, colon, sha256 = text.strip().partition(":")
        if not (number.isdecimal() and colon and len(sha256) == 64 and set(sha256) <= set("0123456789abcdef")):
            raise ValueError("a head of the record is NUMBER:SHA256, as `planimeter audit head` prints it")
        return cls(int(number), sha256)


def lock(tx: Connection) -> None:
    """Let nobody else append until this transaction ends.

    Whoever decides from rows what to append takes it before reading them. On SQLite the transaction has it already:
    there is one writer at a time (BEGIN IMMEDIATE).
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))


def append(tx: Connection, who: str, what: str, subject: str, details: Mapping[str, Any] | None = None) -> int:
    """Append an event in the transaction of what it records; its number, which counts from 1 without a gap.

    Args:
        subject: what it is about: a network, mostly.
        details: plain values of JSON, without NaN; nothing that names a patient.
    """
    lock(tx)
    before = head(tx)
    row: dict[str, Any] = {
        "number": before.number + 1 if before else 1,
        "at": clock(tx),
        "who": who,
        "what": what,
        "subject": subject,
        "details": json.dumps(dict(details or {}), sort_keys=True, separators=(",", ":"), allow_nan=False),
        "before": before.sha256 if before else NONE_BEFORE,
    }
    tx.execute(sa.insert(event).values(**row, sha256=digest(row)))
    return int(row["number"])


def digest(row: Event) -> str:
    """The SHA-256 of an event: of a JSON array of its columns in their order, without spaces, ASCII alone."""
    said = [row[name] for name in ("number", "at", "who", "what", "subject", "details", "before")]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode("ascii")).hexdigest()


def head(tx: Connection) -> Head | None:
    """The newest event; None while there is none."""
    query = sa.select(event.c.number, event.c.sha256).order_by(event.c.number.desc()).limit(1)
    row = tx.execute(query).one_or_none()
    return Head(int(row.number), row.sha256) if row else None


def listing(tx: Connection, subject: str | None = None, limit: int | None = None) -> Sequence[Row]:
    """Events, newest first."""
    query = sa.select(event).order_by(event.c.number.desc()).limit(limit)
    if subject is not None:
        query = query.where(event.c.subject == subject)
    return tx.execute(query).mappings().all()


def last(tx: Connection, what: str) -> Row | None:
    """The newest event of a kind, or None."""
    query = sa.select(event).where(event.c.what == what).order_by(event.c.number.desc()).limit(1)
    return tx.execute(query).mappings().one_or_none()


def page(tx: Connection, *, before: int | None, limit: int, **which: str) -> Sequence[Row]:
    """Some events, newest first.

    Args:
        before: only those with a smaller number.
        which: what, who or subject that they have.
    """
    query = sa.select(event).order_by(event.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(event.c.number < before)
    return tx.execute(query.where(*(event.c[name] == value for name, value in which.items()))).mappings().all()


def kinds(tx: Connection) -> dict[str, list[str]]:
    """What can be chosen by: the words of `what`, `who` and `subject` that there are."""
    columns = {name: event.c[name] for name in ("what", "who", "subject")}
    return {
        name: list(tx.execute(sa.select(column).distinct().order_by(column)).scalars())
        for name, column in columns.items()
    }


def every(tx: Connection) -> Iterator[Row]:
    """All events, oldest first; a page of them in memory at a time."""
    query, after = sa.select(event).order_by(event.c.number).limit(PAGE), None
    while True:
        page = tx.execute(query if after is None else query.where(event.c.number > after)).mappings().all()
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]["number"]


def verify(tx: Connection, head: Head | None = None) -> str | None:
    """None where the record is whole; else a sentence that names the first event that is not as it was written.

    Args:
        head: as it was noted earlier; with it, events cut off at the end and a rewritten chain are found too.
    """
    return check(every(tx), head)


def check(rows: Iterable[Event], head: Head | None = None) -> str | None:
    """The same for events from anywhere, oldest first: an exported record, for one."""
    number, sha256 = 0, NONE_BEFORE
    for row in rows:
        if fault := _fault(row, number + 1, sha256):
            return fault
        number, sha256 = number + 1, row["sha256"]
        if head is not None and number == head.number and sha256 != head.sha256:
            return f"event {number} is not the one that was noted: the record was written anew up to it"
    if head is not None and number < head.number:
        ends = f"ends with event {number}" if number else "is empty"
        return f"event {number + 1} is missing: the record {ends}, and event {head.number} was noted"
    return None


def _fault(row: Event, number: int, before: str) -> str | None:
    """What is wrong with the event that should have this number and follow an event with this hash."""
    if row["number"] != number:
        return f"event {number} is missing"
    if digest(row) != row["sha256"]:
        place = _place(row, number)
        moved = f": it was written as event {place}, and the order was changed" if place else ""
        return f"event {number} was changed{moved}"
    if row["before"] != before:
        if number == 1:
            return "event 1 is not the first that was written: those before it are missing"
        return f"event {number - 1} was changed and hashed anew: event {number} followed another one"
    return None


def _place(row: Event, number: int) -> int | None:
    """Which number an event had when it was hashed, looked for around the one it has now; None: it was changed."""
    for distance in range(1, 1001):
        for other in (number - distance, number + distance):
            if digest({**row, "number": other}) == row["sha256"]:
                return other
    return None
