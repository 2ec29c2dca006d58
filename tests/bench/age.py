"""Does a node slow down with age? What it asks its database, with a thousand finished jobs and with a million.

    python -P -m tests.bench.age --jobs 1000000

Prints, for SQLite and PostgreSQL (where it is installed): claims per second (a job is claimed, prolonged and finished),
milliseconds of each question, and how many times longer it takes with the many than with the few.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from db import destinations, queue, retention, schema
from db.database import Database, open_database, sqlite_url
from db.queue import Wanted
from node.operations import metrics, status
from node.operations import queue as queue_page
from tests import aged
from tests.postgres import Postgres
from tests.questions import BOUNDED, EVERY_SECOND, WHEN_LOOKED_AT

FEW = 1000
ROUNDS = 15
CLAIMS = 300
WAITING = 400


def filled(url: str, jobs: int) -> Database:
    """A node's rows after so many finished jobs, and a few that wait."""
    database = open_database(url)
    schema.require(database)
    now = time.time()
    with database.write() as tx:
        aged.fill(tx, jobs // aged.JOBS, now)
        aged.some_open(tx, now)
        aged.some_waiting(tx, WAITING, now)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE" if database.is_sqlite is False else "PRAGMA optimize"))
    return database


def milliseconds(what: Callable[[], Any]) -> float:
    """The median of some rounds, after a first one."""
    what()
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        what()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def undone(database: Database, question: Callable[[Any], object]) -> Callable[[], None]:
    """Ask it, and roll back what it wrote: each round finds the same."""

    def once() -> None:
        with database.engine.connect() as connection, connection.begin() as transaction:
            question(connection)
            transaction.rollback()

    return once


def claims_per_second(database: Database) -> float:
    begun = time.perf_counter()
    for _ in range(CLAIMS):
        with database.write() as tx:
            EVERY_SECOND["claim, beat, finish"](tx)
    return CLAIMS / (time.perf_counter() - begun)


def measured(database: Database, home: Path) -> dict[str, float]:
    found = {"claims per second": claims_per_second(database)}
    for name, question in {**EVERY_SECOND, **WHEN_LOOKED_AT, **BOUNDED}.items():
        found[name] = milliseconds(undone(database, question))
    found["a scrape of /metrics"] = milliseconds(lambda: metrics.exposition(metrics.snapshot(database, home, "1", [])))
    found["planimeter status"] = milliseconds(lambda: status.overview(database, status.NEWEST))
    found["a page of the queue"] = milliseconds(lambda: queue_page.page(database, Wanted()))
    found["  of that, its counts"] = milliseconds(undone(database, lambda tx: queue.counts(tx, Wanted())))
    found["an accession number"] = milliseconds(lambda: queue_page.search(database, "ACC77"))
    found["the page of destinations"] = milliseconds(undone(database, destinations.queues))
    found["once a night: what may go"] = milliseconds(
        undone(database, lambda tx: (retention.blocked(tx, []), retention.originals(tx, 86_400 * 30)))
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planimeter-")))
        programs = Postgres.find()
        server = stack.enter_context(Postgres(programs)) if programs is not None else None
        for product in ("SQLite", "PostgreSQL"):
            if product == "PostgreSQL" and server is None:
                continue
            columns = []
            for jobs in (FEW, options.jobs):
                url = (
                    sqlite_url(folder / f"{jobs}.db")
                    if product == "SQLite" or server is None
                    else server.new_database()
                )
                begun = time.perf_counter()
                database = filled(url, jobs)
                sys.stderr.write(f"{product}: {jobs} jobs in {time.perf_counter() - begun:.0f} s\n")
                columns.append(measured(database, folder))
                database.dispose()
            show(product, columns[0], columns[1], options.jobs)


def show(product: str, few: dict[str, float], many: dict[str, float], jobs: int) -> None:
    """Print a table; the last column is how many times slower it has become."""
    table = Table(title=f"{product}: ms, the median of {ROUNDS}", title_justify="left")
    for column in ("", f"{FEW:,} jobs", f"{jobs:,} jobs", "times"):
        table.add_column(column, justify="right" if column else "left")
    for name, before in few.items():
        slower = before / many[name] if name == "claims per second" else many[name] / before
        table.add_row(name, f"{before:.1f}", f"{many[name]:.1f}", f"{slower:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
