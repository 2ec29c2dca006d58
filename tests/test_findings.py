"""What detectors and classifiers find goes the whole way: from C-STORE's inbox to a report at the PACS."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, ComputedRadiographyImageStorage

from config.settings import Settings
from db.tables import measurement, result
from models import card
from models.finding_rules import Result
from models.network import Network
from models.wire import SharedArray
from node.app import Node, open_node
from node.errors import Refused
from node.measurements import findings as measured
from node.measurements.values import Flag
from node.objects import results
from node.objects.checks.whole import faults
from node.objects.forms import BOXES, COMPREHENSIVE, SR, Form, Wish, wanted_without_mask
from node.objects.headers import repaired
from node.objects.reports import codes
from node.objects.results import Made
from node.objects.run import Run
from node.operations import control, retrain
from node.study.geometry import place
from node.study.volume import Volume
from tests import scenes
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.peers_tools import dciodvfy
from tests.pixelmed import sr_errors
from tests.runs import provenance
from tests.serving import BundleHosts
from tests.test_journey import rows
from tests.test_pictures import disc, picture
from tests.zoo import detectors

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:FutureWarning")

Numbers = NDArray[np.float64]
Start = Callable[[Path], Node]
OBLIQUE = scenes.grid((1, 0.3, 0.1), (-0.2, 1, 0.4), (2.0, 2.5, 3.0))
FEET_FIRST = scenes.grid((1, 0, 0), (0, 1, 0), (2.0, 2.5, 3.0), descending=True)
TILTED = scenes.grid((1, 0, 0), (0, 1, 0), (2.0, 2.5, 3.0), tilt_degrees=15)
BALL_MM = scenes.CENTRE + scenes.BALL_AT
#: of -1024 ... 1000 HU: below the ball and the letter, above what is around them
BOTH = 0.45


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Start]:
    """A node in this process whose route reads with one bundle, which runs in a thread."""
    opened: list[tuple[Node, BundleHosts]] = []

    def begin(bundle: Path) -> Node:
        shutil.copytree(bundle, tmp_path / "home" / "models" / bundle.name)
        hosts = BundleHosts(bundle).__enter__()
        routes = [settings.route[0].model_copy(update={"networks": [bundle.name]})]
        node = open_node(settings.model_copy(update={"route": routes}), hosts.address)
        opened.append((node, hosts))
        return node

    yield begin
    for node, hosts in opened:
        node.close()
        hosts.__exit__()


def groups_of(ds: Dataset) -> list[Any]:
    """The measurement groups, as highdicom reads them back from bytes."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return list(hd.sr.srread(stream).content.get_image_measurement_groups())


def valued(group: Any, code: tuple[str, str, str]) -> Any:
    (found,) = group.get_measurements(name=hd.sr.CodedConcept(*code))
    return found


def evaluation_of(group: Any) -> Any:
    """The one that is of the finding; highdicom lists the kind of the algorithm with them."""
    (found,) = [one for one in group.get_qualitative_evaluations() if one.name.meaning in ("Nodule", "Lesion")]
    return found


def drawn_at(width: Any, images: list[Dataset]) -> Numbers:
    """The middle of a drawn rectangle in the patient, by the header of the image that it is drawn on."""
    (scoord,) = [item for item in width[0].ContentSequence if item.ValueType == "SCOORD"]
    points = np.array(scoord.GraphicData, float).reshape(-1, 2)[:4] - 0.5
    uid = scoord.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    (image,) = [one for one in images if one.SOPInstanceUID == uid]
    across, down = points.mean(0)
    cosines, (rows, columns) = np.array(image.ImageOrientationPatient, float), np.array(image.PixelSpacing, float)
    position = np.array(image.ImagePositionPatient, float)
    return np.asarray(position + across * columns * cosines[:3] + down * rows * cosines[3:])


