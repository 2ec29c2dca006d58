"""How a database goes about a question: what it was asked, and the plan that it makes for that."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db.database import Database

#: these grow with everything that was ever done; an index that begins with one of these columns alone is as long
BIG = frozenset(
    {
        "study",
        "series",
        "instance",
        "input_set",
        "job",
        "attempt",
        "result",
        "delivery",
        "dispatch",
        "patient",
        "measurement",
    }
)
STEP = re.compile(r"(SCAN|SEARCH) (\w+)(?: USING (?:AUTOMATIC )?(?:PARTIAL )?(?:COVERING )?INDEX (\w+))?(?: \((.*)\))?")
#: of these columns a few values stand for all rows there are
COARSE = {"kind", "state", "network", "destination", "source", "modality", "outcome"}


@contextmanager
def asked(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed within, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many and re.match(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)", statement):
            seen.append((statement, parameters))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def faults(tx: Connection, statement: str, parameters: Any) -> list[str]:
    """The steps of its plan that go through all rows of a big table.

    The newest so many of a table are found by its primary key, from the end: that is no such step, though plans call
    it one. Nor is what `ix_study_settling` answers: studies of all states but one are few.
    """
    newest = re.findall(r"ORDER BY (\w+)\.id DESC\s+LIMIT", statement) + re.findall(r"max\((\w+)\.id\)", statement)
    found = _faults(tx, statement, parameters)
    for table in re.findall(r"FROM (\w+)\s+LIMIT", statement):  # any so many of it
        found = [fault for fault in found if not re.search(rf"(SCAN|on) {table}\b", fault)]
    for table in newest:  # as often as it is asked so, and no further time
        mine = [fault for fault in found if re.search(rf"(SCAN {table}|pk_{table})\b", fault)]
        if mine:
            found.remove(mine[0])
    return [fault for fault in found if not re.search(r"ix_study_settling\b", fault)]


def _faults(tx: Connection, statement: str, parameters: Any) -> list[str]:
    if tx.dialect.name == "sqlite":
        rows = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return [row.detail for row in rows if _sqlite_goes_through_all(tx, row.detail)]
    (found,) = tx.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).one()
    plan = json.loads(found) if isinstance(found, str) else found
    return list(_postgres_faults(tx, plan[0]["Plan"]))


def _partial(tx: Connection, index: str) -> bool:
    """Whether an index holds some of the rows only."""
    if tx.dialect.name == "sqlite":
        text = tx.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).scalar()
    else:
        text = tx.exec_driver_sql("SELECT indexdef FROM pg_indexes WHERE indexname = %s", (index,)).scalar()
    return " where " in (text or "").lower()


def _sqlite_goes_through_all(tx: Connection, detail: str) -> bool:
    step = STEP.match(detail)
    if step is None:
        return "AUTOMATIC" in detail and "INDEX" in detail
    kind, table, index, terms = step.groups()
    table = {"newer": "input_set", "parent": "job", "other": "job"}.get(table, table)
    if table not in BIG:
        return False
    if "AUTOMATIC" in detail:
        return True
    if kind == "SCAN":
        return index is None or not _partial(tx, index)
    if index is None or _partial(tx, index):
        return False  # by the primary key, or few
    columns = set(re.findall(r"(\w+)=", terms or ""))
    return columns <= COARSE


def _postgres_faults(tx: Connection, node: dict[str, Any]) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name", "")
    index = node.get("Index Name", "")
    said = f"{kind} on {table or index} {index} {node.get('Index Cond', '')}".strip()
    if kind == "Seq Scan" and table in BIG:
        yield said
    elif index and not _partial(tx, index) and (table in BIG or kind == "Bitmap Index Scan"):
        columns = set(re.findall(r"\(?(\w+)\)?(?:::\w+)? [=<>]", node.get("Index Cond", "")))
        if columns <= COARSE:
            yield said
    for below in node.get("Plans", []):
        yield from _postgres_faults(tx, below)


def all_faults(database: Database, question: Callable[[Connection], object]) -> list[str]:
    """Ask something in a transaction that is rolled back; what of its plans goes through all rows."""
    with asked(database) as seen, database.engine.connect() as connection:
        transaction = connection.begin()
        try:
            question(connection)
            given = {(statement, repr(parameters)): parameters for statement, parameters in seen}
            return [
                f"{fault}\n    {statement}"
                for (statement, _), parameters in given.items()
                for fault in faults(connection, statement, parameters)
            ]
        finally:
            transaction.rollback()
