"""A detector and a classifier on cases of one's own, and on what was never a patient; a card is drafted for either."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import nibabel
import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from rich.console import Console

from db.events import listing
from models import card
from models.found import Box, Found
from models.incoming import draft
from models.scores.detection import Lesion
from node.app import Node
from node.errors import Refused
from node.operations import acceptance, rehearse
from node.operations.acceptance_of_findings import Case, compared
from node.study.geometry import Geometry
from tests.nurseries import SHARED
from tests.zoo import detectors

TO_RAS = np.diag([-2.0, -2.0, 2.0, 1.0])
HEAD = "finding,x,y,z,width,height,depth\n"


def cube(*firsts: tuple[int, int, int], bright: float = 900) -> NDArray[np.float32]:
    """Cubes of five voxels: ten millimetres each way."""
    made = np.full((40, 36, 24), -900, np.float32)
    for x, y, z in firsts:
        made[x : x + 5, y : y + 5, z : z + 5] = bright
    return made


def case(folder: Path, name: str, image: NDArray[np.float32], boxes: str | None) -> None:
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, TO_RAS), folder / f"{name}_image.nii.gz")
    if boxes is not None:
        (folder / f"{name}_boxes.csv").write_text(HEAD + boxes)


def line(x: int, y: int, z: int) -> str:
    """The cube that begins there, centre and sizes, mm LPS."""
    return f"Nodule,{2 * x + 4},{2 * y + 4},{2 * z + 4},10,10,10\n"


def test_a_detector_is_scored_by_lesions_and_by_studies(tmp_path: Path, node: Node) -> None:
    """Of three lesions two are found, and there is one box too many in five studies."""
    bundle = card.read(detectors.bright(tmp_path))
    cases = tmp_path / "cases"
    case(cases, "both", cube((4, 4, 4), (20, 20, 10)), line(4, 4, 4) + line(20, 20, 10))
    case(cases, "missed", cube(), line(8, 8, 8))
    case(cases, "wrongly", cube((9, 9, 9), bright=700), "")
    case(cases, "nothing", cube(), "")
    case(cases, "nothing again", cube(), "")
    console = Console(record=True, width=160)
    said = acceptance.accept(bundle, cases, tmp_path / "out", "cpu", node.database, "ann", console, nursery=SHARED)
    assert said.startswith("5 cases; the report is ")
    printed = console.export_text()
    assert "0.667" in printed
    assert "0.20" in printed
    report = (tmp_path / "out" / "acceptance.html").read_text(encoding="utf-8")
    for part in ("FROC: Nodule", "ROC: Nodule", "<svg", "wrongly", bundle.weights_sha256, "CPM", "DeLong"):
        assert part in report
    assert report.index("missed") < report.index("nothing again")
    with pypdfium2.PdfDocument(tmp_path / "out" / "acceptance.pdf") as document:
        assert "FROC" in "".join(page.get_textpage().get_text_bounded() for page in document)
    with node.database.read() as tx:
        (event,) = listing(tx, bundle.card.name)
    # the study with lesions that were found is above the three without in all pairs, the missed one below one of them
    assert json.loads(event["details"])["roc_auc"] == {"0": pytest.approx((3 + 0 + 2 * 0.5) / 6)}


def test_boxes_of_another_finding_count_for_that_one_alone(tmp_path: Path) -> None:
    bundle = card.read(detectors.retina_net(tmp_path))
    found = Found(boxes=(Box.at(1, 0.9, (4, 4, 4), (8, 8, 8)),))
    truth = {0: (Lesion((12, 12, 12), (10, 10, 10)),), 1: ()}
    one = Case("a", (), truth, {})
    tried = compared(bundle, [one], [(found, Geometry(np.diag([2.0, 2.0, 2.0, 1.0]), (24, 36, 40)))])
    assert (tried.froc[0].at(0.1), tried.froc[1].at(0.1)) == ((0.0, 0.0), (1.0, None))


def test_a_classifier_is_scored_by_studies_and_tried_on_noise(tmp_path: Path, node: Node) -> None:
    bundle = card.read(detectors.classifier(tmp_path))
    cases = tmp_path / "cases"
    for name in ("a", "b", "c"):
        case(cases, name, cube((4, 4, 4), bright=100 * ord(name)), None)
    (cases / "findings.csv").write_text("case,Nodule,Lesion\na,yes,no\nb,no,no\nc,yes,0\n")
    console = Console(record=True, width=160)
    acceptance.accept(bundle, cases, tmp_path / "out", "cpu", node.database, "ann", console, nursery=SHARED)
    report = (tmp_path / "out" / "acceptance.html").read_text(encoding="utf-8")
    assert "ROC: Nodule" in report
    assert "ROC: Lesion" not in report
    assert "No case has it, or every case: there is no curve." in report


def test_a_detector_is_tried_on_noise(tmp_path: Path) -> None:
    bundle = card.read(detectors.bright(tmp_path, above=0.6))
    console = Console(record=True, width=200)
    assert rehearse.check(bundle, "cpu", console, nursery=SHARED) == 1
    printed = console.export_text()
    assert "boxes in noise reach the card's threshold" in printed
    assert "boxes in zeros" not in printed
    assert "otherwise than the first time" not in printed
    assert "its results are reports (SR) alone" in printed


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nothing", "has no pairs NAME_image.nii.gz and NAME_boxes.csv"),
        ("no image", "case a lacks a_image.nii.gz"),
        ("another finding", "the card has no finding 'Cyst'"),
        ("no number", "something that is no number"),
        ("no size", "a box without a place or a size"),
        ("no column", "has no column depth"),
        ("short", "a line that is too short"),
    ],
)
def test_what_is_no_case_of_a_detector_is_said(tmp_path: Path, node: Node, what: str, sentence: str) -> None:
    bundle = card.read(detectors.bright(tmp_path))
    cases = tmp_path / "cases"
    rows = {
        "another finding": "Cyst,1,2,3,4,5,6\n",
        "no number": "Nodule,1,2,left,4,5,6\n",
        "no size": "Nodule,1,2,3,4,5,0\n",
        "short": "Nodule,1,2,3\n",
    }
    case(cases, "a", cube(), rows.get(what, ""))
    if what == "nothing":
        cases = tmp_path
    elif what == "no image":
        (cases / "a_image.nii.gz").unlink()
    elif what == "no column":
        (cases / "a_boxes.csv").write_text(HEAD.replace(",depth", ""))
    with pytest.raises(Refused, match=sentence):
        acceptance.accept(bundle, cases, tmp_path / "out", "cpu", node.database, "ann", Console(record=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (None, "findings.csv: cannot be read"),
        ("case,Nodule,Lesion\n", "has no lines"),
        ("case,Nodule\na,yes\n", "has no column Lesion"),
        ("case,Nodule,Lesion\na,maybe,no\n", "'maybe' where yes or no should stand"),
        ("case,Nodule,Lesion\na,yes,no\na,no,no\n", "has a case twice"),
    ],
)
def test_what_is_no_table_of_findings_is_said(tmp_path: Path, node: Node, table: str | None, sentence: str) -> None:
    bundle = card.read(detectors.classifier(tmp_path))
    cases = tmp_path / "cases"
    case(cases, "a", cube(), None)
    if table is not None:
        (cases / "findings.csv").write_text(table)
    with pytest.raises(Refused, match=sentence):
        acceptance.accept(bundle, cases, tmp_path / "out", "cpu", node.database, "ann", Console(record=True))


# -------------------------------------------------------------------------------------------------------- drafts


def test_a_detector_is_recognised_and_its_labels_are_counted(tmp_path: Path) -> None:
    root = detectors.retina_net(tmp_path)
    text = draft.draft(root, "retina_net", "1.2.3", lambda _label: None)
    made = tomllib.loads(text)
    assert made["result"] == "boxes"
    assert [one["value"] for one in made["finding"]] == [0, 1]
    assert "segment" not in made
    asked = draft.open_questions(text)
    assert any("score_threshold" in one for one in asked)


def test_a_classifier_is_recognised_by_what_its_metadata_says(tmp_path: Path) -> None:
    root = detectors.classifier(tmp_path)
    channels = {"0": "normal", "1": "nodule"}
    said = {"type": "probabilities", "format": "classes", "num_channels": 2, "channel_def": channels}
    (root / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": {"outputs": {"pred": said}}}))
    found = (["49755003", "SCT", "Morphologically abnormal structure"], ["27925004", "SCT", "Nodule"], None)
    made = tomllib.loads(draft.draft(root, "one", "1.2.3", lambda label: found if label == "nodule" else None))
    assert (made["result"], made["classes"]["outputs"]) == ("finding", 2)
    assert [one["label"] for one in made["finding"]] == ["normal", "nodule"]
    assert made["finding"][1]["type"] == ["27925004", "SCT", "Nodule"]
