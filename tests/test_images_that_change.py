"""Images that come again, changed, while their study is worked on: nothing wrong is sent, and nothing is forgotten."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from db import deliveries, input_sets
from db.database import Database
from db.input_sets import Choice, Dispatch, Member
from db.job_states import JobKind
from db.tables import dispatch, input_set, job, result, study
from node.app import Node
from node.operations import conditions, control
from node.operations.status import overview
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.test_settling import arrival, arrive
from tests.threshold_host import ThresholdHosts

NEVER = conditions.one_of("Modality", frozenset({"XX"}))


def rows(node: Node, table: sa.Table) -> list[Any]:
    with node.database.read() as tx:
        return list(tx.execute(sa.select(table).order_by(table.c.id)).mappings())


def under_another_patient(images: list[Dataset]) -> list[Dataset]:
    changed = copy.deepcopy(images)
    for ds in changed:
        ds.PatientID, ds.PatientName = "CORRECTED", "Right^Patient"
    return changed


def make_due(node: Node) -> None:
    with node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.state == "waiting").values(run_after=0))


def test_under_a_corrected_patient_the_results_are_made_again_when_a_person_says_so(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    take_in(node, under_another_patient(images))
    work_off(node)
    assert only_study(node)["state"] == "held"
    assert sum(pacs.calls.values()) == 3
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert [(ds.PatientID, ds.Modality) for ds in pacs.objects[3:]] == [
        ("CORRECTED", "SEG"),
        ("CORRECTED", "SR"),
        ("CORRECTED", "SR"),
    ]
    assert len({ds.SOPInstanceUID for ds in pacs.objects}) == 6
    assert [row["state"] for row in rows(node, result)] == ["superseded"] * 5 + ["ready"] * 5
    assert len(rows(node, input_set)) == 1


@pytest.mark.parametrize(
    "done", [[], [JobKind.CHOOSE], [JobKind.CHOOSE, JobKind.SEGMENT]], ids=["none", "chosen", "segmented"]
)
def test_a_held_study_waits_for_a_person_at_every_step(node: Node, pacs: FakePacs, done: list[JobKind]) -> None:
    images = small_series()
    take_in(node, images)
    if done:
        work_off(node, *done)
    take_in(node, under_another_patient(images)[:3])
    work_off(node)
    assert only_study(node)["state"] == "held"
    assert not pacs.calls
    take_in(node, under_another_patient(images))
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    make_due(node)
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert {(ds.PatientID, str(ds.PatientName)) for ds in pacs.objects} == {("CORRECTED", "Right^Patient")}
    assert sorted(ds.Modality for ds in pacs.objects) == ["SEG", "SR", "SR"]


def test_images_of_two_patients_are_never_one_volume(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    take_in(node, under_another_patient(images)[:3])
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    make_due(node)
    work_off(node)
    assert only_study(node)["state"] == "refused"
    assert "different patients" in only_study(node)["reason"]
    assert not pacs.calls


def test_a_study_that_is_held_while_its_network_runs_sends_nothing(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    images = small_series()
    take_in(node, images)
    usual = threshold_hosts.answer

    def late(volume: Any) -> Any:
        if threshold_hosts.asked == 1:
            take_in(node, under_another_patient(images))
        return usual(volume)

    threshold_hosts.answer = late
    work_off(node)
    assert only_study(node)["state"] == "held"
    assert not pacs.calls
    assert not rows(node, result)
    assert not list((node.archive.home / "results").rglob("*.dcm"))
    assert {one["attempts"] for one in jobs_of(node, JobKind.SEGMENT)} == {0}, "waiting for a person is no attempt"


def test_images_changed_before_the_network_ran_are_chosen_from_again(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    images[3].PixelData = np.full((20, 24), -900, "<i2").tobytes()
    take_in(node, images[3:4])
    work_off(node, JobKind.SEGMENT, most=3)
    work_off(node)
    make_due(node)
    work_off(node)
    assert [one["state"] for one in jobs_of(node, JobKind.SEGMENT)] == ["cancelled", "done"]
    assert len(pacs.calls) == 3
    assert only_study(node)["state"] == "done"


def test_a_header_corrected_before_the_network_ran_is_used(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    for ds in images:
        ds.AccessionNumber = "A-1"
    take_in(node, images)
    work_off(node)
    make_due(node)
    work_off(node)
    assert {ds.AccessionNumber for ds in pacs.objects} == {"A-1"}
    assert [one["state"] for one in jobs_of(node, JobKind.SEGMENT)] == ["done"]


def test_an_image_that_came_again_in_another_study_is_not_read_for_this_one(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    moved = copy.deepcopy(images)
    for ds in moved:
        ds.StudyInstanceUID = "1.2.3.4"
    take_in(node, moved)
    work_off(node)
    make_due(node)
    work_off(node)
    assert {ds.StudyInstanceUID for ds in pacs.objects} == {moved[0].StudyInstanceUID}
    by_uid = {one["study_uid"]: one for one in overview(node.database)["studies"]}
    assert by_uid[images[0].StudyInstanceUID]["state"] == "refused"
    assert "images-changed" in by_uid[images[0].StudyInstanceUID]["reason"]


def test_what_waits_for_a_pacs_is_not_sent_when_newer_images_came(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images[:-1])
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    take_in(node, images[-1:])
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.DELIVER)
    assert not pacs.calls
    work_off(node)
    assert len(pacs.calls) == 3
    states = [one["state"] for one in reversed(overview(node.database)["deliveries"])]
    assert states == ["superseded"] * 3 + ["delivered"] * 3
    assert only_study(node)["state"] == "done"


def test_what_was_outdated_before_it_was_sent_is_sent_when_it_is_right_after_all(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    with node.database.write() as tx:
        deliveries.outdate(tx, rows(node, input_set)[0]["id"], "pacs")
    work_off(node)
    assert not pacs.calls
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(node)
    assert len(pacs.calls) == 3
    assert only_study(node)["state"] == "done"


def test_reprocessing_goes_where_the_routes_send_it_now(node: Node, pacs: FakePacs) -> None:
    """How every department starts: silent first, live when it looks right."""
    (route,) = node.routes
    silent = dataclasses.replace(node, routes=(dataclasses.replace(route, live=False),))
    take_in(silent, small_series())
    work_off(silent)
    assert len(rows(node, result)) == 3
    assert not pacs.calls
    for now, sent in ((node, 3), (silent, 3)):
        control.reprocess(now.database, only_study(now)["study_uid"], "me", 3)
        make_due(now)
        work_off(now)
        assert len(pacs.calls) == sent
        assert only_study(now)["state"] == "done"
    nowhere = dataclasses.replace(node, routes=(dataclasses.replace(route, when=(NEVER,)),))
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(nowhere)
    assert input_sets_of(node) == []


def test_a_study_is_not_done_when_its_newest_images_were_refused(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    images[3].ImagePositionPatient = [*images[3].ImagePositionPatient[:2], images[3].ImagePositionPatient[2] + 2]
    take_in(node, images[3:4])
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    work_off(node)
    assert only_study(node)["state"] == "refused"
    assert "uneven-spacing" in only_study(node)["reason"]
    assert not pacs.calls


def input_sets_of(node: Node) -> list[Any]:
    """Where the results of the node's input sets would go."""
    with node.database.read() as tx:
        return list(tx.execute(sa.select(dispatch)).mappings())


