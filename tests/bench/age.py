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

from db import queue, retention, schema
from db.database import Database, open_database, sqlite_url
from db.queue import Wanted
from node.operations import metrics, status
from node.operations import queue as queue_page
from tests import aged
from tests.postgres import Postgres
from tests.questions import BOUNDED, EVERY_SECOND, WHEN_LOOKED_AT

FEW = 1000
ROUNDS = 15
CLAIMS = 20
WAITING = 600


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


def in_turn(measure: Callable[[Database], float], databases: tuple[Database, Database]) -> tuple[float, float]:
    """The medians of some rounds, one of each in turn, after a first one: the machine is as busy for both."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for database, of in zip(databases, found, strict=True):
            value = measure(database)
            if number:
                of.append(value)
    return statistics.median(found[0]), statistics.median(found[1])


def undone(question: Callable[[Any], object]) -> Callable[[Database], float]:
    """The milliseconds of a question; what it wrote is rolled back, so each round finds the same."""

    def once(database: Database) -> float:
        with database.engine.connect() as connection, connection.begin() as transaction:
            begun = time.perf_counter()
            question(connection)
            took = time.perf_counter() - begun
            transaction.rollback()
        return took * 1000

    return once


def timed(what: Callable[[Database], object]) -> Callable[[Database], float]:
    def once(database: Database) -> float:
        begun = time.perf_counter()
        what(database)
        return (time.perf_counter() - begun) * 1000

    return once


def claims_per_second(database: Database) -> float:
    begun = time.perf_counter()
    for _ in range(CLAIMS):
        with database.write() as tx:
            EVERY_SECOND["claim, beat, finish"](tx)
    return CLAIMS / (time.perf_counter() - begun)


def measures(home: Path) -> dict[str, Callable[[Database], float]]:
    found: dict[str, Callable[[Database], float]] = {"claims per second": claims_per_second}
    found |= {name: undone(question) for name, question in {**EVERY_SECOND, **WHEN_LOOKED_AT, **BOUNDED}.items()}
    found["a scrape of /metrics"] = timed(lambda of: metrics.exposition(metrics.snapshot(of, home, "1", [])))
    found["planimeter status"] = timed(lambda of: status.overview(of, most=FEW // aged.JOBS))
    found["a page of the queue"] = timed(lambda of: queue_page.page(of, Wanted()))
    found["  of that, its counts"] = undone(lambda tx: queue.counts(tx, Wanted()))
    found["an accession number"] = timed(lambda of: queue_page.search(of, "ACC77"))
    found["once a night: what may go"] = undone(
        lambda tx: (retention.blocked(tx, []), retention.originals(tx, 86_400 * 30))
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
            made = []
            for jobs in (FEW, options.jobs):
                small = product == "SQLite" or server is None
                url = sqlite_url(folder / f"{jobs}.db") if small else server.new_database()  # type: ignore[union-attr]
                begun = time.perf_counter()
                made.append(filled(url, jobs))
                sys.stderr.write(f"{product}: {jobs} jobs in {time.perf_counter() - begun:.0f} s\n")
            few, many = made
            show(product, {name: in_turn(one, (few, many)) for name, one in measures(folder).items()}, options.jobs)
            few.dispose()
            many.dispose()


def show(product: str, found: dict[str, tuple[float, float]], jobs: int) -> None:
    """Print a table; the last column is how many times slower it has become."""
    table = Table(title=f"{product}: ms, the median of {ROUNDS}", title_justify="left")
    for column in ("", f"{FEW:,} jobs", f"{jobs:,} jobs", "times"):
        table.add_column(column, justify="right" if column else "left")
    for name, (before, after) in found.items():
        slower = before / after if name == "claims per second" else after / before
        table.add_row(name, f"{before:.1f}", f"{after:.1f}", f"{slower:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
