"""The path of a network: corrections come back, it is trained, judged, watched, approved, live, and rolled back."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from config.settings import load
from db import networks, shadows, training_due, training_runs
from node import trying
from node.app import Node, open_node
from node.demo.study import ct_series
from node.errors import Refused
from node.hosts import Hosts
from node.inbound.inbox import Source
from node.learning.buckets import Key, Shares, bucket
from node.operations import audit, retrain, versions
from node.operations.status import overview
from node.operations.submit import take_file
from node.operations.sweep import sweep_home
from tests import loop_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.nurseries import SHARED
from tests.returned import LUNG, Described, segmentation
from tests.synthetic import as_files
from tests.waiting import wait_until

SHAPE = (20, 18, 10)
SPACING_MM = (3.0, 3.0, 4.0)
SHARES = (30, 10, 60)
KEY = Key(bytes(range(32)))
DRAWN: list[Described] = [(1, "Lung", LUNG, None), (2, "Aorta", Code("15825003", "SCT", "Aorta"), None)]


def body(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """HU and truth (columns, rows, slices) of a patient: a box of each class, in water."""
    random = np.random.default_rng(number)
    hu, truth = np.full(SHAPE, 0, np.float32), np.zeros(SHAPE, np.uint8)
    first = int(random.integers(2, 5))
    truth[first : first + 5, 3:12, 2:8], truth[first + 7 : first + 12, 4:14, 2:8] = 1, 2
    hu[truth == 1], hu[truth == 2] = -900, -450
    return hu + random.normal(0, 25, SHAPE).astype(np.float32), truth


def series(number: int, name: str) -> list[Dataset]:
    hu, _ = body(number)
    images = list(ct_series(hu, SPACING_MM))
    for ds in images:
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = name, f"{name}^Test", f"19{number % 90 + 10}0101"
    return images


def correction(images: Sequence[Dataset], truth: NDArray[np.uint8]) -> Dataset:
    """What a radiologist sends back: both structures, drawn by hand."""
    return segmentation(images, truth.transpose(2, 1, 0), DRAWN)


def names(wanted: dict[str, int]) -> list[str]:
    """PatientIDs of so many patients of each bucket."""
    train, validation, test = SHARES
    shares, left, found = Shares(train=train, validation=validation, test=test), dict(wanted), []
    number = 0
    while any(left.values()):
        number += 1
        name = f"LOOP{number:04d}"
        mine = bucket(KEY.pseudonym("", name), shares)
        if left[mine]:
            left[mine] -= 1
            found.append(name)
    return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with real model hosts and a network that has everything to learn."""
    home = tmp_path / "home"
    (home / "learning").mkdir(parents=True, mode=0o700)
    (home / "learning" / "key").write_bytes(KEY.secret)
    loop_bundle.make(home / "models")
    hosts = Hosts(tmp_path / "h", "cpu", nursery=SHARED)
    hosts.folder.mkdir()
    learning = {
        "train": True,
        "shares": list(SHARES),
        "new_patients": 4,
        "window": "",
        "max_epochs": 60,
        "max_minutes": 5,
        "early_stop": 100,
        "quiet_seconds": 0,
        "shadow_studies": 1,
    }
    settings = load(
        None,
        {
            "node": {"home": home},
            "receive": {"quiet_seconds": 0, "port": 0, "reserve_gb": 0},
            "learning": learning,
            "route": [{"name": "balls", "networks": ["balls"]}],
        },
    )
    opened = open_node(settings, hosts.serve())
    yield opened
    opened.close()
    hosts.stop()


def teach(node: Node, objects: Sequence[Dataset], folder: Path) -> None:
    """Let corrections arrive from a viewer that may send labels."""
    viewer = Source("VIEWER", "10.0.0.5", teaches=True)
    for file in as_files(list(objects), folder):
        take_file(node.inbox, file, viewer)


def states(node: Node) -> dict[str, str]:
    with node.database.read() as tx:
        return {row["version"]: row["state"] for row in networks.versions(tx, "balls")}


def taught(node: Node, tmp_path: Path, wanted: dict[str, int]) -> None:
    """Patients come, get drafts, and come back corrected."""
    everybody = names(wanted)
    images = {name: series(number, name) for number, name in enumerate(everybody)}
    take_in(node, [image for one in images.values() for image in one])
    work_off(node, most=500)
    back = [correction(images[name], body(number)[1]) for number, name in enumerate(everybody)]
    teach(node, back, tmp_path / "back")
    work_off(node, most=500)


