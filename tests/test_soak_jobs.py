"""The short form of the faults of jobs, database and disk (tests/soak), each once, in seconds."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import jobs
from db.database import Database, open_database, sqlite_url
from db.job_states import JobKind
from db.tables import attempt, job
from node.app import Node, open_node
from node.inbound.peers import Doorkeeper
from node.receiver import Receiver
from node.worker import Worker
from tests.conftest import lacking
from tests.doors import door
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.postgres import Postgres
from tests.small_disk import NoMount, fill, mounted
from tests.soak.oracle import Receipts, of_results, of_store, received_by
from tests.soak.scanners import OUT_OF_RESOURCES, Scanners
from tests.synthetic import small_series
from tests.test_upgrades import settings_of
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(tmp_path / "disk", 20_000_000) as folder:
            yield folder
    except NoMount as why:
        lacking("a file system of its own", str(why))


@pytest.fixture
def restarted(postgres: Postgres, migrated_on_postgres: str) -> Iterator[Database]:
    """A database of a server that tests stop and start."""
    opened = open_database(postgres.new_database(migrated_on_postgres))
    yield opened
    opened.dispose()


def waits_because(node: Node) -> str:
    """The code of the last attempt; the job waits, and no attempt was used up."""
    (found,) = jobs_of(node, JobKind.SEGMENT)
    assert (found["state"], found["attempts"]) == ("waiting", 0)
    with node.database.read() as tx:
        outcome, code = tx.execute(sa.select(attempt.c.outcome, attempt.c.code).order_by(attempt.c.id.desc())).first()
    assert outcome == "unavailable"
    return str(code)


def once(hosts: ThresholdHosts, what: Callable[[], object]) -> None:
    """What is to happen while the network runs, the next time."""
    usual = hosts.answer

    def answer(volume: Any) -> Any:
        hosts.answer = usual
        what()
        return usual(volume)

    hosts.answer = answer


def goes_on(node: Node, pacs: FakePacs) -> None:
    """The wait is over: everything is made, sent once, and counted right."""
    with node.database.write() as tx:
        tx.execute(sa.update(job).values(run_after=0))
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert sorted(pacs.calls.values()) == [1, 1, 1]
    url = node.database.engine.url.render_as_string(hide_password=False)
    assert of_results(node.archive.home, url, {"pacs": received_by(pacs.objects)}).complaints == []


@pytest.mark.parametrize("pages", [0, 4])
def test_a_full_disk_uses_up_no_attempt_and_leaves_nothing_behind(
    pages: int, migrated: Path, tmp_path: Path, small_disk: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    """Where nothing fits, and where some of the results do."""
    shutil.copyfile(migrated, tmp_path / "rows.db")
    rows = open_database(sqlite_url(tmp_path / "rows.db"))
    node = open_node(settings_of(small_disk / "home", rows, pacs), threshold_hosts.address)
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    ballast = small_disk / "ballast"

    def no_room() -> None:
        fill(small_disk)
        os.truncate(ballast, ballast.stat().st_size // PAGE * PAGE - pages * PAGE)

    once(threshold_hosts, no_room)
    work_off(node, JobKind.SEGMENT)
    assert waits_because(node) == "disk-full"
    left = [file for folder in ("results", "spool") for file in (node.archive.home / folder).rglob("*.dcm")]
    assert left == []
    ballast.unlink()
    goes_on(node, pacs)
    node.close()
    rows.dispose()


def test_a_database_that_goes_away_while_a_network_runs_uses_up_no_attempt(
    restarted: Database,
    postgres: Postgres,
    tmp_path: Path,
    pacs: FakePacs,
    threshold_hosts: ThresholdHosts,
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = open_node(settings_of(tmp_path / "home", restarted, pacs), threshold_hosts.address)
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    once(threshold_hosts, postgres.stop)
    worker = Worker(node, "test")
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SEGMENT], worker.name, 60)
    assert claim is not None
    thread = threading.Thread(target=worker.attempt, args=(claim,))
    thread.start()
    try:
        wait_until("it cannot say how its job ended", lambda: "cannot be noted now" in caplog.text)
    finally:
        postgres.start()
    thread.join(60)
    assert not thread.is_alive()
    assert waits_because(node) == "database-unreachable"
    goes_on(node, pacs)
    node.close()


def test_no_success_is_answered_without_a_row_while_postgresql_is_restarted(
    restarted: Database, postgres: Postgres, tmp_path: Path, pacs: FakePacs
) -> None:
    node = open_node(settings_of(tmp_path / "home", restarted, pacs))
    receiver, receipts = (
        Receiver(door(associations=10, idle_seconds=60), Doorkeeper(()), node.inbox, node.database),
        Receipts(),
    )
    port = receiver.start()
    try:
        with Scanners(port, receipts, count=2) as scanners:
            for _ in range(3):
                enough = receipts.count + 5
                wait_until("images come", lambda enough=enough: receipts.count > enough)
                postgres.stop()
                postgres.start()
    finally:
        receiver.stop()
    assert set(scanners.refused) <= {OUT_OF_RESOURCES}
    node.close()
    url = restarted.engine.url.render_as_string(hide_password=False)
    assert of_store(tmp_path / "home", url, receipts).is_clean
