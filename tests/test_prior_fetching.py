"""Where no earlier study of a patient is here, one is fetched and compared with; it delays nothing that is urgent."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from db import measurements, prior_fetches, studies
from db.database import Clock, Database, Row
from db.job_states import JobKind
from db.tables import delivery, job, patient, prior_fetch, result
from db.tables import study as studies_table
from node.app import Node
from node.operations import control
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_archive import FakeArchive
from tests.sites import REST, Site, route
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts

NOW, BEFORE = "1.2.826.20", "1.2.826.19"


def study(uid: str, day: str, patient_id: str = "P1", modality: str = "CT") -> list[Dataset]:
    images = small_series(study_uid=uid, series_uid=f"{uid}.1", patient_id=patient_id)
    for ds in images:
        ds.StudyDate, ds.StudyTime, ds.Modality = day, "101500", modality
    return images


@pytest.fixture(autouse=True)
def _tempdir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)  # who receives sets it for the whole process


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with FakeArchive([*study(BEFORE, "20250301"), *study("1.2.826.21", "20250301", "P2")]) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, migrated: Path, archive: FakeArchive) -> Site:
    made = Site(tmp_path, migrated)
    write(made, archive)
    return made


def write(site: Site, archive: FakeArchive, **keys: str) -> None:
    query = f'query = {{ host = "127.0.0.1", port = {archive.port}, retrieve = "get", priors = true }}'
    peer = f'\n[[peer]]\nname = "archive"\nae_title = "ARCHIVE"\n{query}\n'
    site.write(peer, route(**keys), rest=REST)


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    with site.started() as opened:
        yield opened


def states(node: Node, kind: JobKind) -> list[str]:
    return [one["state"] for one in jobs_of(node, kind)]


def hurry(node: Node) -> None:
    with node.database.write() as tx:
        tx.execute(sa.update(job).values(run_after=Clock()))


def test_the_prior_is_fetched_read_first_compared_with_and_sent_nowhere(
    site: Site, threshold_hosts: ThresholdHosts
) -> None:
    site.hosts = threshold_hosts.address
    with site.started() as node:
        take_in(node, study(NOW, "20260110"))
        work_off(node, JobKind.CHOOSE)
        work_off(node, JobKind.SEGMENT)
        (waits,) = jobs_of(node, JobKind.SEGMENT)
        assert waits["state"] == "waiting"
        assert "prior-awaited" in waits["reason"]
        with node.database.write() as tx:  # however slow this machine is
            tx.execute(sa.update(job).where(job.c.id == waits["id"]).values(run_after=Clock() + 600))
        work_off(node, JobKind.PRIOR)
        work_off(node, JobKind.CHOOSE)
        work_off(node, JobKind.SEGMENT)
        assert sorted((one["study_uid"], one["state"]) for one in jobs_of(node, JobKind.SEGMENT)) == [
            (BEFORE, "done"),
            (NOW, "waiting"),
        ]
        hurry(node)
        work_off(node, JobKind.SEGMENT)
        assert states(node, JobKind.SEGMENT) == ["done", "done"]
        with node.database.read() as tx:
            prior = measurements.prior(tx, 1, "20260110101500")
            of_set = sa.select(result.c.input_set_id).join(delivery, delivery.c.result_id == result.c.id)
            sent = set(tx.execute(of_set).scalars())
        assert prior is not None
        assert prior["study_uid"] == BEFORE
        assert sent == {1}, "nothing of the prior is sent"
        assert len(jobs_of(node, JobKind.PRIOR)) == 1, "the prior asks for no prior of its own"
        control.reprocess(node.database, BEFORE, "ann", 3)
        with node.database.read() as tx:
            assert not prior_fetches.is_prior(tx, BEFORE), "a person wants it now for itself"


def test_a_patient_who_has_none_or_of_whom_one_is_here_is_not_waited_for(node: Node, archive: FakeArchive) -> None:
    take_in(node, study(NOW, "20260110", "P9"))
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.PRIOR)
    (asked,) = jobs_of(node, JobKind.PRIOR)
    assert asked["reason"] == "fetched: archive has no earlier study of the patient with the same modality"
    with node.database.read() as tx:
        assert not prior_fetches.on_its_way(tx, 1, 600)
    take_in(node, study("1.2.826.30", "20260111", "P9"))
    work_off(node, JobKind.CHOOSE)
    assert len(jobs_of(node, JobKind.PRIOR)) == 1
    assert archive.retrievals == 0


def test_another_patient_of_the_same_number_is_none(node: Node, archive: FakeArchive) -> None:
    for ds in archive.objects:
        ds.PatientBirthDate = "19550101"
    take_in(node, study(NOW, "20260110"))
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.PRIOR)
    assert archive.retrievals == 0


def test_a_stat_study_asks_for_none_and_waits_for_none(site: Site, archive: FakeArchive) -> None:
    write(site, archive, priority='"stat"')
    with site.started() as node:
        take_in(node, study(NOW, "20260110"))
        work_off(node, JobKind.CHOOSE)
        assert not jobs_of(node, JobKind.PRIOR)


def test_a_pacs_that_is_away_is_waited_for_a_while_only_and_fails_nothing(node: Node, archive: FakeArchive) -> None:
    archive.find_status = 0xA700
    take_in(node, study(NOW, "20260110"))
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.PRIOR)
    assert states(node, JobKind.PRIOR) == ["waiting"]
    with node.database.write() as tx:
        assert prior_fetches.on_its_way(tx, 1, 600)
        tx.execute(sa.update(prior_fetch).values(asked=Clock() - 601))
        assert not prior_fetches.on_its_way(tx, 1, 600)
    hurry(node)
    work_off(node, JobKind.PRIOR)
    (ended,) = jobs_of(node, JobKind.PRIOR)
    assert ended["state"] == "done"
    assert ended["reason"].startswith("prior-missed: archive does not answer now")


def test_a_prior_that_the_pacs_does_not_give_fails_nothing(node: Node, archive: FakeArchive) -> None:
    archive.status = 0xC000
    take_in(node, study(NOW, "20260110"))
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.PRIOR)
    (ended,) = jobs_of(node, JobKind.PRIOR)
    assert ended["state"] == "done"
    assert "prior-missed" in ended["reason"]
    with node.database.read() as tx:
        assert not prior_fetches.on_its_way(tx, 1, 600)
    assert only_study(node)["state"] == "waiting", "its network runs now"


# ------------------------------------------------- here already, or held for a person


def corrected(archive: FakeArchive) -> list[Dataset]:
    """The PACS has the study under the patient who it is of, P5; its images as they come from the scanner, as P1's."""
    images = study(BEFORE, "20250301")
    archive.objects = copy.deepcopy(images)
    for ds in archive.objects:
        ds.PatientID = "P5"
    return images


