"""`planimeter fetch`: by accession at once, of many days at night, one study at a time and none twice."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.settings import load
from db import fetches, jobs, lost_jobs
from db.database import Conflict, Database
from db.job_states import Claim, JobKind, Report
from db.tables import job
from node import cli
from node.app import Node, open_node
from node.worker import LOOPS, Worker
from tests.driving import jobs_of
from tests.fake_archive import FakeArchive
from tests.pulling import study

UID = study(1)[0].StudyInstanceUID


@pytest.fixture(scope="module")
def server() -> Iterator[FakeArchive]:
    with FakeArchive() as made:
        yield made


@pytest.fixture
def archive(server: FakeArchive) -> Iterator[FakeArchive]:
    server.reset([*study(1), *study(2), *study(4)])
    yield server
    server.over.set()


def configured(tmp_path: Path, archive: FakeArchive, window: str = "") -> Path:
    file = tmp_path / "planimeter.toml"
    file.write_text(
        f'[node]\nhome = "{tmp_path / "home"}"\n[receive]\nreserve_gb = 0\n[fetch]\nwindow = "{window}"\n'
        f'[[peer]]\nname = "archive"\nae_title = "ARCHIVE"\n'
        f'query = {{ host = "127.0.0.1", port = {archive.port}, retrieve = "get" }}\n'
    )
    return file


@pytest.fixture
def fetch(tmp_path: Path, archive: FakeArchive, migrated: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `planimeter fetch`: exit status, what it said, and what it said of errors."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(migrated, tmp_path / "home" / "planimeter.db")
    file = configured(tmp_path, archive)

    def run(*arguments: str, window: str = "") -> tuple[int, str, str]:
        if window:
            configured(tmp_path, archive, window)
        status = cli.main(["fetch", "--config", str(file), *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def node(fetch: Any, tmp_path: Path) -> Iterator[Node]:
    opened = open_node(load(tmp_path / "planimeter.toml"))
    yield opened
    opened.close()


def here(node: Node, number: int) -> int:
    with node.database.read() as tx:
        return fetches.here(tx, study(number, 1)[0].StudyInstanceUID)


def work(node: Node) -> int:
    """Work off what is due to be fetched; how many attempts that were."""
    for number in range(20):
        with node.database.write() as tx:
            claim = jobs.claim(tx, [JobKind.FETCH], "test", 60)
        if claim is None:
            return number
        Worker(node, "test").attempt(claim)
    raise AssertionError("no end of it")


def test_a_study_is_fetched_by_its_accession_number(fetch: Any, node: Node) -> None:
    status, said, shown = fetch("--accession", "A2")
    assert status == 0
    assert "3 objects are here, 3 of them new" in said
    assert "studies at archive (1)" in shown
    assert (here(node, 1), here(node, 2)) == (0, 3)
    status, said, _ = fetch("--accession", "A2")
    assert (status, "were here already" in said) == (0, True)


def test_what_would_come_is_shown_without_fetching(fetch: Any, node: Node, archive: FakeArchive) -> None:
    status, said, shown = fetch("--patient", "P1", "--modality", "ct", "--list")
    assert (status, said) == (0, "")
    assert "20260104" in shown
    assert archive.retrievals == 0


def test_priors_come_with_it_and_before_it(fetch: Any, node: Node) -> None:
    status, said, _ = fetch("--accession", "A4", "--priors", "1")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ["20260102", "20260104"]
    assert [here(node, number) for number in (1, 2, 4)] == [0, 3, 3]


def test_one_study_that_fails_keeps_no_other_back(fetch: Any, node: Node, archive: FakeArchive) -> None:
    archive.fails = {archive.objects[0].SOPInstanceUID}
    status, said, _ = fetch("--patient", "P1")
    assert status == 1
    assert "fetch-incomplete: 2 of 3 objects are here" in said
    assert [here(node, number) for number in (1, 2, 4)] == [2, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--accession", "A9"], "has no such study"),
        (["--accession", "A*"], "would match other ones"),
        ([], "say which studies"),
        (["--series", "1.2.3"], "give --study too"),
        (["--accession", "A1", "--from", "nobody"], "those that have one: archive"),
        (["--days", "yesterday"], "are no days such as"),
        (["--days", "2026-01-02..2026-01-01"], "is after the last one"),
        (["--days", "1900-01-01..2026-01-01"], "days at once are too many"),
        (["--until", "2026-01-01"], "--until needs --since"),
        (["--days", "2026-01-01", "--priors", "1"], "--priors goes with"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(fetch: Any, arguments: list[str], said: str) -> None:
    status, _, error = fetch(*arguments)
    assert status == 1
    assert said in error.replace("\n", " ")


# ------------------------------------------------------------------ by jobs


def test_days_are_fetched_as_jobs_and_nothing_twice(fetch: Any, node: Node, archive: FakeArchive) -> None:
    fetch("--accession", "A2")
    archive.retrievals = 0
    status, said, _ = fetch("--days", "2026-01-01..2026-01-03")
    assert (status, said) == (0, "1 studies are fetched one after the other, beginning now; 1 are here already\n")
    assert archive.retrievals == 0
    assert "1 were asked for before" in fetch("--since", "2026-01-01", "--until", "2026-01-03")[1]
    assert work(node) == 1
    assert [here(node, number) for number in (1, 2, 4)] == [3, 3, 0]
    (done,) = jobs_of(node, JobKind.FETCH)
    assert (done["state"], done["reason"]) == ("done", "fetched: 3 objects are here, 3 of them new")
    assert (
        "0 studies are fetched one after the other, beginning now; 2 are here"
        in fetch("--days", "2026-01-01..2026-01-03")[1]
    )
    assert work(node) == 0


def test_jobs_wait_for_their_hours(fetch: Any, node: Node, archive: FakeArchive) -> None:
    now = datetime.now().astimezone()
    begins, ends = (now + timedelta(hours=hours) for hours in (6, 8))
    window = f"{begins:%H:%M}-{ends:%H:%M}"
    said = fetch("--days", "2026-01-01", window=window)[1]
    assert "when the window opens" in said
    assert work(node) == 0
    with node.database.write() as tx:  # also one that was claimed when they ended
        tx.execute(sa.update(job).values(run_after=0))
    there = open_node(load(node.archive.home.parent / "planimeter.toml"))
    assert work(there) == 1
    (waits,) = jobs_of(there, JobKind.FETCH)
    there.close()
    assert (waits["state"], waits["attempts"]) == ("waiting", 0)
    assert waits["reason"].startswith("outside-window")
    assert archive.retrievals == 0


def test_a_job_whose_worker_died_is_taken_up_again(fetch: Any, node: Node) -> None:
    fetch("--days", "2026-01-01")
    with node.database.write() as tx:
        assert jobs.claim(tx, [JobKind.FETCH], "dead", 60)
    assert work(node) == 0
    with node.database.write() as tx:
        assert lost_jobs.rescue(tx, worker="dead") == 1
    assert work(node) == 1
    assert here(node, 1) == 3


def test_a_pacs_that_is_away_uses_up_no_attempt(fetch: Any, node: Node, archive: FakeArchive) -> None:
    fetch("--days", "2026-01-01")
    archive.status = 0xA701
    assert work(node) == 1
    (waits,) = jobs_of(node, JobKind.FETCH)
    assert (waits["state"], waits["attempts"]) == ("waiting", 0)
    archive.status, archive.abort_after = None, 1
    with node.database.write() as tx:
        tx.execute(sa.update(job).values(run_after=0))
    assert work(node) == 1
    (failed,) = jobs_of(node, JobKind.FETCH)
    assert (failed["state"], failed["attempts"]) == ("waiting", 1)


def test_a_study_of_which_nothing_can_be_sent_uses_up_its_attempts_and_is_in_nobodys_way(
    fetch: Any, node: Node, archive: FakeArchive
) -> None:
    fetch("--days", "2026-01-01..2026-01-04")
    archive.fails = {ds.SOPInstanceUID for ds in archive.objects if ds.StudyInstanceUID == UID}
    for _ in range(10):
        work(node)
        with node.database.write() as tx:
            tx.execute(sa.update(job).values(run_after=0))
    assert sorted(one["state"] for one in jobs_of(node, JobKind.FETCH)) == ["dead", "done", "done"]
    assert [here(node, number) for number in (1, 2, 4)] == [0, 3, 3]


def test_a_pacs_that_is_away_is_not_knocked_at_by_every_job(fetch: Any, node: Node, archive: FakeArchive) -> None:
    fetch("--days", "2026-01-01..2026-01-04")
    assert len(jobs_of(node, JobKind.FETCH)) == 3
    archive.find_status = 0xA700
    assert work(node) == 1
    assert [one["state"] for one in jobs_of(node, JobKind.FETCH)] == ["waiting"] * 3


def test_every_kind_of_job_has_a_loop_that_does_it() -> None:
    assert sorted(kind for kinds in LOOPS.values() for kind in kinds) == sorted(JobKind)


def test_a_study_that_is_gone_is_refused(fetch: Any, node: Node, archive: FakeArchive) -> None:
    fetch("--days", "2026-01-01")
    archive.objects.clear()
    work(node)
    (gone,) = jobs_of(node, JobKind.FETCH)
    assert (gone["state"], gone["reason"]) == ("refused", "not-at-pacs: the PACS has no such study")


def test_one_study_is_fetched_at_a_time(database: Database) -> None:
    """On both databases, whoever claims at the same moment."""
    with database.write() as tx:
        for number in range(12):
            assert fetches.ask(tx, "archive", f"1.{number}", 3, 0)
            assert not fetches.ask(tx, "archive", f"1.{number}", 3, 0)
    held: list[Claim] = []

    def claim() -> None:
        try:
            with database.write() as tx:
                found = jobs.claim(tx, [JobKind.FETCH], "w", 60)
        except Conflict:
            return
        if found is not None:
            held.append(found)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    with database.write() as tx:
        jobs.postpone(tx, held[0], Report(code="x", sentence="y"), 100)
    claim()
    assert len(held) == 2


def test_what_was_fetched_at_night_is_segmented_behind_what_comes_by_day(database: Database) -> None:
    with database.write() as tx:
        assert not fetches.in_no_hurry(tx, "1.2", ["archive"])
        fetches.ask(tx, "archive", "1.2", 3, 0)
        assert fetches.in_no_hurry(tx, "1.2", ["other", "archive"])
        assert not fetches.in_no_hurry(tx, "1.2", ["other"])
        assert not fetches.in_no_hurry(tx, "1.2", [])
        assert not fetches.in_no_hurry(tx, "1.20", ["archive"])