def test_a_network_learns_from_corrections_and_goes_live_when_it_is_proven(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "FEWEST_TURNS", 10)  # the fastest of three says little where much else runs
    taught(node, tmp_path, {"train": 3, "validation": 1, "test": 12})
    asked = retrain.ask(node.database, node.networks, "balls", 3, "somebody")
    assert "balls is trained now" in asked
    with pytest.raises(Refused, match="one at a time"):
        retrain.ask(node.database, node.networks, "balls", 3, "somebody")
    work_off(node)
    with node.database.read() as tx:
        (run,) = training_runs.listing(tx)
        (judged,) = training_runs.evaluations(tx)
    assert (run["state"], run["who"]) == ("evaluated", "somebody"), jobs_of(node)
    verdict = judged["verdict"]
    assert judged["outcome"] == "pass", verdict
    assert (judged["look"], verdict["patients"], verdict["automatic"]) == (1, 12, False)
    assert states(node) == {"0.1": "installed", "0.1+001": "shadow"}
    report = node.archive.home / judged["report"]
    said = report.read_text(encoding="utf-8")
    needed = run["facts"]["power"]["sentence"]  # of the one patient in the validation
    assert "cannot be said from 1 of the champion's scores" in needed
    assert needed in html.unescape(said)
    assert "0.1+001" in report.with_name("model-card.html").read_text(encoding="utf-8")
    order = json.loads((report.parent / "run.json").read_text())
    locked = {folder.name for folder in (node.archive.home / "learning" / "locked").iterdir()}
    assert (len(order["train"]), len(order["validation"]), len(locked)) == (3, 1, 12)
    assert not [one for one in order["train"] + order["validation"] if Path(one).name in locked or "locked" in one]

    # it runs beside the live one on the next study, and nothing of it goes out
    take_in(node, series(77, "NEXT1"))
    work_off(node)
    with node.database.read() as tx:
        summary = shadows.summary(tx, run["candidate_id"])
    assert summary is not None and summary.studies == 1
    live, _ = node.networks.live("balls")
    assert live == run["parent_id"]

    with pytest.raises(Refused, match="approve it first"):
        versions.promote(node.networks, "balls", "0.1+001", "somebody", "it is better")
    versions.approve(node.database, "balls", "0.1+001", "somebody", "seen the report")
    versions.promote(node.networks, "balls", "0.1+001", "somebody", "it is better")
    take_in(node, series(78, "NEXT2"))
    work_off(node)
    newest = overview(node.database)["jobs"]
    segmented = [job["model"] for job in newest if job["kind"] == "segment"]
    assert segmented[0] == "balls 0.1+001"
    assert set(segmented[1:]) == {"balls 0.1"}

    versions.rollback(node.networks, "balls", "somebody", "try")
    assert node.networks.live("balls")[1].card.version == "0.1"
    assert audit.verify(node.database).startswith("the record is whole")

    # what the shadow found has done its service; the labels' masks have not
    masks = {of: list((node.archive.home / of).glob("??/*.npy")) for of in ("labels", "shadows")}
    assert masks["labels"] and len(masks["shadows"]) == 1
    sweep_home(node.archive, node.database, node.inbox, settled_seconds=-1)
    assert [file.exists() for file in masks["labels"] + masks["shadows"]] == [True] * len(masks["labels"]) + [False]


@pytest.mark.slow
def test_two_locked_patients_are_too_few_to_prove_anything(node: Node, tmp_path: Path) -> None:
    taught(node, tmp_path, {"train": 4, "validation": 1, "test": 2})
    retrain.ask(node.database, node.networks, "balls", 3, "somebody")
    work_off(node)
    with node.database.read() as tx:
        (judged,) = training_runs.evaluations(tx)
    assert judged["outcome"] == "inconclusive"
    assert states(node)["0.1+001"] == "candidate"


@pytest.mark.slow
def test_a_training_that_a_person_stops_leaves_the_device_and_leads_to_nothing(node: Node, tmp_path: Path) -> None:
    taught(node, tmp_path, {"train": 2, "validation": 1, "test": 1})
    retrain.ask(node.database, node.networks, "balls", 3, "somebody")
    working = threading.Thread(target=work_off, args=(node,))
    working.start()

    def trains() -> bool:
        with node.database.read() as tx:
            return any(run["state"] == "training" for run in training_runs.listing(tx))

    wait_until("the training to begin", trains, seconds=120)
    assert "is stopped" in retrain.stop(node.database, "balls", "physicist", "wrong labels")
    working.join(60)
    assert not working.is_alive()
    with node.database.read() as tx:
        (run,) = training_runs.listing(tx)
        assert training_due.new_patients(tx, "balls") == 0  # else it would begin again at once
    assert (run["state"], run["reason"]) == ("cancelled", "stopped by physicist: wrong labels")
    assert [one["state"] for one in jobs_of(node) if one["kind"] == "train"] == ["cancelled"]
    assert states(node) == {"0.1": "installed"}
    with pytest.raises(Refused, match="no training of balls is under way"):
        retrain.stop(node.database, "balls", "physicist", "again")


def test_without_labels_nothing_is_trained_and_somebody_is_told(node: Node) -> None:
    retrain.ask(node.database, node.networks, "balls", 3, "somebody")
    work_off(node)
    (job,) = [job for job in jobs_of(node) if job["kind"] == "train"]
    assert job["state"] == "refused"
    assert "no label of a patient in the train bucket" in str(job["reason"])
    work_off(node)
    retrain.ask(node.database, node.networks, "balls", 3, "somebody")  # it may be asked for again
