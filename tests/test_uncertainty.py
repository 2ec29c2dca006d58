"""Several passes of a network: their mean, where they differ, and which classes a mirror exchanges."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from models import card
from models.card import CardError
from models.doubt import Uncertainty
from models.network import Network, Probabilities
from models.result import Unusable
from models.uncertainty import Uncertain
from node.errors import Refused
from node.learning import sides
from tests import mini_bundle

pytestmark = pytest.mark.filterwarnings("ignore")

#: (column, row, slice) -> LPS, mm: columns run to the left, rows to the back, slices up
STRAIGHT = np.diag([2.0, 2.0, 2.0, 1.0])
FLIPS = '[uncertainty]\nmethod = "flips"\naxes = ["left-right"]'
DROPOUT = '[uncertainty]\nmethod = "monte-carlo"\npasses = 5'
SIDES = (("7771000", "Left"), ("24028007", "Right"))
SIGMOID: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
    {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
    {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x[0:1] * (1 - x[1:2]) + 2 * x[1:2]"},
]
ARGMAX: list[dict[str, Any]] = [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]


def bundle(
    folder: Path,
    asked: str,
    network: torch.nn.Module,
    definition: Any,
    *,
    paired: bool = False,
    post: list[dict[str, Any]] | None = None,
    oriented: bool = False,
) -> Path:
    """A bundle with a network of one's own, in one window.

    Args:
        asked: the card's `[uncertainty]`.
        definition: of the network, in the configuration.
        paired: whether its two classes are the left and the right of one organ.
        oriented: whether volumes are turned to RAS and resampled first.
    """
    root = mini_bundle.make(folder, post=post)
    file = root / "configs" / "inference.json"
    config = json.loads(file.read_text())
    config["network_def"], config["inferer"] = definition, {"_target_": "SimpleInferer"}
    if not oriented:
        steps = config["preprocessing"]["transforms"]
        config["preprocessing"]["transforms"] = [step for step in steps if not step["_target_"].startswith(("O", "S"))]
    file.write_text(json.dumps(config))
    torch.save(network.state_dict(), root / "models" / "model.pt")
    text = (root / card.FILE).read_text()
    if paired:
        text = text.replace("15825003", "39607008")
        for (code, meaning), colour in zip(SIDES, ("[200, 100, 50]", "[50, 100, 200]"), strict=True):
            text = text.replace(f"colour = {colour}", f'laterality = ["{code}", "SCT", "{meaning}"]\ncolour = {colour}')
    (root / card.FILE).write_text(text.replace("[files]", f"{asked}\n\n[files]"))
    card.seal(root)
    return root


def lopsided() -> tuple[torch.nn.Conv3d, dict[str, Any]]:
    """A network that sees another thing in every mirror."""
    torch.manual_seed(4)
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    return network, {
        "_target_": "torch.nn.Conv3d",
        "in_channels": 1,
        "out_channels": 3,
        "kernel_size": 3,
        "padding": 1,
    }


def two_sided(axis: int) -> tuple[torch.nn.Conv3d, dict[str, Any]]:
    """A network that tells left from right by an edge along an axis: 1 where it gets brighter, 2 where darker."""
    network, definition = lopsided()
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))  # type: ignore[union-attr]
        before, after = [[1, 1, 1] for _ in range(2)]
        before[axis], after[axis] = 0, 2
        for value, sign in ((1, 1.0), (2, -1.0)):
            network.weight[(value, 0, *after)], network.weight[(value, 0, *before)] = sign, -sign
    return network, definition


def noise(shape: tuple[int, int, int] = (7, 9, 11), seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


@dataclasses.dataclass
class Ran:
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    uncertain: Uncertain


def run(
    root: Path,
    volume: NDArray[np.float32],
    affine: NDArray[np.float64] = STRAIGHT,
    exchange: list[tuple[int, int]] | None = None,
) -> Ran:
    labels, kept = np.empty(volume.shape, np.uint8), Probabilities()
    uncertain = Uncertain([] if exchange is None else exchange)
    Network(card.read(root)).segment([volume], affine, labels, {}, kept, uncertain)
    array = np.zeros(0, np.float32) if kept.array is None else kept.array.astype(np.float32)
    return Ran(labels, array, uncertain)


def entropy_of(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """By the definition, 0 ... 1, of (class, ...)."""
    array = np.clip(probabilities.astype(np.float64), 1e-300, 1)
    return np.asarray(-(array * np.log(array)).sum(0) / math.log(len(array)))


# ---------------------------------------------------------------- what the card may ask for


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"method": "flips"}, "axes"),
        ({"method": "monte-carlo", "axes": ["left-right"]}, "axes"),
        ({"method": "flips", "axes": ["left-right", "left-right"]}, "twice"),
        ({"method": "flips", "axes": ["left-right", "down"]}, "of pictures"),
        ({"method": "flips", "axes": ["left-right"], "passes": 3}, "2 combinations"),
        ({"method": "monte-carlo", "passes": 1}, "greater than or equal to 2"),
        ({"method": "dropout"}, "monte-carlo"),
        ({"method": "flips", "axes": ["sideways"]}, "left-right"),
    ],
)
def test_a_card_that_asks_for_what_there_is_not_is_told(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Uncertainty.model_validate(asked)


def test_the_passes_of_a_card() -> None:
    both = Uncertainty(method="flips", axes=("left-right", "feet-head"))
    assert both.flips == ((), ("left-right",), ("feet-head",), ("left-right", "feet-head"))
    assert Uncertainty(method="flips", axes=("left-right", "feet-head"), passes=2).flips == ((), ("left-right",))
    assert both.count == 4
    assert Uncertainty(method="monte-carlo").count == 8


def test_limits_on_what_only_several_passes_know_need_several_passes(tmp_path: Path) -> None:
    root = mini_bundle.make(tmp_path)
    text = (root / card.FILE).read_text()
    (root / card.FILE).write_text(text.replace("value = 1\n", "value = 1\nminimum_confidence = 0.8\n"))
    with pytest.raises(CardError, match=r"\[uncertainty\]"):
        card.read(root)


# ---------------------------------------------------------------- flips


def test_the_result_is_the_mean_over_all_mirrors_of_the_patient(tmp_path: Path) -> None:
    asked = '[uncertainty]\nmethod = "flips"\naxes = ["left-right", "front-back", "feet-head"]'
    network, definition = lopsided()
    volume = noise()
    found = run(bundle(tmp_path, asked, network, definition), volume)
    image = torch.from_numpy(volume).permute(2, 1, 0)[None, None]
    passes = []
    for count in range(4):
        for axes in itertools.combinations((2, 3, 4), count):
            with torch.no_grad():
                mirrored = network(torch.flip(image, axes) if axes else image).softmax(1)
            passes.append((torch.flip(mirrored, axes) if axes else mirrored)[0].numpy())
    mean = np.mean(passes, axis=0)
    assert np.abs(mean - passes[0]).max() > 0.2, "one pass would be another result"
    assert found.probabilities == pytest.approx(mean, abs=1e-3)
    total = entropy_of(mean)
    differ = total - np.mean([entropy_of(one) for one in passes], axis=0)
    assert found.uncertain.maps is not None
    assert found.uncertain.maps[0] == pytest.approx(total, abs=2e-3)
    assert found.uncertain.maps[1] == pytest.approx(differ, abs=2e-3)
    assert np.array_equal(found.uncertain.affine, STRAIGHT)
    assert np.array_equal(found.labels.transpose(2, 1, 0), mean.argmax(0))
    for value in (1, 2):
        inside = mean.argmax(0) == value
        assert found.uncertain.entropy[value] == pytest.approx(total[inside].mean(), abs=1e-3)
        assert found.uncertain.disagreement[value] == pytest.approx(differ[inside].mean(), abs=1e-3)
        assert found.uncertain.confidence[value] == pytest.approx(mean[value][inside].mean(), abs=1e-3)


#: which axis of the tensor (x, y, z) is left-right, by an affine from (column, row, slice)
LYING: dict[str, tuple[int, NDArray[np.float64]]] = {
    "axial": (0, STRAIGHT),
    "axial, columns to the right": (0, np.diag([-2.0, 2.0, 2.0, 1.0])),
    "coronal, on the side": (1, np.array([[0, 2.0, 0, 0], [0, 0, 2, 0], [2, 0, 0, 0], [0, 0, 0, 1]])),
    "sagittal": (2, np.array([[0, 0, 2.0, 0], [2, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1]])),
    "oblique": (0, np.array([[1.8, 0.5, 0, 5], [-0.5, 1.8, 0.4, 7], [0.1, -0.4, 2, 9], [0, 0, 0, 1]])),
}


@pytest.mark.parametrize("how", sorted(LYING))
def test_a_mirror_exchanges_paired_classes_along_the_axis_that_is_left_right_in_the_patient(
    tmp_path: Path, how: str
) -> None:
    axis, affine = LYING[how]
    root = bundle(tmp_path, FLIPS, *two_sided(axis), paired=True)
    pairs = sides.for_passes(card.read(root).card)
    assert pairs == [(1, 2)]
    volume = noise()
    right = run(root, volume, affine, pairs)
    assert right.uncertain.maps is not None
    assert right.uncertain.maps[1].max() < 1e-3, "a mirrored left is a right: the passes agree"
    assert {1, 2} <= set(np.unique(right.labels))
    wrong = run(root, volume, affine, [])
    assert wrong.uncertain.maps is not None
    assert wrong.uncertain.maps[1].max() > 0.1


def test_what_a_card_does_not_ask_for_is_one_pass_and_nothing_is_known(tmp_path: Path) -> None:
    network, definition = lopsided()
    volume = noise()
    found = run(bundle(tmp_path, "", network, definition), volume)
    with torch.no_grad():
        plain = network(torch.from_numpy(volume).permute(2, 1, 0)[None, None]).softmax(1)[0].numpy()
    assert found.probabilities == pytest.approx(plain, abs=1e-3)
    assert (found.uncertain.maps, found.uncertain.confidence) == (None, {})


def test_nobody_flips_left_and_right_without_being_told_what_that_exchanges(tmp_path: Path) -> None:
    network = Network(card.read(bundle(tmp_path, FLIPS, *two_sided(0), paired=True)))
    with pytest.raises(Unusable, match="which classes are paired") as refused:
        network.segment([noise()], STRAIGHT, np.empty((7, 9, 11), np.uint8))
    assert refused.value.code == "uncertainty-unusable"


def test_a_side_without_its_counterpart_cannot_be_mirrored(tmp_path: Path) -> None:
    asked = card.read(bundle(tmp_path, FLIPS, *two_sided(0), paired=True)).card
    alone = asked.model_copy(update={"segment": asked.segment[:1]})
    with pytest.raises(Refused, match="other side of Dark"):
        sides.for_passes(alone)
    other = Uncertainty(method="flips", axes=("front-back",))
    assert sides.for_passes(alone.model_copy(update={"uncertainty": other})) is None


def test_relabelled_classes_that_are_paired_are_refused(tmp_path: Path) -> None:
    swap = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: (3 - x) * (x > 0)"},
    ]
    root = bundle(tmp_path, FLIPS, *two_sided(0), paired=True, post=swap)
    with pytest.raises(Exception, match="paired classes") as refused:
        run(root, noise(), exchange=[(1, 2)])
    assert "paired classes is not known" in str(refused.value)


# ---------------------------------------------------------------- Monte Carlo


def dropping() -> tuple[torch.nn.Module, Any]:
    torch.manual_seed(2)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 8, 1), torch.nn.Dropout3d(0.4), torch.nn.Conv3d(8, 3, 1))
    definition = "$torch.nn.Sequential(torch.nn.Conv3d(1, 8, 1), torch.nn.Dropout3d(0.4), torch.nn.Conv3d(8, 3, 1))"
    return network, definition


def test_monte_carlo_gives_the_same_study_the_same_result_and_leaves_no_trace(tmp_path: Path) -> None:
    network = Network(card.read(bundle(tmp_path, DROPOUT, *dropping())))
    volume, other = noise(), noise(seed=1)
    found = []
    torch.manual_seed(11)
    for one in (volume, other, volume):
        kept, uncertain = Probabilities(), Uncertain()
        network.segment([one], STRAIGHT, np.empty(one.shape, np.uint8), {}, kept, uncertain)
        assert kept.array is not None
        assert uncertain.maps is not None
        found.append((kept.array, uncertain))
    assert np.array_equal(found[0][0], found[2][0])
    assert found[0][1].disagreement == found[2][1].disagreement
    assert max(found[0][1].disagreement.values()) > 0.01, "the passes are not one pass"
    assert torch.initial_seed() == 11
    assert not any(module.training for module in network._evaluator.network.modules())


def test_dropout_alone_is_left_on(tmp_path: Path) -> None:
    """Batch normalisation in training mode would normalise by the patient at hand, and remember him."""
    layers = "torch.nn.Conv3d(1, 3, 1), torch.nn.BatchNorm3d(3), torch.nn.Dropout(0.2)"
    torch.manual_seed(2)
    made = torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1), torch.nn.BatchNorm3d(3), torch.nn.Dropout(0.2))
    network = Network(card.read(bundle(tmp_path, DROPOUT, made, f"$torch.nn.Sequential({layers})")))
    volume = noise()
    network.segment([volume], STRAIGHT, np.empty(volume.shape, np.uint8), {}, None, Uncertain())
    normed = network._evaluator.network[1]
    assert (int(normed.num_batches_tracked), normed.running_mean.abs().max()) == (0, 0)


def test_monte_carlo_without_dropout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="no dropout"):
        Network(card.read(bundle(tmp_path, DROPOUT, *lopsided())))


# ---------------------------------------------------------------- other endings


def test_of_sigmoids_the_mean_of_each_goes_on(tmp_path: Path) -> None:
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    definition = lopsided()[1] | {"out_channels": 2}
    asked = FLIPS.replace("left-right", "feet-head")
    volume = noise()
    found = run(bundle(tmp_path, asked, network, definition, post=SIGMOID), volume)
    image = torch.from_numpy(volume).permute(2, 1, 0)[None, None]
    with torch.no_grad():
        one, other = network(image).sigmoid(), network(torch.flip(image, [4])).sigmoid()
    passes = np.stack([one[0].numpy(), torch.flip(other, [4])[0].numpy()])
    mean = passes.mean(0)
    above = mean > 0.5
    assert np.array_equal(found.labels.transpose(2, 1, 0), np.where(above[1], 2, above[0]))
    binary = np.stack([entropy_of(np.stack([each, 1 - each])) for each in mean])
    own = np.mean([[entropy_of(np.stack([each, 1 - each])) for each in single] for single in passes], axis=0)
    assert found.uncertain.maps is not None
    assert found.uncertain.maps[0] == pytest.approx(binary.max(0), abs=2e-3)
    assert found.uncertain.maps[1] == pytest.approx((binary - own).max(0), abs=2e-3)


def test_an_ending_that_does_not_say_what_the_output_means_is_refused(tmp_path: Path) -> None:
    asked = FLIPS.replace("left-right", "feet-head")
    with pytest.raises(CardError, match="softmax or sigmoid"):
        Network(card.read(bundle(tmp_path, asked, *lopsided(), post=ARGMAX)))


def test_the_map_lies_where_the_networks_own_grid_lies(tmp_path: Path) -> None:
    """Turned and resampled before the network: what is sure of a bright point is at that point, in mm."""
    asked = FLIPS.replace("left-right", "front-back")
    root = bundle(tmp_path, asked, *two_sided(0), oriented=True)
    volume = np.zeros((12, 14, 16), np.float32)
    volume[5, 6, 4] = 30.0
    affine = np.array([[3.0, 0, 0, -50], [0, 0, 3.0, 20], [0, -3.0, 0, 300], [0, 0, 0, 1]])
    found = run(root, volume, affine)
    assert found.uncertain.maps is not None
    surest = np.array(np.unravel_index(found.uncertain.maps[0].argmin(), found.uncertain.maps[0].shape))
    at_mm = found.uncertain.affine @ [*surest, 1]
    assert np.abs((affine @ [4, 6, 5, 1] - at_mm)[:3]).max() <= 4.5