@pytest.mark.parametrize("where", [OBLIQUE, FEET_FIRST, TILTED], ids=["oblique", "feet first", "tilted"])
def test_a_box_comes_back_where_the_ball_was_drawn(where: scenes.Grid, start: Start, pacs: FakePacs,
                                                   tmp_path: Path) -> None:  # fmt: skip
    node = start(detectors.bright(tmp_path, above=BOTH))
    images = scenes.images("CT", where)
    take_in(node, images)
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    assert not pacs.of_modality("SEG")
    (report,) = pacs.of_modality("SR")
    assert report.SOPClassUID == Comprehensive3DSRStorage
    groups = groups_of(report)
    assert [group.tracking_identifier for group in groups] == ["Nodule 1", "Nodule 2"]
    assert len({group.tracking_uid for group in groups}) == 2
    nearest = []
    for group in groups:
        assert group.finding_type == hd.sr.CodedConcept("27925004", "SCT", "Nodule")
        width = valued(group, codes.WIDTH)
        nearest.append((np.linalg.norm(drawn_at(width, images) - BALL_MM), group))
    away, ball = min(nearest, key=lambda pair: pair[0])
    assert away < 2.5
    assert max(pair[0] for pair in nearest) > 20
    assert valued(ball, codes.CERTAINTY).unit == hd.sr.CodedConcept("%", "UCUM", "Percent")
    for code in (codes.WIDTH, codes.HEIGHT):
        assert valued(ball, code).value == pytest.approx(2 * scenes.BALL_RADIUS, abs=8.0 if where is TILTED else 5.0)
    assert "Centre at (" in texts(report)


def texts(ds: Dataset) -> str:
    return " ".join(str(item.TextValue) for item in walked(ds) if item.ValueType == "TEXT")


