"""The live queue with thousands of studies: what its questions to the database take, and its first paint.

    python -P -m tests.bench.pages --studies 5000 --images 200

Prints milliseconds for SQLite and PostgreSQL (where it is installed): each question of the page, the page as the
server answers it, the fragment where something and where nothing was written, and in Chromium (where that is)
the time to first paint and how far what is shown is behind a commit. Then the questions again on days on which all the
studies are alike: all waiting, all being sent, all failed, ... `--only sending` measures one of these days alone.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from config.settings import load
from db import deadlines, overview, queue, schema
from db.accounts import Role
from db.database import Database, clock, open_database, sqlite_url
from db.queue import Wanted
from db.tables import job
from node.app import Node, open_node
from node.operations import queue as view
from tests.crowd import MIXES, Crowd, all_alike, as_usual
from tests.pages import Site, chromium, serving
from tests.postgres import Postgres

ROUNDS = 15


def fill(database: Database, studies: int, images: int) -> None:
    with database.write() as tx:
        crowd = Crowd(Random(0), clock(tx))
        as_usual(crowd, studies, images)
        crowd.write(tx)
    tidy(database)


def become(database: Database, state: str) -> None:
    """A day on which all studies are alike."""
    with database.write() as tx:
        all_alike(tx, Crowd(Random(0), clock(tx)), state)
    tidy(database)


def tidy(database: Database) -> None:
    """As PostgreSQL does by itself within a minute."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("VACUUM ANALYZE"))


def milliseconds(what: Callable[[], Any]) -> float:
    """The median of some rounds, after a first one."""
    what()
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        what()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def questions(database: Database) -> dict[str, float]:
    """Each question that the queue asks."""

    def ask(question: Callable[[Any], Any]) -> float:
        def once() -> None:
            with database.read() as tx:
                question(tx)

        return milliseconds(once)

    with database.read() as tx:
        ids = queue.page(tx, Wanted(), "", 50)
        middle = ids[0] // 2
    return {
        "counts of all states": ask(lambda tx: queue.counts(tx, Wanted())),
        "counts, one route": ask(lambda tx: queue.counts(tx, Wanted(route="chest"))),
        "counts, one network and destination": ask(
            lambda tx: queue.counts(tx, Wanted(network="mr_tumour", destination="research"))
        ),
        "newest 50": ask(lambda tx: queue.page(tx, Wanted(), "", 50)),
        "50 from the middle": ask(lambda tx: queue.page(tx, Wanted(), "", 50, before=middle)),
        "50 that are done": ask(lambda tx: queue.page(tx, Wanted(), "done", 50)),
        "50 that failed": ask(lambda tx: queue.page(tx, Wanted(), "failed", 50)),
        "50 of one destination": ask(lambda tx: queue.page(tx, Wanted(destination="research"), "", 50)),
        "what is shown of 50": ask(lambda tx: overview.studies(tx, ids=ids)),
        "who sent them": ask(lambda tx: queue.facts(tx, ids)),
        "an accession number": milliseconds(lambda: view.search(database, "ACC000777")),
        "all of a page": milliseconds(lambda: view.page(database, Wanted())),
        "all of a page of failures": milliseconds(lambda: view.page(database, Wanted(), "failed")),
    }


def alike(database: Database, state: str) -> dict[str, float]:
    """The questions of the page on a day on which all studies are alike, and the whole page."""

    def ask(question: Callable[[Any], Any]) -> float:
        def once() -> None:
            with database.read() as tx:
                question(tx)

        return milliseconds(once)

    with database.read() as tx:
        ids = queue.page(tx, Wanted(), state, 50)
        assert len(ids) == 50, state
        assert {name for name, count in queue.counts(tx, Wanted()).items() if count} == {state}
    return {
        f"all {state}: counts": ask(lambda tx: queue.counts(tx, Wanted())),
        f"all {state}: counts of one network": ask(lambda tx: queue.counts(tx, Wanted(network="mr_tumour"))),
        f"all {state}: 50 of them": ask(lambda tx: queue.page(tx, Wanted(), state, 50)),
        f"all {state}: what is shown of 50": ask(lambda tx: shown(tx, ids)),
        f"all {state}: the 50 most urgent": ask(lambda tx: queue.urgent(tx, Wanted(), 50)),
        f"all {state}: not chosen from": ask(deadlines.unchosen),
        f"all {state}: all of a page": milliseconds(lambda: view.page(database, Wanted(), promise=promise)),
        f"all {state}: all of an urgent page": milliseconds(lambda: view.urgent(database, Wanted(), promise)),
    }


