"""Who wants to know is told what was not processed: a short report, once, taken back when it is not true any more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from db.job_states import JobKind
from node.app import Node
from node.operations import control
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.peers_tools import dciodvfy, save
from tests.synthetic import small_series


def telling(node: Node) -> Node:
    """The same node; its destination wants to know."""
    targets = {name: dataclasses.replace(target, refusals=True) for name, target in node.targets.items()}
    return dataclasses.replace(node, targets=targets)


def gap() -> list[Dataset]:
    images = small_series(series_number=7)
    return images[:3] + images[4:]


def said(ds: Dataset) -> str:
    (text,) = [item for part in ds.ContentSequence for item in part.get("ContentSequence", ()) if "TextValue" in item]
    return str(text.TextValue)


def test_a_study_that_no_network_can_read_is_told_to_who_wants_to_know(
    node: Node, pacs: FakePacs, tmp_path: Path
) -> None:
    images = gap()
    take_in(telling(node), images)
    work_off(telling(node))
    (sent,) = pacs.objects
    assert sent.SOPClassUID == EnhancedSRStorage
    assert "series 7: 1 slice of the series are missing" in said(sent)
    assert said(sent).startswith("Not processed by CT lungs")
    assert (sent.StudyInstanceUID, sent.PatientID) == (images[0].StudyInstanceUID, images[0].PatientID)
    assert dciodvfy(save(sent, tmp_path / "notice.dcm")) == []
    assert only_study(node)["state"] == "refused"
    assert only_study(node)["reason"].startswith("missing-slice: ")


def test_nobody_is_told_by_default(node: Node, pacs: FakePacs) -> None:
    take_in(node, gap())
    work_off(node)
    assert not pacs.calls
    assert jobs_of(node, JobKind.EXPLAIN) == []


def test_what_is_refused_when_its_pixels_are_read_is_told_too(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    for ds in images:
        ds.PixelData = ds.PixelData[:100]
    take_in(telling(node), images)
    work_off(telling(node))
    (sent,) = pacs.objects
    assert "100 bytes of pixels" in said(sent)
    assert only_study(node)["state"] == "refused"


def test_the_same_refusal_is_told_once(node: Node, pacs: FakePacs) -> None:
    take_in(telling(node), gap())
    work_off(telling(node))
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(telling(node))
    assert len(pacs.objects) == 1


def test_a_notice_that_waits_is_not_sent_when_the_study_is_read_after_all(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    told = telling(node)
    take_in(told, images[:3] + images[4:])
    work_off(told, JobKind.CHOOSE, JobKind.EXPLAIN)
    take_in(told, images[3:4])
    work_off(told, JobKind.CHOOSE, JobKind.SEGMENT)
    work_off(told)
    assert sorted(ds.Modality for ds in pacs.objects) == ["SEG", "SR", "SR"]
    assert EnhancedSRStorage not in {ds.SOPClassUID for ds in pacs.objects}
    assert only_study(node)["state"] == "done"


def test_a_network_for_another_modality_has_nothing_to_say(node: Node, pacs: FakePacs) -> None:
    both = dataclasses.replace(node.routes[0], networks=("ct_lungs", "pet_sarcoma"))
    of_two = dataclasses.replace(telling(node), routes=(both,))
    take_in(of_two, gap())
    work_off(of_two)
    (sent,) = pacs.objects
    assert said(sent).startswith("Not processed by CT lungs")
    assert only_study(node)["reason"].startswith("missing-slice: ")
    assert "modality" not in only_study(node)["reason"]
