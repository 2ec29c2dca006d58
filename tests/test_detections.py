"""A detector's boxes from memory are those of MONAI's own way over files; what cannot be boxes is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray

from models import card
from models.found import Box
from models.network import LPS_TO_RAS, Network, Unusable
from tests import scenes
from tests.zoo import detectors
from tests.zoo.bundles import AFFINE, modules_of
from tests.zoo.detectors import AWAY, CLIP, TO_CENTRE, TO_WORLD

pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries say of each other's arguments

Numbers = NDArray[np.float64]
NOISE = np.random.default_rng(4).normal(0, 300, (14, 26, 22)).astype(np.float32)
#: an LPS grid that runs against every axis, and one whose columns run from the head to the feet
AGAINST = np.diag([-1.5, -1.25, -3.0, 1.0]) + np.array([[0, 0, 0, 12], [0, 0, 0, 9], [0, 0, 0, 40], [0, 0, 0, 0]])
CORONAL = np.array([[1.5, 0, 0, -20.0], [0, 0, 3.0, -15.0], [0, -1.25, 0, 40.0], [0, 0, 0, 1.0]])


def stock(root: Path, volume: NDArray[np.float32], affine: Numbers) -> dict[str, Numbers]:
    """What the bundle's own saver writes when MONAI runs it from a file: centres and sizes, mm LPS."""
    folder = root.parent / "disk"
    (folder / "out").mkdir(parents=True)
    file = folder / "image.nii.gz"
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), LPS_TO_RAS @ affine), file)
    with modules_of(root):
        workflow = ConfigWorkflow(str(root / "configs" / "inference.json"), workflow_type="infer", logging_file=False)
        parser = workflow.parser
        for id_, value in {
            "bundle_root": str(root),
            "output_dir": str(folder / "out"),
            "dataset#data": [{"image": str(file)}],
            "dataloader#num_workers": 0,
        }.items():
            parser[id_] = value
        workflow.initialize()
        workflow._run_expr("run")
    (found,) = json.loads((folder / "out" / "boxes.json").read_text())
    return {key: np.array(value) for key, value in found.items()}


def in_patient(box: Box, affine: Numbers) -> tuple[Numbers, Numbers]:
    """Centre and sizes along the patient's axes, mm LPS."""
    corners = np.array([(affine @ [*corner, 1])[:3] for corner in (box.low, box.high)])
    return corners.mean(0), np.abs(np.diff(corners, axis=0))[0]


@pytest.mark.parametrize("affine", [AFFINE, AGAINST, CORONAL], ids=["head first", "against every axis", "coronal"])
def test_boxes_from_memory_are_those_from_disk(tmp_path: Path, affine: Numbers) -> None:
    root = detectors.retina_net(tmp_path)
    wanted = stock(root, NOISE, affine)
    middle = float(np.median(wanted["label_scores"]).round(3))
    file = root / card.FILE
    file.write_text(file.read_text().replace("score_threshold = 0.3", f"score_threshold = {middle}"))
    found, _ = Network(card.read(root)).find([NOISE], affine)
    kept = wanted["label_scores"].round(4) >= middle
    assert 5 < kept.sum() < len(kept), "the reference has too few boxes on one side of the threshold"
    assert {box.value for box in found.boxes} == {0, 1}
    # MONAI's grid ends up to a voxel behind the images, and so do boxes of which nothing lies in them
    assert 0 <= kept.sum() - len(found.boxes) <= 0.05 * kept.sum()
    ends = np.array([-0.5, -0.5, -0.5]), np.array(NOISE.shape[::-1]) - 0.5
    whole = 0
    for box in found.boxes:
        centre, size = in_patient(box, affine)
        inside = all(low > end for low, end in zip(box.low, ends[0], strict=True)) and all(
            high < end for high, end in zip(box.high, ends[1], strict=True)
        )
        if not inside:
            continue  # it ends where the images do; MONAI lets it end half a voxel later
        whole += 1
        away = np.abs(wanted["box"] - np.concatenate([centre, size])).max(1)
        nearest = int(away.argmin())
        assert away[nearest] < 1e-3
        assert wanted["label"][nearest] == box.value
        assert wanted["label_scores"][nearest] == pytest.approx(box.score, abs=1e-4)
    assert whole >= 5
    assert not [one for one in found.boxes if (np.array(one.low) >= one.high).any()]
    assert [box.score for box in found.boxes] == sorted((box.score for box in found.boxes), reverse=True)


