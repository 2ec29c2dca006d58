"""The whole way to destinations of other kinds: storage commitment after C-STORE, and STOW-RS."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from config.settings import Settings
from db.job_states import JobKind
from node.app import Node, open_node
from node.configured import doorkeeper
from node.inbound.peers import Doorkeeper
from node.operations.status import overview
from node.outbound.target import Web
from node.receiver import Receiver
from tests.conftest import find_program
from tests.doors import door
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.orthanc import Orthanc
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def states(node: Node) -> list[str]:
    return sorted({one["state"] for one in overview(node.database)["deliveries"]})


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Node, Doorkeeper], int]]:
    """A receiver of a node, for the answers; its port."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # a receiver sets it for its whole process
    started: list[Receiver] = []

    def listen(node: Node, doors: Doorkeeper) -> int:
        started.append(
            Receiver(
                door(ae_title=node.ae_title, idle_seconds=30, max_pdu_bytes=16384), doors, node.inbox, node.database
            )
        )
        return started[-1].start()

    yield listen
    for receiver in started:
        receiver.stop()


@pytest.mark.parametrize("where", ["same", "new"])
def test_results_are_committed_at_the_end_of_the_way(
    node: Node, settings: Settings, pacs: FakePacs, listening: Callable[[Node, Doorkeeper], int], where: str
) -> None:
    pacs.commits = where
    node.targets["pacs"] = dataclasses.replace(node.targets["pacs"], commitment=True)
    (peer,) = settings.peer
    assert peer.destination is not None
    asked = peer.model_copy(update={"destination": peer.destination.model_copy(update={"commitment": True})})
    pacs.node_port = listening(node, doorkeeper(settings.model_copy(update={"peer": (asked,)})))
    take_in(node, small_series())

    def committed() -> bool:
        work_off(node)
        return states(node) == ["committed"]

    wait_until("everything is committed", committed)
    assert [job["state"] for job in jobs_of(node, JobKind.COMMIT)] == ["done"]
    assert len(pacs.requests) == 1
    assert only_study(node)["state"] == "done"


def test_orthanc_commits_to_the_results_of_a_study(
    orthanc: Orthanc,
    settings: Settings,
    threshold_hosts: ThresholdHosts,
    listening: Callable[[Node, Doorkeeper], int],
) -> None:
    (peer,) = settings.peer
    assert peer.destination is not None
    to = peer.destination.model_copy(update={"port": orthanc.port, "commitment": True})
    at = peer.model_copy(update={"ae_title": orthanc.ae_title, "destination": to})
    there = settings.model_copy(update={"peer": (at,)})
    node = open_node(there, threshold_hosts.address)
    try:
        orthanc.know(node.ae_title, listening(node, doorkeeper(there)))
        take_in(node, small_series())

        def committed() -> bool:
            work_off(node)
            return states(node) == ["committed"]

        wait_until("everything is committed", committed)
        assert len(orthanc.files()) == 3
    finally:
        node.close()


def test_results_go_to_a_dicomweb_server_and_are_what_was_kept(node: Node) -> None:
    program = find_program("Orthanc", "apt-get install orthanc")
    if not DICOMWEB.is_file():
        find_program("orthanc-dicomweb", "apt-get install orthanc-dicomweb")
    with Orthanc(program, Plugins=[str(DICOMWEB)], DicomWeb={"Enable": True}) as orthanc:
        node.targets["pacs"] = dataclasses.replace(node.targets["pacs"], web=Web(f"{orthanc.url}/dicom-web"))
        take_in(node, small_series())
        work_off(node)
        assert states(node) == ["delivered"]
        assert only_study(node)["state"] == "done"
        kept = {file.read_bytes() for file in (node.archive.home / "results").rglob("*.dcm")}
        assert set(orthanc.files()) <= kept
        assert {ds.Modality for ds in orthanc.instances()} == {"SEG", "SR"}


def test_a_dicomweb_server_that_is_away_is_waited_for(node: Node) -> None:
    node.targets["pacs"] = dataclasses.replace(node.targets["pacs"], web=Web("http://127.0.0.1:9/dicom-web"))
    take_in(node, small_series())
    work_off(node)
    assert states(node) == ["waiting"]
    (job,) = jobs_of(node, JobKind.DELIVER)
    assert (job["state"], job["attempts"]) == ("waiting", 0)
    assert "cannot be reached" in overview(node.database)["deliveries"][0]["reason"]


def test_every_object_of_a_study_is_one_study_to_its_readers(node: Node, pacs: FakePacs, tmp_path: Path) -> None:
    node.targets["pacs"] = dataclasses.replace(
        node.targets["pacs"], objects=frozenset({"SEG", "SR", "SC", "PDF", "RTSTRUCT", "STL"})
    )
    images = small_series(patient_id="0815", name="Doe^Jane")
    take_in(node, images)
    work_off(node)
    kept = [dcmread(file) for file in (node.archive.home / "results").rglob("*.dcm")]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "PatientBirthDate"):
        assert {str(ds[keyword].value) for ds in kept} == {str(images[0][keyword].value)}, keyword
    assert len({ds.SeriesInstanceUID for ds in kept if ds.Modality not in ("OT", "SC")}) == len(
        [ds for ds in kept if ds.Modality not in ("OT", "SC")]
    )