def walked(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from walked(item)


def test_an_old_pacs_gets_the_same_in_its_class_and_the_doubts_with_it(
    start: Start, pacs: FakePacs, tmp_path: Path
) -> None:
    pacs.refuse = {str(Comprehensive3DSRStorage)}
    node = start(detectors.bright(tmp_path, above=BOTH, of="doubtful = [0.0, 1.0]"))
    take_in(node, scenes.images("CT", OBLIQUE))
    work_off(node)
    (sent,) = pacs.of_modality("SR")
    assert sent.SOPClassUID == ComprehensiveSRStorage
    assert len(rows(node, result)) == 2
    assert "Score of the network is between its thresholds" in str(sent)


def test_a_second_reading_is_the_same_result_and_a_withdrawn_one_is_followed_by_a_new_one(
    start: Start, pacs: FakePacs, tmp_path: Path
) -> None:
    node = start(detectors.bright(tmp_path, above=BOTH))
    take_in(node, scenes.images("CT", FEET_FIRST))
    work_off(node)
    study_uid = only_study(node)["study_uid"]
    before = {row["sop_uid"] for row in rows(node, result)}
    control.reprocess(node.database, study_uid, "me", 3)
    work_off(node)
    assert {row["sop_uid"] for row in rows(node, result)} == before
    (kept,) = rows(node, measurement)
    assert [(one["label"], one["number"]) for one in kept["segments"]] == [("Nodule", 1), ("Nodule", 2)]
    middles = np.array([one["centre_mm"] for one in kept["segments"]])
    assert np.linalg.norm(middles - BALL_MM, axis=1).min() < 2.0


def test_what_is_not_there_is_said_and_is_no_finding(start: Start, pacs: FakePacs, tmp_path: Path) -> None:
    node = start(detectors.bright(tmp_path, above=0.95))
    take_in(node, scenes.images("CT", FEET_FIRST))
    work_off(node)
    (report,) = pacs.of_modality("SR")
    (group,) = groups_of(report)
    assert group.finding_type is None
    evaluation = evaluation_of(group)
    assert (evaluation.name.meaning, evaluation.value.meaning) == ("Nodule", "Absent")
    assert "no box of it reaches a score of 5.00 %" in texts(report)


def test_a_classifier_comes_back_as_an_evaluation_with_its_probability(
    start: Start, pacs: FakePacs, tmp_path: Path
) -> None:
    findings = detectors.finding(1, more="present_from = 0.0001") + detectors.finding(
        2, detectors.LESION, "present_from = 0.9999\ndoubtful = [0.0, 1.0]"
    )
    node = start(detectors.classifier(tmp_path, findings=findings))
    take_in(node, scenes.images("CT", FEET_FIRST))
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    assert not pacs.of_modality("SEG")
    (report,) = pacs.of_modality("SR")
    present, absent = groups_of(report)
    (kept,) = rows(node, measurement)
    for group, value, one in zip((present, absent), ("Present", "Absent"), kept["segments"], strict=True):
        evaluation = evaluation_of(group)
        assert (evaluation.name.meaning, evaluation.value.meaning) == (one["label"], value)
        assert valued(group, codes.PROBABILITY).value == pytest.approx(100 * one["probability"], abs=0.006)
    assert (present.finding_type.meaning, absent.finding_type) == ("Nodule", None)
    assert "Lesion has the probability" in texts(report)


def test_of_pictures_the_report_refers_to_the_one_with_the_highest_probability(
    start: Start, pacs: FakePacs, tmp_path: Path
) -> None:
    root = detectors.classifier(tmp_path, flat=True)
    file = root / "planimeter.toml"
    file.write_text(file.read_text().replace('modality = ["CT"]', 'modality = ["CR"]'))
    node = start(root)
    image = picture(ComputedRadiographyImageStorage, "CR", disc())
    take_in(node, [image])
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    (report,) = pacs.of_modality("SR")
    assert len(groups_of(report)) == 2
    assert str(report).count(f"(0008,1155) Referenced SOP Instance UID         UI: {image.SOPInstanceUID}") >= 3


# ------------------------------------------------------------------------------------------------ planted faults


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Made]:
    """A run with two boxes, and its report."""
    folder = tmp_path_factory.mktemp("written")
    bundle = card.read(detectors.bright(folder, above=BOTH))
    images = scenes.images("CT", OBLIQUE)
    grid, order = place(images)
    headers = [images[n] for n in order]
    built = Volume(SharedArray.make(grid.shape, np.float32), grid, tuple(headers), (0,) * len(headers), "HU")
    built.close()
    values = np.where(OBLIQUE.labels() == 1, 100.0, np.where(OBLIQUE.labels() == 2, 700.0, -600.0)).astype(np.float32)
    found, _ = Network(bundle).find([values], OBLIQUE.affine)
    sources = repaired(headers, grid)
    run = Run(
        volume=built,
        sources=sources,
        labels=np.zeros((0, 0, 0), np.uint8),
        measured=(),
        provenance=provenance(sources, card=bundle.card),
        found=measured.findings(found, bundle.card, grid),
    )
    (made,) = results.make(run, (Form(SR, BOXES),))
    return run, made


def test_what_was_written_has_no_fault(written: tuple[Run, Made]) -> None:
    run, made = written
    assert faults([made], run) == []
    assert run.found is not None
    assert len(run.found.boxes) == 2


def test_two_strangers_find_no_fault(written: tuple[Run, Made], tmp_path: Path) -> None:
    """Boxes, in both classes; what is not there; and what a classifier says of a volume and of an image."""
    run, _ = written
    assert run.found is not None
    nodule = run.provenance.card.finding[0]
    judged = [
        measured.Judged(finding=nodule, probability=part, present=part > 0.5, slice=k)
        for part, k in ((0.75, None), (0.25, 3))
    ]
    others = [
        measured.Findings(absent=(nodule,)),
        *(measured.Findings(judged=(one,)) for one in judged),
    ]
    flag = Flag(code="uncertain-score", segment=None, sentence="Nodule 1 has the score 12.00 %.")
    made = results.make(dataclasses.replace(run, flags=(flag,)), (Form(SR, BOXES), Form.of(SR, BOXES, COMPREHENSIVE)))
    for found in others:
        made += results.make(dataclasses.replace(run, found=found), (Form(SR, BOXES),))
    files = []
    for number, one in enumerate(made):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(one.data)
    assert [dciodvfy(file) for file in files] == [[]] * 5
    assert list(sr_errors(files, tmp_path).values()) == [[]] * 5