OBLIQUE = scenes.grid((1, 0.3, 0.1), (-0.2, 1, 0.4), (2.0, 2.5, 3.0))
FEET_FIRST = scenes.grid((1, 0, 0), (0, 1, 0), (2.0, 2.5, 3.0), descending=True)
TILTED = scenes.grid((1, 0, 0), (0, 1, 0), (2.0, 2.5, 3.0), tilt_degrees=15)
#: a flag that bundles set wrongly, and none: the boxes do not depend on it
WAYS: tuple[list[Any], ...] = (
    [CLIP, TO_WORLD, TO_CENTRE, AWAY],
    [CLIP, TO_WORLD | {"affine_lps_to_ras": False}, TO_CENTRE],
    [CLIP],
    [TO_CENTRE],
)


def ball(where: scenes.Grid) -> NDArray[np.float32]:
    """(slices, rows, columns), bright in the ball alone."""
    return np.where(where.labels() == 1, 900.0, -900.0).astype(np.float32)


@pytest.mark.parametrize("where", [OBLIQUE, FEET_FIRST, TILTED], ids=["oblique", "feet first", "tilted"])
def test_a_box_lies_where_the_ball_was_drawn_on_any_grid(tmp_path: Path, where: scenes.Grid) -> None:
    found = []
    for number, post in enumerate(WAYS):
        root = detectors.bright(tmp_path / str(number), post=post)
        found.append(Network(card.read(root)).find([ball(where)], where.affine)[0])
    for one in found:
        (box,) = one.boxes
        middle = (where.affine @ [*np.mean([box.low, box.high], axis=0), 1])[:3]
        assert np.linalg.norm(middle - (scenes.CENTRE + scenes.BALL_AT)) < 2.0
        size_mm = (np.array(box.high) - box.low) * np.linalg.norm(where.affine[:3, :3], axis=0)
        assert np.abs(size_mm[:2] - 2 * scenes.BALL_RADIUS).max() < (8.0 if where is TILTED else 5.0)
    assert found[0] == found[1] == found[2] == found[3]


def inferer(root: Path, old: str, new: str) -> Path:
    """The same bundle with another line in its own code."""
    file = root / "scripts" / "bright.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    card.seal(root)
    return root


def test_boxes_in_millimetres_of_a_bundles_own_are_read_as_the_card_says(tmp_path: Path) -> None:
    """Centre and size in LPS, as own code may give them; on an oblique grid they would say too little."""
    fixed = "torch.tensor([[37.0, -29.0, 301.0, 20.0, 22.0, 24.0]] * len(found)).reshape(-1, 6)"
    made = {}
    for space, sign in (("lps", 1), ("ras", -1)):
        more = f'mode = "cccwhd"\nspace = "{space}"\n'
        root = detectors.bright(tmp_path / space, post=[], more=more)
        turned = fixed if sign == 1 else fixed.replace("37.0, -29.0", "-37.0, 29.0")
        inferer(root, "torch.tensor(boxes).reshape(-1, 6)", turned)
        made[space] = Network(card.read(root))
    for where in (FEET_FIRST, scenes.grid((0, 1, 0), (0, 0, -1), (2.0, 2.5, 3.0))):
        both = [network.find([ball(where)], where.affine)[0] for network in made.values()]
        centre, size = in_patient(both[0].boxes[0], where.affine)
        assert centre == pytest.approx([37.0, -29.0, 301.0], abs=1e-3)
        assert size == pytest.approx([20.0, 22.0, 24.0], abs=1e-3)
        assert both[0] == both[1]
    with pytest.raises(Unusable) as refused:
        made["lps"].find([ball(OBLIQUE)], OBLIQUE.affine)
    assert refused.value.code == "output-no-place"


