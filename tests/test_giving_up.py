"""A job that dies because its workers do: what rests on it is told as if its last attempt had failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import asked_exports, deliveries, jobs, labels, lost_jobs
from db.database import Database
from db.job_states import Claim, JobKind, JobState, Report
from db.tables import asked_export, attempt, delivery, input_set, instance, job, label
from node.app import Node, open_node
from node.errors import Refused
from node.giving_up import end_lost, gave_up
from node.operations import control
from node.operations.exporting import asked
from node.worker import Worker
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.test_upgrades import settings_of
from tests.test_verdicts import configure, rows
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until


@pytest.fixture
def node(database: Database, tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> Iterator[Node]:
    made = open_node(settings_of(tmp_path / "home", database, pacs), threshold_hosts.address)
    yield made
    made.close()


def claimed(node: Node, kind: JobKind) -> Claim:
    with node.database.write() as tx:
        claim = jobs.claim(tx, [kind], "doomed", 600)
    assert claim is not None
    return claim


def lost(node: Node, kind: JobKind) -> int:
    """The workers of a job die until its attempts are used up; its id. What a supervisor does of each is done."""
    while True:
        claim = claimed(node, kind)
        with node.database.write() as tx:
            back = lost_jobs.rescue(tx, worker="doomed")
        if not back:
            assert claim.attempts == claim.max_attempts
            return claim.id


def failed(node: Node, kind: JobKind) -> int:
    """Its attempts fail."""
    while True:
        claim = claimed(node, kind)
        with node.database.write() as tx:
            state = jobs.fail(tx, claim, Report(code="worker-lost", sentence=lost_jobs.WORKER_GONE), 0)
            if state is JobState.DEAD:
                gave_up(tx, node, claim, lost_jobs.WORKER_GONE)
                return claim.id


Death = Callable[[Node, JobKind], int]
HOW = pytest.mark.parametrize("death", [lost, failed])


def dead(node: Node, job_id: int) -> None:
    """The job is dead, and no attempt more is counted than there were."""
    end_lost(node)
    (row,) = (one for one in rows(node, job) if one["id"] == job_id)
    assert (row["state"], row["attempts"], row["code"]) == ("dead", row["max_attempts"], "worker-lost")
    assert row["reason"].startswith(lost_jobs.WORKER_GONE)
    tried = [one for one in rows(node, attempt) if one["job_id"] == job_id]
    assert len(tried) == row["max_attempts"]
    assert all(one["ended"] and one["code"] == "worker-lost" for one in tried)


def a_label(node: Node) -> str:
    """Something that came back and waits to be read; its SHA-256."""
    with node.database.write() as tx:
        path = tx.execute(sa.select(instance.c.path).order_by(instance.c.id).limit(1)).scalar_one()
        labels.arrived(tx, path, "5a" * 32, "received", "CALLER", 3)
    return "5a" * 32


@HOW
def test_of_a_segmentation_that_died_destinations_and_labels_are_told(node: Node, death: Death) -> None:
    configure(node, refusals=True)
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    sha256 = a_label(node)
    with node.database.write() as tx:  # it was looked at before, and waits for what the network finds
        tx.execute(sa.update(job).where(job.c.kind == JobKind.LABEL).values(state="done", ended=1.0))
        values = dict(code="label-draft-pending", input_set_id=sa.select(input_set.c.id).limit(1).scalar_subquery())
        tx.execute(sa.update(label).where(label.c.source_sha256 == sha256).values(values))
    dead(node, death(node, JobKind.SEGMENT))
    assert [one["state"] for one in jobs_of(node, JobKind.EXPLAIN)] == ["waiting"]
    assert [one["state"] for one in jobs_of(node, JobKind.LABEL)] == ["waiting"]
    assert only_study(node)["state"] == "failed"


@HOW
def test_a_label_whose_reading_died_waits_no_more(node: Node, death: Death) -> None:
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    a_label(node)
    job_id = death(node, JobKind.LABEL)
    dead(node, job_id)
    (row,) = rows(node, label)
    assert (row["state"], row["code"]) == ("quarantined", "label-failed")
    assert row["sentence"] == f"{lost_jobs.WORKER_GONE}; `planimeter retry {job_id}` tries again"


@HOW
def test_of_a_delivery_that_died_what_arrived_is_to_be_kept_and_the_rest_is_dead(node: Node, death: Death) -> None:
    configure(node, commitment=True)
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    first, *others = (one["id"] for one in rows(node, delivery))
    with node.database.write() as tx:
        deliveries.settle(tx, first, "delivered", 0, None)
    dead(node, death(node, JobKind.DELIVER))
    assert {one["id"]: one["state"] for one in rows(node, delivery)} == {
        first: "delivered",
        **dict.fromkeys(others, "dead"),
    }
    assert {one["reason"] for one in rows(node, delivery) if one["id"] != first} == {lost_jobs.WORKER_GONE}
    assert [one["state"] for one in jobs_of(node, JobKind.COMMIT)] == ["waiting"]


@HOW
def test_an_export_that_died_says_so_and_the_study_may_be_exported(node: Node, death: Death, tmp_path: Path) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    uid = images[0].StudyInstanceUID
    asked.ask(node.database, uid, "ann", [], results=False)
    job_id = death(node, JobKind.EXPORT)
    dead(node, job_id)
    (row,) = asked.listing(node.database, uid)
    assert (row["code"], row["path"]) == ("export-failed", None)
    assert row["ended"]
    assert lost_jobs.WORKER_GONE in row["sentence"]
    assert f"`planimeter retry {job_id}`" in row["sentence"]
    asked.ask(node.database, uid, "ann", [], results=False)
    work_off(node, JobKind.EXPORT)
    control.retry(node.database, job_id)
    with pytest.raises(Refused, match="export-waits"):
        asked.ask(node.database, uid, "ann", [], results=False)
    work_off(node, JobKind.EXPORT)
    every = asked.listing(node.database, uid)
    assert [one["code"] for one in every] == [None, None]
    assert all(asked.file_of(node.database, node.archive.home, uid, one["id"]).is_file() for one in every)


def test_an_export_ends_once_and_its_file_stays(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    uid = images[0].StudyInstanceUID
    asked.ask(node.database, uid, "ann", [], results=False)
    work_off(node, JobKind.EXPORT)
    (before,) = rows(node, asked_export)
    (made,) = jobs_of(node, JobKind.EXPORT)
    control.retry(node.database, made["id"])
    work_off(node, JobKind.EXPORT)
    with node.database.write() as tx:
        asked_exports.end(tx, before["id"], path=None, size=None, code="export-failed", sentence="too late")
    assert rows(node, asked_export) == [before]
    work_off(node)
    assert asked.file_of(node.database, node.archive.home, uid, before["id"]).is_file()


def test_an_export_that_fails_three_times_is_not_made_for_ever(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    uid = images[0].StudyInstanceUID
    (node.archive.home / asked.FOLDER).write_text("nothing can be made in here")
    asked.ask(node.database, uid, "ann", [], results=False)
    for _ in range(asked_exports.ATTEMPTS):
        with node.database.write() as tx:
            tx.execute(sa.update(job).values(run_after=0))
        work_off(node, JobKind.EXPORT)
    (row,) = asked.listing(node.database, uid)
    assert row["ended"]
    assert row["code"] == "export-failed"
    assert "see the log" in row["sentence"]
    assert [one["state"] for one in jobs_of(node, JobKind.EXPORT)] == ["dead"]
    asked.ask(node.database, uid, "ann", [], results=False)


def test_a_worker_ends_what_others_died_of_and_leaves_alone_what_may_go_on(node: Node) -> None:
    """A running worker does it, whatever of its work is paused; a job that was asked for again is not dead."""
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    a_label(node)
    job_id = lost(node, JobKind.LABEL)
    segment = lost(node, JobKind.SEGMENT)
    with node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.id == segment).values(again=True))
    control.pause(node.database, ["work"], paused=True, who="ann")
    worker = Worker(node, "alive")
    thread = threading.Thread(target=worker.run, args=(5,))
    thread.start()
    try:
        wait_until("the label waits no more", lambda: rows(node, label)[0]["state"] == "quarantined")
        wait_until("the other waits again", lambda: state_of(node, segment) == "waiting")
    finally:
        worker.stopping.set()
        thread.join()
    dead(node, job_id)


def state_of(node: Node, job_id: int) -> str:
    return next(str(one["state"]) for one in rows(node, job) if one["id"] == job_id)


def test_of_workers_that_look_at_once_one_ends_a_lost_job(node: Node) -> None:
    take_in(node, small_series())
    take_in(node, small_series(patient_id="P2"))
    work_off(node, JobKind.CHOOSE)
    for _ in range(2):
        lost(node, JobKind.SEGMENT)
    ended: list[int] = []
    threads = [threading.Thread(target=lambda: ended.append(end_lost(node))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(ended), len(ended)) == (2, 4)
    assert {one["state"] for one in jobs_of(node, JobKind.SEGMENT)} == {"dead"}