def shown(tx: Any, ids: list[int]) -> None:
    for question in (overview.studies, queue.facts, queue.modalities, queue.open_jobs, queue.sent, deadlines.soonest):
        question(tx, ids=ids)


def promise(_modalities: object, _sender: str) -> float:
    """Every study is due an hour after its last image."""
    return 3600.0


def answers(site: Site) -> dict[str, float]:
    """What the server takes for an answer."""
    with site.client(Role.VIEWER) as client:
        page = milliseconds(lambda: client.get("/queue"))
        fragment = {"x-planimeter-fragment": "1"}
        etag = client.get("/queue/rows", headers=fragment).headers["etag"]
        headers = fragment | {"if-none-match": etag}
        same = milliseconds(lambda: client.get("/queue/rows", headers=headers))
        assert client.get("/queue/rows", headers=headers).status_code == 304
        after: list[float] = []
        for number in range(ROUNDS):
            progress(site.node.database, number)
            start = time.perf_counter()
            nobody_else = f"/queue/rows?before={10**9 + number}"  # what another one has just asked for would be shared
            assert client.get(nobody_else, headers=headers).status_code == 200
            after.append((time.perf_counter() - start) * 1000)
    return {"the page": page, "rows, nothing written": same, "rows, something written": statistics.median(after)}


def progress(database: Database, windows: int) -> None:
    with database.write() as tx:
        tx.execute(sa.update(job).where(job.c.state == "running").values(windows_done=windows))


def painted(site: Site) -> dict[str, float]:
    """In Chromium: first paint, and how long after a commit it is seen."""
    program = shutil.which("chromium", path="/usr/bin:/usr/local/bin")
    if program is None:
        return {}
    with chromium(program) as browser:
        page = site.page(browser, Role.VIEWER)
        paints, behind = [], []
        for _ in range(5):
            page.goto("/queue")
            entry = "performance.getEntriesByName('first-contentful-paint')[0]"
            page.wait_for_function(f"() => {entry}")
            paints.append(page.evaluate(f"() => {entry}.startTime"))
        for number in range(5):
            windows = 20 + number
            progress(site.node.database, windows)
            start = time.perf_counter()
            page.get_by_text(f"{windows} of ").first.wait_for()
            behind.append((time.perf_counter() - start) * 1000)
        page.close()
    return {"first paint": statistics.median(paints), "seen after a commit": max(behind)}


def measured(node: Node) -> dict[str, float]:
    found = questions(node.database)
    with serving(node) as site:
        return found | answers(site) | painted(site)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--only", choices=list(MIXES), help="one day on which all studies are alike, and no more")
    options = parser.parse_args()
    columns: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planimeter-")))
        urls = {"SQLite": sqlite_url(folder / "rows.db")}
        programs = Postgres.find()
        if programs is not None:
            urls["PostgreSQL"] = stack.enter_context(Postgres(programs)).new_database()
        for name, url in urls.items():
            database = open_database(url)
            schema.require(database)
            fill(database, options.studies, options.images)
            database.dispose()
            node = open_node(load(None, {"node": {"home": folder / name}, "database": {"url": url}}))
            columns[name] = {} if options.only else measured(node)
            for state in [options.only] if options.only else MIXES:
                become(node.database, state)
                columns[name] |= alike(node.database, state)
            node.close()
    table = Table(title=f"{options.studies} studies of {options.images} images: ms (median; the last row: longest)")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for what in columns["SQLite"]:
        table.add_row(what, *(f"{column[what]:.1f}" for column in columns.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