def of_uid(node: Node, uid: str) -> Row:
    with node.database.read() as tx:
        found = studies.find(tx, uid)
    assert found is not None
    return found


def test_a_study_that_is_here_under_another_patient_is_neither_fetched_nor_closed_nor_a_prior(
    node: Node, archive: FakeArchive
) -> None:
    take_in(node, corrected(archive))
    work_off(node, JobKind.CHOOSE)
    before = of_uid(node, BEFORE)
    take_in(node, study(NOW, "20260110", "P5"))
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.PRIOR)
    ended = jobs_of(node, JobKind.PRIOR)[-1]
    assert (ended["study_uid"], ended["state"]) == (NOW, "done")
    assert ended["reason"] == (
        "prior-missed: archive has the earlier study under this patient, and it is here under another one"
    )
    assert archive.retrievals == 0
    assert of_uid(node, BEFORE) == before
    with node.database.read() as tx:
        assert not prior_fetches.is_prior(tx, BEFORE)


@pytest.mark.parametrize("when", ["before it was asked for", "while it was fetched"])
def test_a_study_that_is_held_stays_held_until_a_person_decides(node: Node, archive: FakeArchive, when: str) -> None:
    images = corrected(archive)
    take_in(node, study(NOW, "20260110", "P5"))
    work_off(node, JobKind.CHOOSE)
    take_in(node, images)
    if when == "while it was fetched":  # by an attempt that was lost before it was here under P1
        with node.database.write() as tx:
            prior_fetches.found(tx, 1, BEFORE)
    else:
        take_in(node, archive.objects)
        assert of_uid(node, BEFORE)["state"] == "held"
    work_off(node, JobKind.PRIOR)
    held = of_uid(node, BEFORE)
    assert (held["state"], held["held_because"]) == ("held", "an image came again under another patient")
    work_off(node, JobKind.CHOOSE)
    assert of_uid(node, BEFORE)["state"] == "held"


def test_an_earlier_study_that_comes_by_itself_before_it_is_fetched_is_no_prior_only(
    node: Node, archive: FakeArchive
) -> None:
    archive.find_status = 0xA700
    take_in(node, study(NOW, "20260110"))
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.PRIOR)
    take_in(node, study(BEFORE, "20250301"))
    archive.find_status = 0x0000
    hurry(node)
    work_off(node, JobKind.PRIOR)
    assert "has come meanwhile by itself" in jobs_of(node, JobKind.PRIOR)[-1]["reason"]
    assert archive.retrievals == 0
    with node.database.read() as tx:
        assert not prior_fetches.is_prior(tx, BEFORE)


def test_only_a_study_that_arrives_is_closed_by_what_fetched_it(database: Database) -> None:
    with database.write() as tx:
        person = tx.execute(sa.insert(patient).values(issuer="", patient_id="P1").returning(patient.c.id)).scalar_one()
        for uid, state in (("1.1", "open"), ("1.2", "held"), ("1.3", "closed")):
            row = dict(study_uid=uid, patient_id=person, state=state, arrived=1.0, last_image=1.0)
            tx.execute(sa.insert(studies_table).values(row))
        closed = [uid for uid in ("1.1", "1.2", "1.3", "1.4") if studies.close_arriving(tx, uid, "fetched", 3)]
        assert closed == ["1.1"]
        assert [studies.find(tx, uid)["state"] for uid in ("1.1", "1.2", "1.3")] == ["closed", "held", "closed"]
