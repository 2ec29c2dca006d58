"""What people decide about results, and what the PACS is told of results that are replaced or taken back."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from db import away, jobs, studies
from db.deliveries import begin
from db.job_states import OPEN, JobKind, JobState, Report
from db.tables import delivery, result, study, verdict
from node.app import Node
from node.errors import Refused
from node.giving_up import gave_up
from node.operations import control, verdicts
from node.operations.status import overview
from node.outbound.target import Web
from node.worker import Worker
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.fake_stow import FakeStow
from tests.orthanc import Orthanc
from tests.peers_tools import dciodvfy, save
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts, threshold
from tests.waiting import wait_until


def configure(node: Node, **changes: Any) -> None:
    node.targets["pacs"] = dataclasses.replace(node.targets["pacs"], **changes)


def deliveries_of(node: Node) -> list[dict[str, Any]]:
    return overview(node.database)["deliveries"]


def states(node: Node) -> set[str]:
    return {one["state"] for one in deliveries_of(node)}


def a_result(node: Node) -> str:
    return str(max(one["result"] for one in deliveries_of(node)))


def rows(node: Node, table: sa.Table) -> list[Any]:
    with node.database.read() as tx:
        return list(tx.execute(sa.select(table).order_by(table.c.id)).mappings())


def notes(pacs: FakePacs) -> list[Dataset]:
    return [ds for ds in pacs.objects if ds.SOPClassUID == KeyObjectSelectionDocumentStorage]


def named_by(note: Dataset) -> set[str]:
    items = [item for item in note.ContentSequence if "ReferencedSOPSequence" in item]
    return {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items}


def another_answer(hosts: ThresholdHosts) -> None:
    def without_the_last_slice(volume: Any) -> Any:
        labels = threshold(volume)
        labels[4:] = 0
        return labels

    hosts.answer = without_the_last_slice


# ------------------------------------------------------------- flagged results


def test_flagged_results_are_held_where_the_destination_says_so(node: Node, pacs: FakePacs) -> None:
    """The box of the synthetic series is far smaller than any lung."""
    configure(node, flagged="hold")
    take_in(node, small_series())
    work_off(node)
    assert states(node) == {"held"}
    assert not pacs.objects
    assert only_study(node)["state"] == "held"
    assert "ml" in deliveries_of(node)[0]["reason"]


def test_a_person_releases_them_together(node: Node, pacs: FakePacs) -> None:
    configure(node, flagged="hold")
    take_in(node, small_series())
    work_off(node)
    assert "go to pacs" in verdicts.release(node.database, a_result(node), "ann", 3)
    work_off(node)
    assert states(node) == {"delivered"}
    assert {ds.Modality for ds in pacs.objects} == {"SEG", "SR"}
    assert only_study(node)["state"] == "done"
    assert [(row["what"], row["who"]) for row in rows(node, verdict)] == [("release", "ann")]
    with pytest.raises(Refused, match="not-held"):
        verdicts.release(node.database, a_result(node), "ann", 3)


def test_a_person_discards_them(node: Node, pacs: FakePacs) -> None:
    configure(node, flagged="hold")
    images = small_series()
    take_in(node, images)
    work_off(node)
    uid = deliveries_of(node)[0]["sop_uid"]
    verdicts.discard(node.database, uid, "ann", "wrong side")
    work_off(node)
    assert (states(node), pacs.objects) == ({"discarded"}, [])
    assert {row["state"] for row in rows(node, result)} == {"discarded"}
    assert only_study(node)["state"] == "discarded"
    for decide in (verdicts.discard, lambda *a: verdicts.withdraw(*a, 3)):
        with pytest.raises(Refused, match="decided-already"):
            decide(node.database, uid, "ann", "again")
    configure(node, flagged="send")
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    assert uid not in pacs.calls, "what was discarded came back"
    assert len(pacs.objects) == 3


@pytest.mark.parametrize(("flagged", "marked"), [("send", False), ("mark", True)])
def test_flagged_results_are_sent_plain_or_marked(node: Node, pacs: FakePacs, flagged: str, marked: bool) -> None:
    configure(node, flagged=flagged, objects=frozenset({"SEG", "SR", "SC", "PDF"}))
    take_in(node, small_series())
    work_off(node)
    assert pacs.objects
    assert {"CHECK" in ds.SeriesDescription for ds in pacs.objects} == {marked}


def test_what_is_sent_already_is_withdrawn_not_discarded(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    with pytest.raises(Refused, match="already-delivered"):
        verdicts.discard(node.database, a_result(node), "ann", "")


@pytest.mark.parametrize("name", ["", "0", "99999", "1.2.3", "x" * 100, "9" * 40])
def test_a_result_that_there_is_not(node: Node, name: str) -> None:
    with pytest.raises(Refused, match="no-such-result"):
        verdicts.release(node.database, name, "ann", 3)


# ----------------------------------------------------------------- withdrawn


def test_withdrawn_results_are_rejected_at_every_pacs_that_has_them(node: Node, pacs: FakePacs, tmp_path: Path) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    sent = {ds.SOPInstanceUID for ds in pacs.objects}
    with pytest.raises(Refused, match="no-reason"):
        verdicts.withdraw(node.database, a_result(node), "ann", "  ", 3)
    assert "pacs is told so" in verdicts.withdraw(node.database, a_result(node), "ann", "left and right swapped", 3)
    work_off(node)
    (note,) = notes(pacs)
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")
    assert named_by(note) == sent
    assert note.PatientID == images[0].PatientID
    assert {row["state"] for row in rows(node, delivery) if row["rejected_by"]} == {"withdrawn"}
    assert [(row["what"], row["why"]) for row in rows(node, verdict)] == [("withdraw", "left and right swapped")]
    assert dciodvfy(save(note, tmp_path / "note.dcm")) == []
    work_off(node)
    assert len(notes(pacs)) == 1
    assert only_study(node)["state"] == "withdrawn"


def test_what_was_withdrawn_is_made_again_under_new_uids(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    before = {ds.SOPInstanceUID for ds in pacs.objects}
    verdicts.withdraw(node.database, a_result(node), "ann", "a mistake", 3)
    work_off(node)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    again = [ds for ds in pacs.objects if ds.SOPInstanceUID not in before and ds not in notes(pacs)]
    assert len(again) == 3
    assert all("rev 2" in ds.SeriesDescription for ds in again)


def test_what_newer_images_took_the_place_of_is_withdrawn_where_it_is(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images[:-1])
    work_off(node)
    older = [ds.SOPInstanceUID for ds in pacs.objects]
    take_in(node, images[-1:])
    work_off(node)
    assert len(pacs.objects) == 2 * len(older) == 6
    said = verdicts.withdraw(node.database, older[0], "ann", "wrong patient", 3)
    assert "pacs is told so" in said
    work_off(node)
    (note,) = notes(pacs)
    assert named_by(note) == set(older)
    assert states(node) == {"withdrawn", "delivered"}


def test_a_withdrawal_waits_for_a_pacs_that_is_away(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    pacs.stop()
    verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    work_off(node)
    assert not notes(pacs)
    pacs.start()
    with node.database.write() as tx:
        tx.exec_driver_sql("UPDATE outage SET retry_after = 0")
        tx.exec_driver_sql("UPDATE job SET run_after = 0 WHERE state = 'waiting'")
    work_off(node)
    assert len(notes(pacs)) == 1


def test_nothing_is_rejected_where_nothing_had_come(node: Node, pacs: FakePacs) -> None:
    pacs.stop()
    take_in(node, small_series())
    work_off(node)
    assert "had not been sent" in verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    pacs.start()
    with node.database.write() as tx:
        tx.exec_driver_sql("UPDATE outage SET retry_after = 0")
        tx.exec_driver_sql("UPDATE job SET run_after = 0 WHERE state = 'waiting'")
    work_off(node)
    assert not pacs.objects


def a_note_and_results_that_wait_of_a_study_that_is_held(node: Node, pacs: FakePacs) -> int:
    """What the PACS has is taken back, and what was made anew is not sent yet; the number of the study."""
    images = small_series()
    take_in(node, images)
    work_off(node)
    pacs.objects.clear()
    verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    with node.database.write() as tx:
        study_id = int(tx.execute(sa.select(study.c.id)).scalar_one())
        studies.hold(tx, study_id, "another patient")
    return study_id


def test_what_is_taken_back_is_told_also_while_its_study_is_held(node: Node, pacs: FakePacs) -> None:
    study_id = a_note_and_results_that_wait_of_a_study_that_is_held(node, pacs)
    work_off(node)
    assert [ds.Modality for ds in pacs.objects] == ["KO"]
    assert "waiting" in states(node)
    (job,) = [one for one in jobs_of(node, JobKind.DELIVER) if one["state"] in OPEN]
    assert job["reason"] == "study-held: the study is held: another patient"
    release(node, study_id)
    work_off_at_once(node)
    assert [ds.Modality for ds in pacs.objects] == ["KO", "SEG", "SR", "SR"]


def test_what_is_released_while_something_else_is_sent_is_sent_as_it_is(node: Node, pacs: FakePacs) -> None:
    """The association was made for the note alone, and offers nothing else."""
    study_id = a_note_and_results_that_wait_of_a_study_that_is_held(node, pacs)
    pacs.late_next = 1
    working = threading.Thread(target=work_off, args=(node,))
    working.start()
    wait_until("the note is on its way", lambda: pacs.objects)
    release(node, study_id)
    pacs.late.set()
    working.join()
    assert [ds.Modality for ds in pacs.objects] == ["KO", "SEG", "SR", "SR"]
    assert states(node) == {"withdrawn", "delivered"}


def release(node: Node, study_id: int) -> None:
    with node.database.write() as tx:
        tx.execute(sa.update(study).where(study.c.id == study_id).values(state="closed", held_because=None))


# ------------------------------------------ taken perhaps, and never answered


def work_off_at_once(node: Node) -> None:
    """Whatever waits for its time need not wait."""
    with node.database.write() as tx:
        tx.exec_driver_sql("UPDATE outage SET retry_after = 0")
        tx.exec_driver_sql("UPDATE job SET run_after = 0 WHERE state = 'waiting'")
    work_off(node)


def a_mute_pacs(node: Node, pacs: FakePacs) -> str:
    """The PACS keeps the first object and breaks off; the UID of that."""
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    pacs.mute_next = 1
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.DELIVER], "test", 60)
    assert claim is not None
    Worker(node, "test").attempt(claim)
    (uid,) = pacs.calls
    assert states(node) == {"waiting"}
    return uid


def all_is_said(node: Node, pacs: FakePacs, uid: str, title: str = "113037") -> None:
    """The PACS is told of what it may have, and of nothing else, and once."""
    work_off_at_once(node)
    (note,) = notes(pacs)
    assert note.ConceptNameCodeSequence[0].CodeValue == title
    assert named_by(note) == {uid}
    assert not [one for one in jobs_of(node) if one["state"] in OPEN]


def test_what_a_pacs_may_have_is_withdrawn_there_too(node: Node, pacs: FakePacs) -> None:
    uid = a_mute_pacs(node, pacs)
    said = verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    assert said.endswith("are withdrawn; pacs may have it, though no answer came, and is told so")
    all_is_said(node, pacs, uid)
    assert states(node) == {"withdrawn", "delivered"}


def test_what_a_pacs_may_have_is_discarded_there_too(node: Node, pacs: FakePacs) -> None:
    uid = a_mute_pacs(node, pacs)
    said = verdicts.discard(node.database, a_result(node), "ann", "wrong")
    assert said.endswith("are discarded; pacs may have it, though no answer came, and is told so")
    all_is_said(node, pacs, uid)


def test_a_pacs_is_told_that_what_it_may_have_is_replaced_where_it_wants_that(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    configure(node, rejection_notes=True)
    uid = a_mute_pacs(node, pacs)
    another_answer(threshold_hosts)
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    all_is_said(node, pacs, uid, "113001")
    assert pacs.objects[1] in notes(pacs), "the note goes before what is new"


def test_what_was_sent_by_a_worker_that_died_then_is_withdrawn_there_too(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    sent = deliveries_of(node)[-1]
    with node.database.write() as tx:  # and here it dies
        assert begin(tx, min(row["id"] for row in rows(node, delivery)))
    assert "pacs may have it" in verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    all_is_said(node, pacs, sent["sop_uid"])


@pytest.mark.parametrize("status", [0xA770, 0xA774])
def test_a_note_that_a_pacs_has_already_is_delivered(node: Node, pacs: FakePacs, status: int) -> None:
    take_in(node, small_series())
    work_off(node)
    verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    pacs.statuses = [status] * 100
    work_off(node)
    assert states(node) == {"withdrawn", "delivered"}
    assert len(pacs.statuses) == 99
    with node.database.read() as tx:
        assert not away.listing(tx)


def test_what_a_pacs_certainly_has_and_what_it_perhaps_has_are_told_apart(node: Node, pacs: FakePacs) -> None:
    """dcm4chee-arc refuses a note of which it has not all objects: 0xA772."""
    take_in(node, small_series())
    pacs.statuses = [0x0000, None]
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.DELIVER], "test", 60)
    assert claim is not None
    Worker(node, "test").attempt(claim)
    taken = set(pacs.calls)
    verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    pacs.statuses = [0x0000, 0xA772]
    work_off_at_once(node)
    (note,) = notes(pacs)
    assert named_by(note) == taken
    assert [one["state"] for one in reversed(deliveries_of(node)) if one["kind"] == "KOS"] == ["delivered", "dead"]


@pytest.mark.parametrize("status", [0xC000, 0x0110])
def test_a_pacs_that_says_that_it_has_not_taken_it_is_told_nothing(node: Node, pacs: FakePacs, status: int) -> None:
    take_in(node, small_series())
    pacs.statuses = [status] * 100
    work_off(node)
    assert "had not been sent" in verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    work_off_at_once(node)
    assert not pacs.objects


def test_what_a_pacs_may_have_it_may_have_whatever_it_says_the_next_time(node: Node, pacs: FakePacs) -> None:
    uid = a_mute_pacs(node, pacs)
    pacs.statuses = [0xC000] * 100
    work_off_at_once(node)
    assert states(node) == {"dead"}
    assert "pacs may have it" in verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    pacs.statuses = []
    all_is_said(node, pacs, uid)


@pytest.mark.parametrize(("status", "perhaps"), [(0, False), (503, False), (504, True), (400, False)])
def test_what_a_web_server_has_not_answered_it_may_have(node: Node, status: int, perhaps: bool) -> None:
    """504: a gateway does not know; 0: the server is away."""
    with FakeStow() as server, FakeStow() as away:
        configure(node, web=Web(server.url if status else away.url))
        server.status = status
        away.stop()
        take_in(node, small_series())
        work_off(node)
        said = verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
        assert ("pacs may have it" in said) is perhaps
        assert ("had not been sent" in said) is not perhaps
        server.status = 0
        work_off_at_once(node)
        assert len(server.files) == perhaps


# ------------------------------------------------------------------ replaced


@pytest.mark.parametrize("wanted", [False, True])
def test_a_new_revision_says_what_it_replaces_and_a_note_goes_before_it_where_wanted(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts, wanted: bool, tmp_path: Path
) -> None:
    configure(node, rejection_notes=wanted)
    images = small_series()
    take_in(node, images)
    work_off(node)
    first = list(pacs.objects)
    another_answer(threshold_hosts)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    new = pacs.objects[len(first) :]
    assert [ds.SOPClassUID == KeyObjectSelectionDocumentStorage for ds in new] == [True] * wanted + [False] * 3
    if wanted:
        assert new[0].ConceptNameCodeSequence[0].CodeValue == "113001"
        assert named_by(new[0]) == {ds.SOPInstanceUID for ds in first}
        assert dciodvfy(save(new[0], tmp_path / "note.dcm")) == []
    assert all("rev 1" in ds.SeriesDescription for ds in first)
    assert all("rev 2" in ds.SeriesDescription for ds in new[wanted:])
    old, reports = ([ds for ds in some if ds.Modality == "SR"] for some in (first, new))
    for before, after in zip(old, reports, strict=True):
        (study,) = after.PredecessorDocumentsSequence
        items = [item for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
        named = {item.ReferencedSOPInstanceUID for item in items}
        assert before.SOPInstanceUID in named


def test_a_note_that_takes_the_pacs_down_is_not_in_the_way_of_what_is_new(node: Node, pacs: FakePacs) -> None:
    configure(node, rejection_notes=True)
    images = small_series()
    take_in(node, images)
    work_off(node)
    assert len(pacs.objects) == 3
    pacs.chokes_on = {KeyObjectSelectionDocumentStorage}
    for ds in images:
        ds.ImagePositionPatient[2] += 1
    take_in(node, images)

    def died() -> bool:
        work_off_at_once(node)
        return "dead" in states(node)

    wait_until("the attempts at the note are used up", died)
    assert len(pacs.objects) == 6
    assert {one["kind"] for one in deliveries_of(node) if one["state"] == "dead"} == {"KOS"}


def test_results_of_images_that_nothing_reads_any_more_are_rejected_too(node: Node, pacs: FakePacs) -> None:
    configure(node, rejection_notes=True)
    images = small_series()
    take_in(node, images)
    work_off(node)
    for ds in images:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        ds.ImagePositionPatient[2] += 1
    take_in(node, images)
    work_off(node)
    assert only_study(node)["state"] == "refused"
    (note,) = notes(pacs)
    assert len(named_by(note)) == 3


@pytest.mark.parametrize("wanted", [False, True])
def test_of_a_released_study_that_cannot_be_read_again_what_was_sent_is_rejected(
    node: Node, pacs: FakePacs, wanted: bool
) -> None:
    configure(node, rejection_notes=wanted)
    images = small_series()
    take_in(node, images)
    work_off(node)
    sent = list(pacs.objects)
    images[0].PatientID, images[0].PatientName = "SOMEONEELSE", "Else^Someone"
    take_in(node, images[:1])
    work_off(node)
    assert only_study(node)["state"] == "held"
    control.close(node.database, images[0].StudyInstanceUID, "ann", 3)
    work_off(node)
    (segmenting,) = jobs_of(node, JobKind.SEGMENT)
    assert segmenting["reason"].startswith("ambiguous-patient")
    assert [named_by(note) for note in notes(pacs)] == [{ds.SOPInstanceUID for ds in sent}] * wanted
    work_off_at_once(node)
    assert len(notes(pacs)) == wanted


def test_what_was_set_aside_is_rejected_also_where_what_was_made_instead_fails_its_self_check(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    sent = {ds.SOPInstanceUID for ds in pacs.objects}
    another_answer(threshold_hosts)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    with node.database.write() as tx:  # as if the self-check had found a fault
        new = sa.select(result.c.id).where(result.c.state == "ready").scalar_subquery()
        tx.execute(sa.delete(delivery).where(delivery.c.result_id.in_(new)))
        tx.execute(sa.update(result).where(result.c.state == "ready").values(state="held", reason="3 voxels differ"))
    work_off(node)
    configure(node, rejection_notes=True)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    (note,) = notes(pacs)
    assert named_by(note) == sent


def test_of_a_study_whose_run_fails_what_stands_is_not_rejected(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    """What was made anew is held by its destination, and the note on what it replaces goes with it."""
    configure(node, rejection_notes=True)
    images = small_series()
    take_in(node, images)
    work_off(node)
    another_answer(threshold_hosts)
    configure(node, flagged="hold")
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    assert {"held", "delivered"} == states(node)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SEGMENT], "test", 60)
        assert claim is not None
        jobs.finish(tx, claim, JobState.REFUSED, Report(code="undecodable-pixels", sentence="."))
        gave_up(tx, node, claim, ".")
    work_off(node)
    assert notes(pacs) == []


# ------------------------------------------------------- held by the self-check


def test_a_result_that_fails_its_self_check_is_held_shown_and_never_sent(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    (first,) = {row["run"] for row in rows(node, result)}
    with node.database.write() as tx:  # as if the self-check had found a fault
        tx.execute(sa.update(result).values(state="held", reason="3 voxels differ"))
        tx.execute(sa.delete(delivery))
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    assert not pacs.objects
    assert only_study(node)["state"] == "held"
    assert "3 voxels differ" in only_study(node)["reason"]
    (held,) = overview(node.database)["held"]
    with pytest.raises(Refused, match="not-releasable"):
        verdicts.release(node.database, str(held["result"]), "ann", 3)
    verdicts.discard(node.database, str(held["result"]), "ann", "")
    assert overview(node.database)["held"] == []
    assert {row["run"] for row in rows(node, result)} == {first}


def test_orthanc_takes_a_rejection_note(node: Node, orthanc: Orthanc, tmp_path: Path) -> None:
    configure(node, ae_title="ORTHANC", host="127.0.0.1", port=orthanc.port, rejection_notes=True)
    take_in(node, small_series())
    work_off(node)
    verdicts.withdraw(node.database, a_result(node), "ann", "wrong", 3)
    work_off(node)
    assert states(node) == {"withdrawn", "delivered"}
    kept = [row["path"] for row in rows(node, result) if row["kind"] == "KOS"]
    assert dcmread(node.archive.at(kept[0])).SOPInstanceUID in {ds.SOPInstanceUID for ds in orthanc.instances()}