def choice(members_hash: str, *destinations: str) -> Choice:
    return Choice(
        network="n",
        slot="",
        members=(Member("image", "1.2.3.1"),),
        members_hash=members_hash,
        because="",
        dispatches=tuple(Dispatch("route", "live", one) for one in destinations),
        priority=1,
    )


def test_going_back_to_an_earlier_choice_makes_it_the_newest_again(database: Database) -> None:
    arrive(database, arrival(1))
    with database.write() as tx:
        study_id = tx.execute(sa.select(study.c.id)).scalar_one()
        first, _ = input_sets.record(tx, study_id, choice("a"))
        assert input_sets.record(tx, study_id, choice("a")) == (first, False)
        second, new = input_sets.record(tx, study_id, choice("b"))
        third, _ = input_sets.record(tx, study_id, choice("c"))
        assert new
        for wanted in (first, second, third, first):
            name = {first: "a", second: "b", third: "c"}[wanted]
            assert input_sets.record(tx, study_id, choice(name)) == (wanted, True)
            assert [row["id"] for row in input_sets.of_study(tx, study_id)] == [wanted]
            assert not input_sets.superseded(tx, wanted)
            assert input_sets.record(tx, study_id, choice(name)) == (wanted, False)
        line = dict(tuple(row) for row in tx.execute(sa.select(input_set.c.id, input_set.c.supersedes)).all())
    assert line == {first: third, third: second, second: None}


def test_a_destination_that_left_the_route_is_not_sent_to(database: Database) -> None:
    arrive(database, arrival(1))
    with database.write() as tx:
        study_id = tx.execute(sa.select(study.c.id)).scalar_one()
        made, _ = input_sets.record(tx, study_id, choice("a", "old", "pacs"))
        input_sets.record(tx, study_id, choice("a", "pacs", "new"))
        assert input_sets.live_destinations(tx, made) == ["new", "pacs"]
        input_sets.record(tx, study_id, choice("a"))
        assert tx.execute(sa.select(dispatch)).all() == []
