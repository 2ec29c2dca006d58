"""What a scrape of /metrics and a look of the alarms take with 200,000 attempts: `python -P -m tests.bench.metrics`.

Nothing is asserted: the numbers are for docs/performance.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import sqlalchemy as sa

from db import schema, tallies
from db.database import Database, open_database, sqlite_url
from db.tables import attempt, job
from node.operations import metrics
from node.operations.alarms.findings import World, look
from node.operations.alarms.rules import AlarmPolicy
from tests.postgres import Postgres

ATTEMPTS = 200_000
TIMES = 20


def fill(database: Database) -> None:
    """That many ended attempts, two thousand waiting jobs, two hundred dead letters."""
    random = Random(1)
    states = ["done"] * 197_800 + ["dead"] * 200 + ["waiting"] * 2000
    rows, ended = [], []
    for number, state in enumerate(states, 1):
        kind = ("choose", "segment", "deliver")[number % 3]
        rows.append(
            dict(
                id=number,
                kind=kind,
                subject=f"pacs/{number}",
                state=state,
                priority=10,
                source=f"CT_{number % 7}",
                run_after=number,
                max_attempts=3,
                created=number,
            )
        )
        seconds = {stage: round(random.expovariate(0.2), 3) for stage in ("volume", "network", "write")}
        ended.append(
            dict(job_id=number, fencing_token=1, worker="w", started=0.0, ended=9.0, outcome="done", seconds=seconds)
        )
    with database.write() as tx:
        for start in range(0, ATTEMPTS, 10_000):
            tx.execute(sa.insert(job), rows[start : start + 10_000])
            tx.execute(sa.insert(attempt), ended[start : start + 10_000])


def milliseconds(done: Callable[[], object]) -> str:
    """The median and the longest of some times."""
    done()
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        done()
        took.append((time.perf_counter() - begun) * 1000)
    return f"{sorted(took)[TIMES // 2]:6.1f} ms, at most {max(took):6.1f} ms"


def measure(name: str, database: Database, home: Path) -> None:
    """Print it."""
    schema.require(database)
    fill(database)
    begun, pages = time.perf_counter(), 0
    while True:
        with database.write() as tx:
            if not tallies.count_attempts(tx):
                break
        pages += 1
    took = time.perf_counter() - begun
    sys.stdout.write(
        f"{name}: counting {ATTEMPTS} attempts once: {took:.1f} s, {took / pages * 1000:.0f} ms a thousand\n"
    )

    def questions() -> None:
        metrics.snapshot(database, home, "1", [])

    def whole() -> None:
        metrics.exposition(metrics.snapshot(database, home, "1", []))

    def alarms() -> None:
        with database.read() as tx:
            look(tx, AlarmPolicy(), World(10**12, time.time()))

    sys.stdout.write(f"{name}: the questions of a scrape  {milliseconds(questions)}\n")
    sys.stdout.write(f"{name}: a whole scrape             {milliseconds(whole)}\n")
    sys.stdout.write(f"{name}: a look of the alarms       {milliseconds(alarms)}\n")
    database.dispose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", open_database(sqlite_url(Path(folder) / "rows.db")), Path(folder))
        programs = Postgres.find()
        if programs is not None:
            with Postgres(programs) as server:
                measure("PostgreSQL", open_database(server.new_database()), Path(folder))