def boxes_in(ds: Dataset) -> list[Dataset]:
    (above,) = [item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    return list(above.ContentSequence)


def row_of(group: Dataset, code: str) -> Dataset:
    return next(item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code)


def another_score(ds: Dataset) -> None:
    row_of(boxes_in(ds)[0], "111012").MeasuredValueSequence[0].NumericValue = "12.00"


def another_width(ds: Dataset) -> None:
    row_of(boxes_in(ds)[1], "103355008").MeasuredValueSequence[0].NumericValue = "99.0"


def moved(ds: Dataset) -> None:
    drawn = row_of(boxes_in(ds)[0], "103355008").ContentSequence[0]
    drawn.GraphicData = [part + 3 for part in drawn.GraphicData]


def on_another_slice(ds: Dataset) -> None:
    first, second = (row_of(group, "103355008").ContentSequence[0].ContentSequence[0] for group in boxes_in(ds))
    first.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = second.ReferencedSOPSequence[
        0
    ].ReferencedSOPInstanceUID = uid_of_first(ds)


def uid_of_first(ds: Dataset) -> str:
    series = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    return str(series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def a_box_less(ds: Dataset) -> None:
    (above,) = [item for item in ds.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    del above.ContentSequence[1]


def another_finding(ds: Dataset) -> None:
    row_of(boxes_in(ds)[0], "121071").ConceptCodeSequence[0].CodeMeaning = "Cyst"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (another_score, "111012 is not what was measured"),
        (another_width, "103355008 is not what was measured"),
        (moved, "is not drawn where the box is"),
        (on_another_slice, "is not drawn where the box is"),
        (a_box_less, "its groups are not what was found"),
        (another_finding, "its finding is not that of the card"),
    ],
)
def test_the_self_check_sees_a_planted_fault(
    written: tuple[Run, Made], spoil: Callable[[Dataset], None], said: str
) -> None:
    run, made = written
    ds = dcmread(BytesIO(made.data))
    spoil(ds)
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    assert said in " ".join(faults([dataclasses.replace(made, data=stream.getvalue())], run))


def test_a_mirrored_grid_is_seen_by_the_headers_of_the_images(written: tuple[Run, Made]) -> None:
    """As if the grid and all that follows from it were wrong: only the images themselves say so."""
    run, _ = written
    assert run.found is not None
    boxes = tuple(
        dataclasses.replace(box, centre_mm=(-box.centre_mm[0], -box.centre_mm[1], box.centre_mm[2]))
        for box in run.found.boxes
    )
    mirrored = dataclasses.replace(run, found=dataclasses.replace(run.found, boxes=boxes))
    made = results.make(mirrored, (Form(SR, BOXES),))
    assert "lies beside the middle of the box, by the header of its image" in " ".join(faults(made, mirrored))


# ------------------------------------------------------------------------------------------- what there is not


def test_forms_that_need_a_mask_are_left_out_and_named() -> None:
    wish = Wish(objects=frozenset({"SEG", "SR", "PDF"}), marked=True)
    assert wanted_without_mask(wish, Result.BOXES) == ([Form(SR, f"{BOXES}-MARKED")], ["PDF", "SEG"])
    assert wanted_without_mask(Wish(objects=frozenset({"SEG"})), Result.FINDING) == ([], ["SEG"])


def test_a_training_of_such_a_network_is_refused_clearly(settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(detectors.bright(tmp_path), tmp_path / "home" / "models" / "bright")
    node = open_node(settings)
    try:
        with pytest.raises(Refused, match="only networks that give a label map are trained here") as refused:
            retrain.ask(node.database, node.networks, "bright", 3, "ann")
        assert refused.value.code == "not-trainable"
    finally:
        node.close()
