"""Corrections come back: each becomes a label on the grid of its images, or says why it does not."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from config.settings import Settings, load
from db import arrivals, events, input_sets, jobs, label_images, labels, lost_jobs, recording, refusals
from db.arrivals import Kind, Seen
from db.database import Database
from db.input_sets import Choice, Member
from db.job_states import JobKind
from db.tables import input_member, label, patient, result
from node import failpoints
from node.app import Node, open_node
from node.errors import Refused
from node.inbound.inbox import LOCAL, Source
from node.inbound.peers import Doorkeeper, KnownPeer
from node.learning import masks
from node.operations import control, nifti
from node.operations import labels as operations
from node.operations.submit import take_file
from node.outbound.association import stand_aside
from node.prediction import read
from node.receiver import Receiver
from tests.doors import door as usual_door
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.returned import LEFT, LUNG, LUNGS, TISSUE, folder_of, renumbered, segmentation
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts

BLADDER = [(1, "[red]Bladder", TISSUE, None)]
READER = Source("READER", "127.0.0.1", teaches=True)


def give_back(node: Node, *objects: Dataset, source: Source = READER) -> list[Seen]:
    """Let objects come back from a workstation."""
    with tempfile.TemporaryDirectory() as folder:
        return [take_file(node.inbox, file, source) for file in folder_of(objects, Path(folder))]


def rows(node: Node) -> list[Any]:
    with node.database.read() as tx:
        return list(tx.execute(sa.select(label).order_by(label.c.id)).mappings())


def only(node: Node) -> Any:
    (row,) = rows(node)
    return row


def mask_of(node: Node, row: Any) -> NDArray[np.uint8]:
    return masks.read(node.archive.home, row["mask_path"])


def draft_of(pacs: FakePacs) -> Dataset:
    (seg,) = pacs.of_modality("SEG")
    return seg


def thresholded(images: Sequence[Dataset]) -> NDArray[np.uint8]:
    """What the network says of these images, (slices, rows, columns)."""
    made = (np.stack([ds.pixel_array for ds in images]) < -500).astype(np.uint8)
    made[:, :, made.shape[2] // 2 :] *= 2
    return made


@pytest.fixture
def images(node: Node, pacs: FakePacs) -> list[Dataset]:
    """A study that was segmented and sent."""
    made = small_series()
    take_in(node, made)
    work_off(node)
    assert only_study(node)["state"] == "done"
    return made


# ------------------------------------------------------------ a correction


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_a_corrected_segmentation_becomes_a_label_that_says_what_was_changed(
    node: Node, images: list[Dataset], form: str
) -> None:
    drawn = thresholded(images)
    drawn[3, 8:12, 6:9] = 0
    give_back(node, segmentation(images, drawn, form=form, ContentDate="20260102", ContentTime="030405"))
    work_off(node)
    row = only(node)
    assert (row["state"], row["network"], row["annotated"]) == ("ready", "ct_lungs", [1, 2]), row["sentence"]
    assert (mask_of(node, row) == drawn).all()
    assert (row["author"], row["calling_ae"], row["came"]) == ("Reader^One", "READER", "received")
    assert row["made"].startswith("20260102030405")
    left, right = row["comparison"]["classes"]
    assert row["comparison"]["voxels_changed"] == left["voxels_changed"] == 12
    assert right["voxels_changed"] == 0
    assert left["dice"] < right["dice"] == 1.0
    assert left["label_ml"] == pytest.approx(left["draft_ml"] - 12 * 0.03)
    with node.database.read() as tx:
        draft = tx.execute(sa.select(result.c.kind).where(result.c.id == row["draft_id"])).scalar_one()
        person = tx.execute(sa.select(patient).where(patient.c.id == row["patient_id"])).mappings().one()
        usable = labels.usable(tx, "ct_lungs")
    assert draft == "SEG"
    assert person["bucket"] in ("train", "validation", "test")
    assert [one["id"] for one in usable] == [row["id"]]
    assert usable[0]["study_date"].startswith(images[0].StudyDate)
    original = dcmread(node.archive.at(row["source_path"]))
    assert original.SOPInstanceUID == row["source_uid"], "the original is kept"


def test_a_label_of_a_viewer_that_loses_codes_is_known_by_number_and_colour_of_what_we_sent(
    node: Node, images: list[Dataset], pacs: FakePacs
) -> None:
    draft, drawn = draft_of(pacs), thresholded(images)
    drawn[2] = 0
    plain = [(1, "Segment 1", TISSUE, None), (2, "Segment 2", TISSUE, None)]
    seg = segmentation(images, drawn, plain, form="LABELMAP", algorithm="SEMIAUTOMATIC")
    for theirs, ours in zip(seg.SegmentSequence[-2:], draft.SegmentSequence, strict=True):
        theirs.RecommendedDisplayCIELabValue = ours.RecommendedDisplayCIELabValue
    give_back(node, seg)
    work_off(node)
    row = only(node)
    assert row["state"] == "ready", row["sentence"]
    assert [one["how"] for one in row["structures"] if one["value"]] == ["draft", "draft"]
    assert (mask_of(node, row) == drawn).all()


def test_numbers_alone_map_nothing_and_a_person_can_say_which_is_which(node: Node, images: list[Dataset]) -> None:
    drawn = thresholded(images)
    drawn[2] = 0
    plain = [(1, "Segment 1", TISSUE, None), (2, "Segment 2", TISSUE, None)]
    give_back(node, segmentation(images, drawn, plain))
    work_off(node)
    row = only(node)
    assert (row["state"], row["code"], row["mask_path"]) == ("quarantined", "label-unmapped", None)
    assert "'Segment 1', 'Segment 2'" in row["sentence"]
    assert [(one["name"], one["value"]) for one in row["structures"]] == [("Segment 1", None), ("Segment 2", None)]
    for pairs, code in (
        (["Segment 3=1"], "no-such-structure"),
        (["Segment 1=9"], "no-such-class"),
        (["Segment 1"], "no-such-class"),
    ):
        with pytest.raises(Refused, match=code):
            operations.map_structures(node.database, node.networks, row["id"], pairs, "mary", 3)
    said = operations.map_structures(node.database, node.networks, row["id"], ["Segment 1=1", "#2=2"], "mary", 3)
    assert "#1 is Left lung, #2 is Right lung" in said
    work_off(node)
    row = only(node)
    assert (row["state"], row["annotated"]) == ("ready", [1, 2]), row["sentence"]
    assert [one["how"] for one in row["structures"]] == ["given", "given"]
    with node.database.read() as tx:
        event = events.listing(tx)[0]
        assert events.verify(tx) is None
    assert (event["who"], event["what"]) == ("mary", "label-mapped")
    assert images[0].PatientID not in event["details"]


def test_a_class_that_is_missing_is_not_annotated_and_an_empty_one_was_looked_for(
    node: Node, images: list[Dataset]
) -> None:
    drawn = thresholded(images)
    drawn[3, 8:12, 6:9] = 0
    drawn[drawn == 2] = 0
    give_back(node, segmentation(images, drawn, LUNGS[:1]))
    work_off(node)
    assert only(node)["annotated"] == [1]
    give_back(node, segmentation(images, drawn, LUNGS, ContentDate="20990101"))
    work_off(node)
    empty = rows(node)[1]
    assert (empty["state"], empty["code"]) == ("quarantined", "label-empty"), "nobody has no right lung"
    assert "Right lung has no voxel" in empty["sentence"]
    operations.map_structures(node.database, node.networks, empty["id"], ["#2=2"], "mary", 3)
    work_off(node)
    first, vouched = rows(node)
    assert (vouched["state"], vouched["annotated"]) == ("ready", [1, 2])
    assert first["state"] == "superseded"


def test_structures_that_overlap_much_and_two_for_one_class_are_quarantined(node: Node, images: list[Dataset]) -> None:
    drawn = thresholded(images)
    two = np.stack([drawn == 1, drawn == 1], axis=-1).astype(np.uint8)
    give_back(node, segmentation(images, two, LUNGS), segmentation(images, two, [LUNGS[0], (2, "copy", LUNG, LEFT)]))
    work_off(node)
    assert [(row["state"], row["code"]) for row in rows(node)] == [
        ("quarantined", "label-overlap"),
        ("quarantined", "label-ambiguous"),
    ]


# ------------------------------------------------------ what is not a truth


def test_our_own_result_that_comes_back_is_accepted_and_never_truth(
    node: Node, images: list[Dataset], pacs: FakePacs
) -> None:
    draft = draft_of(pacs)
    give_back(node, draft, renumbered(draft), renumbered(draft, ContentCreatorName="Reader^One"))
    copy = segmentation(images, thresholded(images))  # in another program's words, signed, and equal bit by bit
    give_back(node, copy)
    work_off(node)
    assert [(row["state"], row["code"]) for row in rows(node)] == [("accepted", "label-unchanged")] * 4
    assert all(row["mask_path"] is None for row in rows(node))
    with node.database.read() as tx:
        assert labels.usable(tx, "ct_lungs") == []
        assert labels.counts(tx, "ct_lungs") == {"accepted": 4}


def test_what_machines_made_is_no_truth_unless_a_person_vouches_for_it(
    node: Node, images: list[Dataset], pacs: FakePacs
) -> None:
    drawn = thresholded(images)
    drawn[3, 8:12, 6:9] = 0
    other_network = segmentation(images, drawn, algorithm="AUTOMATIC", author="Other AI")
    give_back(node, other_network)
    work_off(node)
    row = only(node)
    assert (row["state"], row["code"]) == ("quarantined", "label-automatic")
    operations.map_structures(node.database, node.networks, row["id"], ["Left lung=1", "Right lung=2"], "mary", 3)
    work_off(node)
    assert only(node)["state"] == "ready"


@pytest.mark.parametrize(("author", "state"), [("", "quarantined"), ("Reader^One", "ready")])
def test_our_result_that_was_changed_and_still_says_automatic_counts_where_somebody_signed_it(
    node: Node, images: list[Dataset], pacs: FakePacs, author: str, state: str
) -> None:
    changed = renumbered(draft_of(pacs), ContentCreatorName=author)
    bits = bytearray(changed.PixelData)
    bits[len(bits) // 4] ^= 0xFF
    changed.PixelData = bytes(bits)
    give_back(node, changed)
    work_off(node)
    row = only(node)
    assert row["state"] == state, row["sentence"]
    if state == "ready":
        assert row["comparison"]["voxels_changed"] == 8


def test_an_older_draft_that_comes_back_unchanged_is_no_correction_of_the_newest(
    node: Node, images: list[Dataset], pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    old = renumbered(draft_of(pacs), ContentCreatorName="Reader^One")
    usual = threshold_hosts.answer
    threshold_hosts.answer = lambda volume: np.roll(usual(volume), 1, axis=0)
    control.reprocess(node.database, images[0].StudyInstanceUID, "mary", 3)
    work_off(node)
    assert len(pacs.of_modality("SEG")) == 2
    give_back(node, old)
    work_off(node)
    assert only(node)["state"] == "accepted"


def test_another_patients_label_is_quarantined(node: Node, images: list[Dataset]) -> None:
    drawn = thresholded(images)
    drawn[3] = 0
    give_back(
        node,
        segmentation(images, drawn, PatientID="SOMEBODY-ELSE"),
        segmentation(images, drawn, PatientID=""),
        segmentation(images, drawn, PatientID=f" {images[0].PatientID.lower()} "),
    )
    work_off(node)
    assert [(row["state"], row["code"]) for row in rows(node)] == [
        ("quarantined", "label-other-patient"),
        ("quarantined", "label-other-patient"),
        ("ready", None),
    ]


def test_images_without_a_patient_id_never_teach(node: Node) -> None:
    images = small_series(patient_id="")
    take_in(node, images)
    work_off(node)
    drawn = thresholded(images)
    drawn[3] = 0
    give_back(node, segmentation(images, drawn))
    work_off(node)
    row = only(node)
    assert (row["state"], row["code"], row["mask_path"]) == ("quarantined", "no-patient-id", None)


def test_nothing_outlined_and_nothing_removed_is_no_label(node: Node, threshold_hosts: ThresholdHosts) -> None:
    """A network that says that there is nothing, and a reader who agrees: accepted. All-empty otherwise: kept out."""
    threshold_hosts.answer = lambda volume: np.zeros(volume.shape, np.uint8)
    images = small_series()
    take_in(node, images)
    work_off(node)
    give_back(node, segmentation(images, np.zeros((8, 20, 24), np.uint8)))
    work_off(node)
    assert only(node)["state"] == "accepted"


def test_what_another_network_of_ours_made_is_no_truth_for_its_neighbour(
    settings: Settings, threshold_hosts: ThresholdHosts
) -> None:
    """Two networks read the same images; what one drew, exported as if by hand, teaches neither."""
    from models import card

    lungs = card.find("ct_lungs", (card.SHIPPED,)).folder
    twin = settings.home / "models" / "twin"
    shutil.copytree(lungs, twin)
    text = (twin / card.FILE).read_text()
    (twin / card.FILE).write_text(text.replace('name = "ct_lungs"', 'name = "twin"'))
    node = open_node(settings, threshold_hosts.address)
    images = small_series()
    take_in(node, images)
    work_off(node, JobKind.CHOOSE)
    usual = threshold_hosts.answer
    shifted = iter([usual, lambda volume: np.roll(usual(volume), 1, axis=0)])
    threshold_hosts.answer = lambda volume: next(shifted)(volume)
    work_off(node, JobKind.SEGMENT)
    give_back(node, segmentation(images, thresholded(images)))
    work_off(node, JobKind.LABEL)
    assert {row["state"] for row in rows(node)} == {"accepted"}
    assert {row["network"] for row in rows(node)} == {"ct_lungs", "twin"}
    node.close()


# ----------------------------------------------------------- one after another


def test_the_newest_label_counts_and_keeps_what_it_does_not_annotate_from_the_one_before(
    node: Node, images: list[Dataset]
) -> None:
    first, second = thresholded(images), thresholded(images)
    first[3, 8:12, 6:9] = 0
    second[4, 8:12, 6:9] = 0
    second[second == 2] = 0
    give_back(node, segmentation(images, first, ContentDate="20260101", ContentTime="120000"))
    give_back(node, segmentation(images, second, LUNGS[:1], ContentDate="20260102", ContentTime="120000"))
    work_off(node)
    older, newer = rows(node)
    assert (older["state"], newer["state"], newer["supersedes"]) == ("superseded", "ready", older["id"])
    assert newer["annotated"] == [1, 2]
    made = mask_of(node, newer)
    assert ((made == 1) == (second == 1)).all()
    assert ((made == 2) == (first == 2)).all()
    assert newer["structures"][-1]["how"] == f"label {older['id']}"
    said = operations.reject(node.database, older["id"], "mary", "the wrong side")
    assert f"label {newer['id']} of the same images counts" in said
    work_off(node)
    older, newer = rows(node)
    assert (older["state"], newer["state"], newer["annotated"]) == ("rejected", "ready", [1])
    assert not (mask_of(node, newer) == 2).any()


def test_an_older_label_that_comes_later_does_not_take_the_place_of_a_newer_one(
    node: Node, images: list[Dataset]
) -> None:
    first, second = thresholded(images), thresholded(images)
    first[3, 8:12, 6:9] = 0
    second[second == 2] = 0
    second[4, 8:12, 6:9] = 0
    give_back(node, segmentation(images, second, LUNGS[:1], ContentDate="20260102"))
    work_off(node)
    give_back(node, segmentation(images, first, ContentDate="20260101"))
    work_off(node)
    newer, older = rows(node)
    assert (older["state"], newer["state"], newer["annotated"]) == ("superseded", "ready", [1, 2])
    assert ((mask_of(node, newer) == 2) == (first == 2)).all()


def test_a_rejected_label_stays_rejected_and_the_one_before_counts_again(node: Node, images: list[Dataset]) -> None:
    drawn = thresholded(images)
    drawn[3] = 0
    good = segmentation(images, drawn, ContentDate="20260101")
    drawn[4] = 0
    bad = segmentation(images, drawn, ContentDate="20260102")
    give_back(node, good, bad)
    work_off(node)
    with pytest.raises(Refused, match="no-reason"):
        operations.reject(node.database, rows(node)[1]["id"], "mary", " ")
    operations.reject(node.database, rows(node)[1]["id"], "mary", "slipped")
    work_off(node)
    assert [row["state"] for row in rows(node)] == ["ready", "rejected"]
    with pytest.raises(Refused, match="rejected before"):
        operations.reject(node.database, rows(node)[1]["id"], "mary", "again")
    assert give_back(node, bad) == [Seen.SAME]
    work_off(node)
    assert [row["state"] for row in rows(node)] == ["ready", "rejected"]
    assert rows(node)[1]["sentence"] == "rejected by mary: slipped"


def test_the_same_object_is_one_label_however_often_it_comes(node: Node, images: list[Dataset]) -> None:
    drawn = thresholded(images)
    drawn[3] = 0
    seg = segmentation(images, drawn)
    assert give_back(node, seg, seg) == [Seen.NEW, Seen.SAME]
    work_off(node)
    before = only(node)
    assert give_back(node, seg) == [Seen.SAME]
    work_off(node)
    assert only(node) == before


# ------------------------------------------------------------ in any order


def test_a_label_that_comes_before_its_images_waits_for_what_the_network_says_of_them(
    node: Node, pacs: FakePacs
) -> None:
    images = small_series()
    drawn = thresholded(images)
    drawn[3] = 0
    give_back(node, segmentation(images, drawn))
    work_off(node)
    assert (only(node)["state"], only(node)["code"]) == ("waiting", "label-images-missing")
    take_in(node, images)
    work_off(node, JobKind.LABEL, JobKind.CHOOSE)
    assert (only(node)["state"], only(node)["code"]) == ("waiting", "label-draft-pending")
    work_off(node)
    row = only(node)
    assert (row["state"], row["comparison"]["voxels_changed"] > 0) == ("ready", True), row["sentence"]
    assert [job["state"] for job in jobs_of(node, JobKind.LABEL)] == ["done"]


def test_a_label_of_another_study_of_the_patient_in_the_same_frame_of_reference_finds_its_images(node: Node) -> None:
    """As planning systems write them: a study of its own, images that never were, and only the frame in common."""
    images = small_series()
    drawn = thresholded(images)
    drawn[3] = 0
    seg = segmentation(images, drawn, StudyInstanceUID=generate_uid())
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if keyword in seg:
            delattr(seg, keyword)
    for item in seg.PerFrameFunctionalGroupsSequence:
        del item.DerivationImageSequence
    give_back(node, seg)
    work_off(node)
    assert only(node)["state"] == "waiting"
    take_in(node, images)
    work_off(node)
    row = only(node)
    assert row["state"] == "ready", row["sentence"]
    assert (mask_of(node, row) == drawn).all()


def test_late_slices_make_the_label_anew_on_the_new_grid(node: Node) -> None:
    images = small_series()
    drawn = thresholded(images)
    drawn[3] = 0
    take_in(node, images[:-1])
    work_off(node)
    give_back(node, segmentation(images[:-1], drawn[:-1]))
    work_off(node)
    assert mask_of(node, only(node)).shape == (7, 20, 24)
    take_in(node, images[-1:])
    work_off(node, JobKind.CHOOSE)
    with node.database.read() as tx:
        assert labels.usable(tx, "ct_lungs") == [], "not on images that were replaced"
    work_off(node)
    assert only(node)["state"] == "ready", only(node)["sentence"]
    assert mask_of(node, only(node)).shape == (8, 20, 24)


def test_images_that_no_network_has_read_are_named_and_read_later(
    settings: Settings, threshold_hosts: ThresholdHosts
) -> None:
    nothing = {"route": [{"name": "mr", "when": [{"modality": "MR"}], "networks": ["ct_lungs"]}]}
    node = open_node(load(None, settings.model_dump(mode="json", exclude_none=True) | nothing), threshold_hosts.address)
    images = small_series()
    drawn = thresholded(images)
    drawn[3] = 0
    take_in(node, images)
    give_back(node, segmentation(images, drawn))
    work_off(node)
    row = only(node)
    assert (row["state"], row["code"]) == ("quarantined", "label-no-network")
    assert f"planimeter reprocess {images[0].StudyInstanceUID}" in row["sentence"]
    node.close()
    node = open_node(settings, threshold_hosts.address)
    control.reprocess(node.database, images[0].StudyInstanceUID, "mary", 3)
    work_off(node)
    assert only(node)["state"] == "ready", only(node)["sentence"]
    node.close()


def test_a_label_that_cannot_be_read_says_so(node: Node, images: list[Dataset]) -> None:
    seg = segmentation(images, thresholded(images))
    del seg.SegmentSequence
    give_back(node, seg)
    work_off(node)
    assert only(node)["state"] == "quarantined"
    assert only(node)["code"]
    assert only_study(node)["state"] == "done", "what is wrong with a label is nothing of its study"


# ------------------------------------------------------------- who may teach


@pytest.fixture
def door(node: Node) -> Iterator[Callable[[str, Sequence[Dataset]], None]]:
    """A receiver that knows a scanner and a workstation; sends objects to it as one of them."""
    here = ipaddress.ip_network("127.0.0.0/8")
    peers = (KnownPeer("scanner", "CT1", here, True, False), KnownPeer("reader", "READER", here, False, True))
    receiver = Receiver(usual_door(), Doorkeeper(peers), node.inbox, node.database)
    port = receiver.start()

    def send(ae_title: str, objects: Sequence[Dataset]) -> None:
        ae = AE(ae_title)
        for sop_class in {ds.SOPClassUID for ds in objects}:
            ae.add_requested_context(sop_class, ExplicitVRLittleEndian)
        assoc = stand_aside(ae.associate("127.0.0.1", port))
        assert assoc.is_established
        assert [assoc.send_c_store(ds).Status for ds in objects] == [0x0000] * len(objects)
        assoc.release()

    yield send
    receiver.stop()


def callers(node: Node) -> dict[str, Any]:
    with node.database.read() as tx:
        return {row["code"]: row for row in refusals.callers(tx)}


def test_only_a_peer_that_may_send_labels_teaches(node: Node, pacs: FakePacs, door: Any) -> None:
    images = small_series()
    door("CT1", images)
    work_off(node)
    drawn = thresholded(images)
    drawn[3] = 0
    seg = segmentation(images, drawn)
    door("CT1", [seg, draft_of(pacs)])
    work_off(node)
    assert rows(node) == []
    assert callers(node)["labels-not-taken"]["count"] == 1
    assert "may_send_labels = true" in callers(node)["labels-not-taken"]["sentence"]
    door("READER", [seg, draft_of(pacs)])
    work_off(node)
    assert [(row["state"], row["calling_ae"]) for row in rows(node)] == [("ready", "READER"), ("accepted", "READER")]


def test_without_configured_peers_nobody_teaches() -> None:
    verdict = Doorkeeper(()).judge("127.0.0.1", "ANY")
    assert verdict.may_send
    assert not verdict.teaches


# ------------------------------------------------------------- kill -9 of the step


@pytest.mark.parametrize("place", failpoints.LABEL_NAMES)
def test_a_worker_that_is_killed_in_the_step_leaves_one_label(
    node: Node, settings: Settings, images: list[Dataset], place: str
) -> None:
    drawn = thresholded(images)
    drawn[3] = 0
    give_back(node, segmentation(images, drawn))
    program = (
        "import sys\nfrom pathlib import Path\nfrom config.settings import load\nfrom node.app import open_node\n"
        "from tests.driving import work_off\nwork_off(open_node(load(None, {'node': {'home': Path(sys.argv[1])}})))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(node.archive.home)],
        env=os.environ | {"PLANIMETER_FAILPOINT": place},
        cwd=Path(__file__).parents[1],
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with node.database.write() as tx:
        lost_jobs.rescue(tx, worker="test")
    work_off(node)
    row = only(node)
    assert row["state"] == "ready", row["sentence"]
    assert (mask_of(node, row) == drawn).all()
    assert len(list((node.archive.home / masks.FOLDER).rglob("*.npy"))) == 1
    assert not list(node.archive.spool.iterdir())


# ------------------------------------------------------------ real outlines


def pet(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (volume > 2.5).astype(np.uint8)


def truth_of(folder: Path) -> NDArray[np.bool_]:
    (file,) = (one for one in (folder / "truth_nifti").rglob("*.nii*") if "mask" in one.name.lower())
    return np.asarray(nibabel.load(file).dataobj) > 0


def test_real_structure_sets_and_their_pet_come_in_any_order_and_go_out_as_nifti(
    node: Node, dicom_data: Path, threshold_hosts: ThresholdHosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threshold_hosts.answer = pet
    node = dataclasses.replace(node, routes=(dataclasses.replace(node.routes[0], networks=("pet_sarcoma",)),))
    patients = [f"STS_{number:03d}" for number in (1, 20)]
    folders = [dicom_data / "pet_series" / name / "PET" for name in patients]
    assert operations.add(node.inbox, folders) == 0
    assert "2 outlines new" in capsys.readouterr().out
    work_off(node)
    found = {row["source_path"]: row for row in rows(node)}
    assert [row["state"] for row in found.values()] == ["ready"] * 2, [row["sentence"] for row in found.values()]
    assert {row["came"] for row in found.values()} == {"added"}
    assert {row["network"] for row in found.values()} == {"pet_sarcoma"}
    to = tmp_path / "out"

    def channels(bundle: Any, _input_set_id: int, members: Any) -> Any:
        return read(node.archive, node.decoders, bundle, members)

    assert nifti.export(node.database, node.networks, node.archive.home, channels, to) == 0
    assert "2 labels, 4 files written" in capsys.readouterr().out
    for name in patients:
        (mask,) = to.glob(f"{name}_*_mask.nii.gz")
        (image,) = to.glob(f"{name}_*_image.nii.gz")
        made, truth = nibabel.load(mask), truth_of(dicom_data / "pet_series" / name)
        dice = 2 * (np.asarray(made.dataobj) > 0)[truth].sum() / (truth.sum() + np.count_nonzero(made.dataobj))
        assert dice >= 0.99, name
        assert nibabel.load(image).shape == made.shape
        assert np.allclose(nibabel.load(image).affine, made.affine)
    assert nifti.export(node.database, node.networks, node.archive.home, channels, to) == 0
    assert "4 were there already and were left as they are" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("patient_id", "cleaned"), [("A/../../etc", "A-..-..-etc"), ("..", "unnamed"), ("Ä B\x00", "Ä-B"), ("", "unnamed")]
)
def test_a_patient_id_leads_nowhere_as_a_file_name(patient_id: str, cleaned: str) -> None:
    assert nifti.cleaned(patient_id) == cleaned


# ------------------------------------------------------------------ showing


def test_the_list_shows_what_became_of_each_and_names_no_patient(
    node: Node, images: list[Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = thresholded(images)
    drawn[3] = 0
    give_back(node, segmentation(images, drawn), segmentation(images, (drawn == 1).astype(np.uint8), BLADDER))
    work_off(node)
    found = operations.listing(node.database)
    assert [one["state"] for one in found] == ["quarantined", "ready"]
    assert [one["state"] for one in operations.listing(node.database, "ready")] == ["ready"]
    assert images[0].PatientID not in json.dumps(found)
    assert found[1]["changes"][0]["value"] == 1
    operations.print_tables(found)
    assert "1 quarantined, 1 ready" in capsys.readouterr().out
    operations.print_tables([])
    assert "none" in capsys.readouterr().out


def test_every_image_of_a_label_is_a_member_of_its_input_set(node: Node, images: list[Dataset]) -> None:
    drawn = thresholded(images)
    drawn[3] = 0
    give_back(node, segmentation(images, drawn), source=Source("SUBMIT", LOCAL, teaches=True))
    work_off(node)
    row = only(node)
    assert row["came"] == "added"
    with node.database.read() as tx:
        members = sa.select(input_member.c.sop_uid).where(input_member.c.input_set_id == row["input_set_id"])
        assert set(tx.execute(members).scalars()) == {ds.SOPInstanceUID for ds in images}


# ---------------------------------------------------------- rows, on either database


def test_the_rows_of_a_label_from_its_arrival_to_its_use(database: Database) -> None:
    with database.write() as tx:
        for number, (kind, study) in enumerate([(Kind.IMAGE, "1.1"), (Kind.LABEL, "1.1"), (Kind.LABEL, "1.1")]):
            recording.record(tx, [arrival(f"1.2.{number}", study, kind)])
        for sha256, path in (("a", "p1.2.1"), ("a", "p1.2.1"), ("b", "p1.2.2")):
            labels.arrived(tx, path, sha256, "received", "READER", 3)
        assert jobs.any_ready(tx, [JobKind.LABEL])
        study_id = labels.of_source(tx, "a")[0]["study_id"]
        assert sorted(labels.awaiting(tx, study_id)) == [("a", study_id, "P"), ("b", study_id, "P")]
        chosen = Choice(
            network="n", slot="", members=(Member("image", "1.2.0"),), members_hash="h", because="", dispatches=(),
            priority=1,
        )  # fmt: skip
        input_set_id, _ = input_sets.record(tx, study_id, chosen)
        patient_id = labels.of_source(tx, "a")[0]["patient_id"]

        def ready(mask: str, made: str) -> labels.Finding:
            return labels.Finding(
                network="n", state="ready", patient_id=patient_id, study_id=study_id, input_set_id=input_set_id,
                annotated=[1], mask_path=mask, mask_sha256=mask, made=made,
            )  # fmt: skip

        assert labels.write(tx, "b", ready("mb", "20260102")) == (2, True)
        assert labels.before(tx, "n", input_set_id, "a", "20260101") is None
        assert labels.write(tx, "a", ready("ma", "20260101")) == (1, True)
        assert labels.write(tx, "a", ready("ma", "20260101")) == (1, False)
        labels.line_up(tx, "n", input_set_id)
        assert labels.before(tx, "n", input_set_id, "b", "20260102")["id"] == 1
        assert [row["id"] for row in labels.usable(tx, "n")] == [2]
        tx.execute(sa.update(label).values(created=5.0, made="20260101"))
        earlier = [labels.before(tx, "n", input_set_id, sha256, "20260101") for sha256 in ("a", "b")]
        assert [row and row["id"] for row in earlier] == [None, 1], "made and come at once: one is before the other"
        assert labels.counts(tx, "n") == {"ready": 1, "superseded": 1}
        other = dataclasses.replace(ready("mc", "20260103"), network="m")
        made, _ = labels.write(tx, "b", other)
        assert [row["id"] for row in labels.of_source(tx, "b")] == [2, made]
        candidates = label_images.candidates(tx, "1.1", [], [])
        assert [row["id"] for row in candidates] == [input_set_id]
        assert label_images.holds(tx, ["1.2.0"], [])
        assert not label_images.holds(tx, ["1.2.1"], []), "a label is no image"
        assert label_images.holds(tx, [], ["1.9"])
        assert label_images.drafts(tx, input_set_id, "1.2.1", 0.0) == []
        assert len(labels.listing(tx)) == 3
        labels.set_state(tx, 2, "rejected", "label-rejected", "no")
        assert labels.write(tx, "b", ready("mb", "20260102")) == (2, False)
        assert labels.counts(tx, "n") == {"rejected": 1, "superseded": 1}


def arrival(sop_uid: str, study_uid: str, kind: Kind) -> arrivals.Arrival:
    return arrivals.Arrival(
        sop_uid=sop_uid, sop_class="1.2", study_uid=study_uid, series_uid="1.9" if kind is Kind.IMAGE else "1.8",
        modality="CT", kind=kind, transfer_syntax="1.2", patient_id="P", issuer="", birth_date="", digest=sop_uid,
        path=f"p{sop_uid}", size=1, calling_ae="CT1", address="127.0.0.1",
    )  # fmt: skip