BAD: list[tuple[str, str, str]] = [
    ("output-not-finite", "torch.tensor(boxes)", "torch.nan * torch.tensor(boxes)"),
    ("output-no-score", "torch.tensor(scores)", "torch.tensor(scores) + 3"),
    ("output-unknown-label", "torch.zeros(len(found)", "torch.ones(len(found)"),
    ("output-not-integer", "torch.zeros(len(found), dtype=torch.long)", "torch.full((len(found),), 0.5)"),
    ("output-no-boxes", "torch.tensor(scores)", "torch.tensor(scores)[1:]"),
    ("output-no-boxes", '"box": torch.tensor(boxes)', '"box": -torch.tensor(boxes)'),
    ("output-no-boxes", '"label_scores"', '"sureness"'),
    ("output-outside", "torch.tensor(boxes)", "500 + torch.tensor(boxes)"),
]


@pytest.mark.parametrize(("code", "old", "new"), BAD)
def test_what_cannot_be_boxes_is_refused_by_name(tmp_path: Path, code: str, old: str, new: str) -> None:
    network = Network(card.read(inferer(detectors.bright(tmp_path, post=[]), old, new)))
    with pytest.raises(Unusable) as refused:
        network.find([ball(FEET_FIRST)], FEET_FIRST.affine)
    assert refused.value.code == code


def test_steps_on_boxes_in_millimetres_are_refused_when_the_bundle_is_loaded(tmp_path: Path) -> None:
    halved = {"_target_": "Lambdad", "keys": "box", "func": "$lambda x: x / 2"}
    root = detectors.bright(tmp_path, post=[CLIP, TO_WORLD, halved])
    with pytest.raises(card.CardError, match="Lambdad to boxes in millimetres"):
        Network(card.read(root))


def test_own_steps_before_millimetres_count(tmp_path: Path) -> None:
    """A bundle that drops all its boxes has none."""
    none = {"_target_": "Lambdad", "keys": ["box", "label", "label_scores"], "func": "$lambda x: x[:0]"}
    root = detectors.bright(tmp_path, post=[none, CLIP, TO_WORLD, TO_CENTRE])
    found, _ = Network(card.read(root)).find([ball(FEET_FIRST)], FEET_FIRST.affine)
    assert found.boxes == ()


def test_of_too_many_boxes_the_surest_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    network = Network(card.read(detectors.bright(tmp_path, above=0.55, more="maximum_boxes = 3\n")))
    every = Network(card.read(detectors.bright(tmp_path / "all", above=0.55)))
    few, _ = network.find([NOISE], AFFINE)
    many, _ = every.find([NOISE], AFFINE)
    assert len(many.boxes) > 4
    assert few.boxes == many.boxes[:3]
    assert few.left_out == len(many.boxes) - 3


def test_nothing_is_found_in_nothing(tmp_path: Path) -> None:
    found, seconds = Network(card.read(detectors.bright(tmp_path))).find([NOISE * 0], AFFINE)
    assert found.boxes == ()
    assert set(seconds) == {"preprocess", "forward", "postprocess", "inference", "start"}


# ------------------------------------------------------------------------------------------------ classifiers

SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
PIXELS = np.random.default_rng(5).normal(0, 300, (3, 40, 36)).astype(np.float32)


def logits(root: Path, volume: NDArray[np.float32]) -> torch.Tensor:
    """What the network gives for a volume that MONAI's own preprocessing has made: (outputs,)."""
    from monai.bundle import ConfigParser

    parser = ConfigParser(json.loads((root / "configs" / "inference.json").read_text()))
    file = root.parent / "volume.nii.gz"
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)), file)
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(root / "models" / "model.pt", weights_only=True))
    made = parser.get_parsed_content("preprocessing")({"image": str(file)})
    with torch.no_grad():
        return torch.as_tensor(network.eval()(made["image"].as_tensor()[None])[0])


@pytest.mark.parametrize(
    ("activation", "post"),
    [("softmax", None), ("softmax", []), ("softmax", [SOFTMAX]), ("sigmoid", []), ("sigmoid", [SIGMOID])],
)
def test_probabilities_are_those_of_the_network_whatever_it_ends_in(
    tmp_path: Path, activation: str, post: list[Any] | None
) -> None:
    root = detectors.classifier(tmp_path, activation=activation, post=post)
    big = np.ascontiguousarray(np.repeat(np.repeat(NOISE, 2, 0), 2, 1))
    found, _ = Network(card.read(root)).find([big], np.eye(4))
    given = logits(root, big)
    wanted = given.softmax(0) if activation == "softmax" else given.sigmoid()
    assert [one.value for one in found.probabilities] == [1, 2]
    assert [one.probability for one in found.probabilities] == pytest.approx(wanted[1:].tolist(), abs=1e-4)
    assert all(one.slice is None for one in found.probabilities)


