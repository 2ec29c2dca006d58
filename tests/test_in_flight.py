"""What is decided about a result while it is being sent: whoever took it is told, on either database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from db import away, deliveries, destinations, jobs, lost_jobs, results, upstreams
from db.database import Database
from db.job_states import OPEN, JobKind, JobState, Report
from db.tables import delivery, job, result
from node import giving_up
from node.app import Node, open_node
from node.errors import Refused
from node.operations import control, verdicts
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.test_chained import CT, INSIDE, bundle, routed
from tests.test_upgrades import settings_of
from tests.test_verdicts import a_result, configure, named_by, notes, rows, states
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until


@pytest.fixture
def node(database: Database, tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> Iterator[Node]:
    made = open_node(settings_of(tmp_path / "home", database, pacs), threshold_hosts.address)
    yield made
    made.close()


def meanwhile(node: Node, pacs: FakePacs, decide: Callable[[], str]) -> str:
    """Decide something while the PACS has the first object and has not answered; what was said of it."""
    pacs.late_next = 1
    sender = threading.Thread(target=work_off, args=(node, JobKind.DELIVER), name="sends")
    sender.start()
    try:
        wait_until("the PACS has an object", lambda: pacs.calls)
        said = decide()
    finally:
        pacs.late.set()
        sender.join()
    work_off(node)
    assert not [one for one in jobs_of(node) if one["state"] in OPEN], "it goes on for ever"
    return said


def a_sent_study(node: Node) -> list[Dataset]:
    """Its results wait to be sent; the images."""
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    return images


def is_replaced(node: Node, images: Sequence[Dataset]) -> None:
    """Newer images come, and their results are sent."""
    for ds in images:
        ds.ImagePositionPatient[2] += 1
    take_in(node, images)
    work_off(node)


def rejects_what_arrived(pacs: FakePacs, said: str) -> None:
    """The person was told so, and the PACS, of the object that it took."""
    assert "pacs may be taking it at this moment, and is told so then" in said
    (taken, note) = pacs.objects
    assert note.ConceptNameCodeSequence[0].CodeValue == "113037"
    assert named_by(note) == {taken.SOPInstanceUID}


def test_what_is_withdrawn_while_it_is_sent_is_rejected_where_it_arrives(node: Node, pacs: FakePacs) -> None:
    a_sent_study(node)
    said = meanwhile(node, pacs, lambda: verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3))
    assert "had not been sent" not in said
    rejects_what_arrived(pacs, said)
    assert {(one["state"], one["reason"]) for one in rows(node, delivery) if one["result_id"] != notes_row(node)} == {
        ("withdrawn", "withdrawn: wrong")
    }
    assert only_study(node)["state"] == "withdrawn"


def test_what_is_withdrawn_while_it_is_sent_is_rejected_also_where_no_answer_comes(node: Node, pacs: FakePacs) -> None:
    a_sent_study(node)
    pacs.mute_next = 1
    said = meanwhile(node, pacs, lambda: verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3))
    rejects_what_arrived(pacs, said)


def notes_row(node: Node) -> int:
    return next(int(one["id"]) for one in rows(node, result) if one["kind"] == "KOS")


def test_what_is_discarded_while_it_is_sent_is_rejected_where_it_arrives(node: Node, pacs: FakePacs) -> None:
    a_sent_study(node)
    said = meanwhile(node, pacs, lambda: verdicts.discard(node.database, a_result(node), "ann", "wrong", 3))
    assert "will not be sent" not in said
    rejects_what_arrived(pacs, said)
    assert states(node) == {"discarded", "delivered"}
    assert only_study(node)["state"] == "discarded"


@pytest.mark.parametrize("wanted", [True, False])
def test_what_is_set_aside_while_it_is_sent_is_rejected_where_that_is_wanted(
    node: Node, pacs: FakePacs, wanted: bool
) -> None:
    configure(node, rejection_notes=wanted)
    images = a_sent_study(node)

    def nothing_reads_them() -> str:
        for ds in images:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            ds.ImagePositionPatient[2] += 1
        take_in(node, images)
        work_off(node, JobKind.CHOOSE)
        return ""

    meanwhile(node, pacs, nothing_reads_them)
    assert [named_by(note) for note in notes(pacs)] == [{pacs.objects[0].SOPInstanceUID}] * wanted
    assert len(pacs.objects) == 1 + wanted
    (job,) = jobs_of(node, JobKind.DELIVER)
    assert job["attempts"] == 1
    with node.database.read() as tx:
        tried = tx.execute(sa.text("SELECT count(*) FROM attempt WHERE job_id = :id"), {"id": job["id"]}).scalar_one()
    assert tried == 1 + wanted, "it is sent for nothing"


@pytest.mark.parametrize("answered", [True, False])
def test_what_is_replaced_while_it_is_sent_is_rejected_once_it_has_arrived(
    node: Node, pacs: FakePacs, answered: bool
) -> None:
    """Another worker is quicker with what is new: the note about what is still on its way would come before that."""
    configure(node, rejection_notes=True)
    images = a_sent_study(node)

    def replace() -> str:
        is_replaced(node, images)
        assert len(pacs.objects) == 4
        assert not notes(pacs), "it is not there yet"
        pacs.mute_next = 0 if answered else 1
        return str(pacs.objects[0].SOPInstanceUID)

    first = meanwhile(node, pacs, replace)
    (note,) = notes(pacs)
    assert named_by(note) == {first}


def test_what_is_replaced_while_it_is_sent_is_rejected_also_where_its_worker_dies_at_its_last_attempt(
    node: Node, pacs: FakePacs
) -> None:
    configure(node, rejection_notes=True)
    images = a_sent_study(node)
    with node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.kind == JobKind.DELIVER).values(max_attempts=1))
        claim = jobs.claim(tx, [JobKind.DELIVER], "one that dies", 60)
        sent = min(rows(node, delivery), key=lambda one: int(one["id"]))
        assert claim is not None and deliveries.begin(tx, sent["id"])
    is_replaced(node, images)
    assert len(pacs.objects) == 3
    assert not notes(pacs), "it may be on its way"
    with node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.id == claim.id).values(lease_until=0))
        lost_jobs.rescue(tx)
    giving_up.end_lost(node)
    work_off(node)
    (note,) = notes(pacs)
    assert named_by(note) == {one["sop_uid"] for one in rows(node, result) if one["id"] == sent["result_id"]}
    assert not [one for one in jobs_of(node) if one["state"] in OPEN]


def test_a_receipt_that_is_written_while_a_person_decides_counts(node: Node, pacs: FakePacs) -> None:
    """On PostgreSQL both transactions are open at once; the decision sees what the other has written."""
    a_sent_study(node)
    for decide, found in ((verdicts.discard, "already-delivered"), (verdicts.withdraw, "pacs is told so")):
        first = min(int(one["id"]) for one in rows(node, delivery))
        said: list[str] = []

        def person(decide: Callable[..., str] = decide, said: list[str] = said) -> None:
            try:
                said.append(decide(node.database, a_result(node), "ann", "wrong", 3))
            except Refused as refusal:
                said.append(refusal.code)

        thread = threading.Thread(target=person)
        with node.database.write() as tx:
            deliveries.settle(tx, first, "delivered", 0, None)
            thread.start()
            if (
                not node.database.is_sqlite
            ):  # there the other waits until this one has ended, before it has read anything
                wait_until("the decision waits for the receipt", lambda: waits_for_a_lock(node.database))
        thread.join()
        assert found in said[0]
        with node.database.write() as tx:  # for the next one
            if found == "already-delivered":
                tx.execute(sa.update(delivery).where(delivery.c.id == first).values(state="waiting", delivered=None))
    work_off(node)
    assert len(notes(pacs)) == 1
    assert pacs.objects == notes(pacs)


def waits_for_a_lock(database: Database) -> bool:
    with database.read() as tx:
        return bool(tx.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_withdrawn_while_something_newer_takes_its_place(node: Node, pacs: FakePacs) -> None:
    """At the same moment: neither transaction holds a row that the other one waits for."""
    a_sent_study(node)
    (of,) = {int(one["input_set_id"]) for one in rows(node, result)}
    which, said = a_result(node), list[str]()
    thread = threading.Thread(target=lambda: said.append(verdicts.withdraw(node.database, which, "ann", "wrong", 3)))
    with node.database.write() as tx:
        tx.execute(sa.select(result.c.id).with_for_update())
        thread.start()
        wait_until("the decision waits", lambda: waits_for_a_lock(node.database))
        results.set_aside(tx, of)
    thread.join()
    assert said and states(node) == {"withdrawn"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_cancelled_while_its_worker_ends_it(node: Node) -> None:
    """At the same moment, and another network waits for its result."""
    bundle(node.archive.home, "lesions", f'channel = "image"\n{CT}', INSIDE)
    node = routed(node, "lesions")
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SEGMENT], "test", 60)
    assert claim is not None and claim.input_set_id is not None
    said: list[str] = []

    def person() -> None:
        try:
            giving_up.cancel(node, claim.id, "ann")
        except Refused as refusal:
            said.append(refusal.code)

    thread = threading.Thread(target=person)
    with node.database.write() as tx:
        upstreams.changed(tx, claim.input_set_id, 3)
        thread.start()
        wait_until("the person waits", lambda: waits_for_a_lock(node.database))
        jobs.finish(tx, claim, JobState.DONE, Report())
    thread.join()
    assert said == ["job-ended"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_worker_reaches_a_destination_and_another_one_does_not(database: Database) -> None:
    """At the same moment: neither holds a row that the other one waits for."""
    with database.write() as tx:
        away.unreachable(tx, "pacs", "it was away", 15)

    def fails() -> None:
        with database.write() as tx:
            away.unreachable(tx, "pacs", "it is away", 15)

    thread = threading.Thread(target=fails)
    with database.write() as tx:
        destinations.note_contact(tx, "pacs")
        thread.start()
        wait_until("the other one waits", lambda: waits_for_a_lock(database))
        away.reachable(tx, "pacs")
    thread.join()
    with database.read() as tx:
        assert [row["reason"] for row in away.listing(tx)] == ["it is away"]


def test_what_a_person_cancels_after_its_study_was_released_leaves_nothing_of_before(
    node: Node, pacs: FakePacs
) -> None:
    """The result of the patient of before was delivered; the one that was to take its place does not come."""
    configure(node, rejection_notes=True)
    images = small_series()
    take_in(node, images)
    work_off(node)
    delivered = {ds.SOPInstanceUID for ds in pacs.objects}
    for ds in images:
        ds.PatientID = "CORRECTED"
    take_in(node, images)
    control.close(node.database, only_study(node)["study_uid"], "ann", 3)
    work_off(node, JobKind.CHOOSE)
    (segment,) = jobs_of(node, JobKind.SEGMENT)
    assert "is cancelled" in giving_up.cancel(node, segment["id"], "ann")
    work_off(node)
    (note,) = notes(pacs)
    assert named_by(note) == delivered
    assert only_study(node)["state"] == "cancelled"


def test_a_note_that_cannot_be_made_is_not_tried_for_ever(node: Node, pacs: FakePacs) -> None:
    a_sent_study(node)

    def withdraw_and_lose_the_files() -> str:
        with node.database.write() as tx:
            tx.execute(sa.update(result).values(path=None))
        return verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)

    meanwhile(node, pacs, withdraw_and_lose_the_files)
    (job,) = jobs_of(node, JobKind.DELIVER)
    assert job["state"] == "refused"
    assert job["reason"].startswith("result-purged")
