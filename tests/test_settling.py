"""A study settles when it has been quiet; closing it and queueing its `choose` job are one thing (promise 2)."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import sqlalchemy as sa

from db import recording, studies
from db.arrivals import Arrival, Kind, Seen
from db.database import Database
from db.job_states import JobKind
from db.tables import job, study
from node.app import Node
from node.operations import control
from node.operations.status import overview
from tests.driving import only_study, take_in, work_off
from tests.synthetic import small_series


def arrival(number: int = 1, kind: Kind = Kind.IMAGE, study_uid: str = "1.2") -> Arrival:
    return Arrival(
        sop_uid=f"{study_uid}.3.{number}",
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        study_uid=study_uid,
        series_uid=f"{study_uid}.3",
        modality="CT",
        kind=kind,
        transfer_syntax="1.2.840.10008.1.2.1",
        patient_id="P",
        issuer="",
        birth_date="",
        digest=f"{number}",
        path=f"store/{study_uid}/{number}/{kind}",
        size=1,
        calling_ae="CT1",
        address="10.0.0.1",
    )


def arrive(database: Database, *arrivals_: Arrival) -> list[Seen]:
    with database.write() as tx:
        return recording.record(tx, arrivals_)


def settle(database: Database, quiet_seconds: float = 0) -> list[str]:
    with database.write() as tx:
        return studies.settle(tx, quiet_seconds, 3)


def states(database: Database) -> dict[str, str]:
    with database.read() as tx:
        return {row.study_uid: row.state for row in tx.execute(sa.select(study))}


def choose_jobs(database: Database) -> list[str]:
    with database.read() as tx:
        query = sa.select(job.c.subject).where(job.c.kind == JobKind.CHOOSE, job.c.state == "waiting")
        return list(tx.execute(query).scalars())


def test_a_quiet_study_is_closed_with_its_job(database: Database) -> None:
    arrive(database, arrival(1), arrival(2))
    assert settle(database) == ["1.2"]
    assert states(database) == {"1.2": "closed"}
    assert choose_jobs(database) == ["1.2"]


def test_a_study_to_which_images_come_is_not(database: Database) -> None:
    arrive(database, arrival(1))
    assert settle(database, quiet_seconds=60) == []
    assert states(database) == {"1.2": "open"}
    assert choose_jobs(database) == []


def test_the_quiet_period_counts_from_the_last_image(database: Database) -> None:
    def two_minutes_pass() -> None:
        with database.write() as tx:
            tx.execute(sa.update(study).values(last_image=study.c.last_image - 120))

    arrive(database, arrival(1))
    two_minutes_pass()
    arrive(database, arrival(2))
    assert settle(database, quiet_seconds=60) == []
    two_minutes_pass()
    assert settle(database, quiet_seconds=60) == ["1.2"]


def test_whoever_settles_knows_when_the_next_study_will_be_quiet(database: Database) -> None:
    def due_in(quiet_seconds: float) -> float | None:
        with database.read() as tx:
            return studies.due_in(tx, quiet_seconds)

    assert due_in(60) is None
    arrive(database, arrival(study_uid="1.2"))
    arrive(database, arrival(study_uid="1.9"))
    with database.write() as tx:
        earlier = sa.update(study).where(study.c.study_uid == "1.9")
        tx.execute(earlier.values(last_image=study.c.last_image - 100))
    left = due_in(200)
    assert left is not None
    assert 40 < left <= 100, "the study that has been quiet longest counts"
    assert due_in(60) == 0
    assert settle(database, 60) == ["1.9"]
    assert 0 < (due_in(60) or 0) <= 60
    assert settle(database) == ["1.2"]
    assert due_in(60) is None


def test_two_schedulers_close_a_study_once(database: Database) -> None:
    arrive(database, *(arrival(1, study_uid=f"1.{n}") for n in range(20)))
    closed: list[str] = []
    threads = [threading.Thread(target=lambda: closed.extend(settle(database))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    closed += settle(database)
    assert sorted(closed) == sorted(f"1.{n}" for n in range(20))
    assert len(choose_jobs(database)) == 20


def test_images_that_race_with_settling_are_never_left_behind(database: Database) -> None:
    """After everything has come and settled, the last generation was closed after the last image."""
    done = threading.Event()

    def keep_settling() -> None:
        while not done.is_set():
            settle(database)

    thread = threading.Thread(target=keep_settling)
    thread.start()
    for number in range(40):
        arrive(database, arrival(number))
    done.set()
    thread.join()
    settle(database)
    with database.read() as tx:
        row = tx.execute(sa.select(study)).mappings().one()
    assert row["state"] == "closed"
    assert row["closed"] >= row["last_image"]


@pytest.mark.parametrize("kind", [Kind.OURS, Kind.LABEL, Kind.OTHER])
def test_what_is_no_image_settles_and_reopens_nothing(database: Database, kind: Kind) -> None:
    arrive(database, arrival(1, kind))
    assert settle(database) == []
    assert states(database) == {"1.2": "none"}
    arrive(database, arrival(2))
    assert settle(database) == ["1.2"]
    arrive(database, arrival(3, kind))
    assert settle(database) == []
    assert states(database) == {"1.2": "closed"}


def test_a_late_image_opens_the_study_again(database: Database) -> None:
    arrive(database, arrival(1))
    settle(database)
    arrive(database, arrival(2))
    assert states(database) == {"1.2": "open"}
    assert settle(database) == ["1.2"]
    assert choose_jobs(database) == ["1.2"]


def test_the_same_bytes_again_do_not_open_it(database: Database) -> None:
    arrive(database, arrival(1))
    settle(database)
    assert arrive(database, arrival(1)) == [Seen.SAME]
    assert states(database) == {"1.2": "closed"}


@pytest.mark.parametrize("change", [{"patient_id": "Q"}, {"issuer": "OTHER"}, {"birth_date": "19800101"}])
def test_a_revision_under_another_patient_holds_the_study(database: Database, change: dict[str, str]) -> None:
    arrive(database, arrival(1))
    other = dataclasses.replace(arrival(1), digest="other", path="other", **change)
    assert arrive(database, other) == [Seen.REVISION]
    assert states(database) == {"1.2": "held"}
    assert settle(database) == []
    arrive(database, arrival(2))
    assert states(database) == {"1.2": "held"}


@pytest.fixture
def settled_node(node: Node) -> Node:
    take_in(node, small_series())
    return node


def test_a_person_closes_a_study_without_waiting(settled_node: Node) -> None:
    study_uid = only_study(settled_node)["study_uid"]
    assert only_study(settled_node)["state"] == "arriving"
    assert "is closed" in control.close(settled_node.database, study_uid, "me", 3)
    assert only_study(settled_node)["state"] == "waiting"


def test_a_person_lets_a_held_study_go_on(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    for ds in images:
        ds.PatientID = "CORRECTED"
    take_in(node, images)
    assert only_study(node)["state"] == "held"
    assert work_off(node) == 0
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert {one["state"] for one in overview(node.database)["deliveries"]} == {"delivered"}