def test_of_several_images_the_highest_probability_and_its_image_count(tmp_path: Path) -> None:
    network = Network(card.read(detectors.classifier(tmp_path, flat=True)))
    each = [network.find([PIXELS[n : n + 1]], np.eye(4))[0].probabilities for n in range(3)]
    found, _ = network.find([PIXELS], np.eye(4))
    for k, one in enumerate(found.probabilities):
        of_it = [images[k].probability for images in each]
        assert (one.probability, one.slice) == (max(of_it), int(np.argmax(of_it)))
    assert len({one.probability for images in each for one in images}) == 6


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("output-other-channels", {"outputs": 2, "network": {"out_channels": 3}}),
        ("output-no-probability", {"activation": "none", "post": []}),
        ("output-no-probability", {"activation": "softmax", "post": [{"_target_": "Lambdad", "keys": "pred",
            "func": "$lambda x: x.softmax(0)"}]}),
        ("output-not-finite", {"post": [{"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x / 0"}]}),
    ],
)  # fmt: skip
def test_what_is_no_probability_is_refused_by_name(tmp_path: Path, code: str, arguments: dict[str, Any]) -> None:
    more = dict(arguments)
    if "network" in more:
        densenet = {"_target_": "DenseNet", "spatial_dims": 3, "in_channels": 1, "init_features": 4, "growth_rate": 4}
        more["network"] = densenet | {"block_config": [2, 2]} | more["network"]
        more["findings"] = detectors.finding(1, more="present_from = 0.5")
    network = Network(card.read(detectors.classifier(tmp_path, **more)))
    with pytest.raises(Unusable) as refused:
        network.find([np.abs(PIXELS).repeat(8, 0)], np.eye(4))
    assert refused.value.code == code


def test_an_activation_that_the_bundle_does_otherwise_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    root = detectors.classifier(tmp_path, activation="sigmoid", post=[SOFTMAX])
    with pytest.raises(card.CardError, match="does softmax; the card's"):
        Network(card.read(root))


# -------------------------------------------------------------------------------------------------------- cards


def changed(make: Callable[[Path], Path], folder: Path, old: str, new: str) -> Path:
    root = make(folder)
    file = root / card.FILE
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return root


@pytest.mark.parametrize(
    ("make", "old", "new", "sentence"),
    [
        (detectors.bright, 'result = "boxes"', "", "it has no \\[\\[segment\\]\\]"),
        (detectors.bright, 'result = "boxes"', 'result = "finding"', "needs \\[classes\\], and has no \\[boxes\\]"),
        (detectors.bright, 'kind = "volume"', 'kind = "image"', "is read from volumes"),
        (detectors.bright, "score_threshold = 0.05", "", "boxes.score_threshold: Field required"),
        (detectors.bright, 'result = "boxes"', 'result = "boxes"\ngrow_mm = 3', "has no voxels for grow_mm"),
        (detectors.bright, "value = 0", "value = 0\npresent_from = 0.5", "present_from is of classifiers"),
        (detectors.bright, "value = 0", "value = 0\ndoubtful = [0.6, 0.2]", "the least is more than the most"),
        (detectors.retina_net, "value = 1", "value = 0", "two \\[\\[finding\\]\\] have the same value"),
        (detectors.classifier, "value = 2", "value = 3", "Lesion: channel 3, of 3 outputs"),
        (detectors.classifier, "present_from = 0.5", "", "Lesion: present_from is lacking"),
        (detectors.classifier, "outputs = 3", "outputs = 1", "softmax of one output is always 1"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], old: str, new: str, sentence: str
) -> None:
    root = changed(make, tmp_path, old, new)
    with pytest.raises(card.CardError, match=sentence):
        card.read(root)
