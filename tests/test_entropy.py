"""How sure the network was travels with its label map: the mean entropy inside each segment."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import card, client, entropy
from models.network import Network
from models.wire import SharedArray
from node.hosts import Hosts
from tests import mini_bundle
from tests.nurseries import SHARED

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LABELS_ONLY: list[dict[str, Any]] = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": True,
    },
]


def by_hand(probabilities: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """The mean over the voxels of a mask, one voxel after the other."""
    classes = probabilities.shape[0]
    of_voxels = [
        -sum(p * math.log(p) for p in map(float, voxel) if p > 0) / math.log(classes)
        for voxel in probabilities[:, inside].T
    ]
    return float(np.mean(of_voxels))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_mean_entropy_is_that_of_the_definition(classes: int) -> None:
    random = np.random.default_rng(classes)
    probabilities = torch.softmax(torch.from_numpy(random.normal(0, 2, (classes, 12, 9, 7)).astype(np.float32)), 0)
    probabilities[:, 0] = torch.eye(classes)[-1][:, None, None]  # sure: 0 * log 0 is 0
    found = entropy.means(entropy.of_softmax(probabilities), probabilities)
    array = probabilities.numpy()
    assert set(found) == set(range(1, classes))
    for value, mean in found.items():
        assert mean == pytest.approx(by_hand(array, array.argmax(0) == value), abs=5e-4)
        assert round(mean, 4) == mean


def test_sure_is_0_and_guessing_is_1() -> None:
    probabilities = torch.zeros(4, 3, 3, 3)
    probabilities[1] = 1
    assert entropy.means(entropy.of_softmax(probabilities), probabilities) == {1: 0.0}
    probabilities[:] = 0.25
    probabilities[2] += 1e-4
    assert entropy.means(entropy.of_softmax(probabilities), probabilities)[2] == pytest.approx(1, abs=1e-3)


def test_where_there_is_nothing_there_is_no_entropy() -> None:
    probabilities = torch.full((3, 4, 4, 4), 0.2)
    probabilities[0] = 0.6
    assert entropy.means(entropy.of_softmax(probabilities), probabilities) == {}


def test_a_large_grid_gives_in_slabs_what_it_gives_at_once() -> None:
    random = torch.Generator().manual_seed(3)
    small = torch.softmax(torch.randn(3, 5, 40, 40, generator=random), 0)
    large = small.repeat(1, 1 + entropy.SLAB_VALUES // small.numel(), 1, 1)
    assert large.numel() > entropy.SLAB_VALUES
    found = entropy.means(entropy.of_softmax(large), large)
    assert found == pytest.approx(entropy.means(entropy.of_softmax(small), small), abs=1e-4)


def test_rules_do_not_hide_that_the_network_was_guessing() -> None:
    """A rule that gives voxels to another class writes 1 for it; the network's own doubt counts, in the new class."""
    probabilities = torch.zeros(3, 2, 2, 2)
    probabilities[1, 0] = 1  # sure of four voxels
    probabilities[:, 1] = torch.tensor([0.2, 0.3, 0.5])[:, None, None]  # guessing at four
    own = entropy.of_softmax(probabilities)
    doubt = by_hand(probabilities.numpy(), np.arange(8).reshape(2, 2, 2) >= 4)
    probabilities[:, 1] = torch.tensor([0.0, 1.0, 0.0])[:, None, None]  # the rule: all of it is 1
    assert entropy.means(own, probabilities) == {1: pytest.approx(doubt / 2, abs=1e-3)}


def test_what_a_rule_took_away_is_in_no_segment() -> None:
    probabilities = torch.zeros(3, 2, 2, 2)
    probabilities[1, 0] = 1
    probabilities[:, 1] = torch.tensor([0.2, 0.3, 0.5])[:, None, None]
    own = entropy.of_softmax(probabilities)
    probabilities[:, 1] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    assert entropy.means(own, probabilities) == {1: 0.0}


def test_holes_that_a_rule_filled_do_not_make_a_segment_surer() -> None:
    probabilities = torch.zeros(3, 2, 2, 2)
    probabilities[:, 0] = torch.tensor([0.3, 0.4, 0.3])[:, None, None]
    probabilities[0, 1] = 1
    own = entropy.of_softmax(probabilities)
    before = entropy.means(own, probabilities)
    probabilities[0, 1], probabilities[1, 1] = 0, 1
    assert entropy.means(own, probabilities) == before


def two_boxes(darkness: float) -> NDArray[np.float32]:
    """A box that the thresholds are sure of, and one at `darkness` HU, where 2 begins at -900."""
    hu = np.full((16, 24, 24), 100, np.float32)
    hu[3:13, 3:11, 3:21] = -700
    hu[3:13, 14:21, 3:21] = darkness
    return hu


@pytest.mark.filterwarnings("ignore")
def test_a_network_at_its_threshold_is_less_sure(tmp_path: Path) -> None:
    network = Network(card.read(mini_bundle.make(tmp_path)))
    found = []
    for darkness in (-1000, -905):
        doubt: dict[int, float] = {}
        labels, again = np.empty((16, 24, 24), np.uint8), np.empty((16, 24, 24), np.uint8)
        network.segment([two_boxes(darkness)], AFFINE, labels, doubt)
        network.segment([two_boxes(darkness)], AFFINE, again)
        assert np.array_equal(labels, again), "asking for it changes nothing"
        assert set(doubt) == {1, 2}
        found.append(doubt[2])
    logits = np.array([[0.0, 8.1, 8.2], [0.0, 10.0, 12.0]])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    at_threshold, clear = (by_hand(one[:, None], np.array([True])) for one in probabilities)
    assert clear < 0.4 < 0.6 < at_threshold
    assert found == [pytest.approx(clear, abs=0.05), pytest.approx(at_threshold, abs=0.05)]


@pytest.mark.filterwarnings("ignore")
def test_a_bundle_that_gives_labels_alone_says_nothing_of_its_doubt(tmp_path: Path) -> None:
    network = Network(card.read(mini_bundle.make(tmp_path, post=LABELS_ONLY)))
    doubt: dict[int, float] = {}
    labels = np.empty((16, 24, 24), np.uint8)
    network.segment([two_boxes(-1000)], AFFINE, labels, doubt)
    assert labels.any()
    assert doubt == {}


def test_the_host_answers_with_it_by_label_value(tmp_path: Path) -> None:
    bundle = mini_bundle.make(tmp_path)
    volume = SharedArray.make((16, 24, 24), np.float32)
    volume.array[...] = two_boxes(-905)
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        hosts = Hosts(Path(folder), "cpu", nursery=SHARED)
        try:
            address = hosts.address(str(bundle), card.read(bundle).card_sha256)
            answer = client.segment(address, [volume], AFFINE, limit_seconds=60)
            whole = client.segment(address, [volume], AFFINE, limit_seconds=60, probabilities=True)
        finally:
            hosts.stop()
            volume.close()
    assert set(answer.entropy) == {1, 2}
    assert 0 < answer.entropy[1] < answer.entropy[2] < 1
    assert answer.probabilities is None, "nobody asked for them"
    assert whole.probabilities is not None
    assert np.array_equal(whole.labels, answer.labels)
    assert whole.probabilities.sum(0, dtype=np.float64) == pytest.approx(1, abs=2e-3)
    # where the grid of the network has a voxel centre, its likeliest class is the label there
    to_source = np.linalg.inv(AFFINE) @ whole.probabilities_affine
    index = np.indices(whole.probabilities.shape[1:]).reshape(3, -1)
    i, j, k = np.rint(to_source[:3, :3] @ index + to_source[:3, 3:]).astype(int)
    inside = (i >= 0) & (j >= 0) & (k >= 0) & (i < 24) & (j < 24) & (k < 16)
    likeliest = whole.probabilities.argmax(0).ravel()[inside]
    assert (likeliest == whole.labels[k[inside], j[inside], i[inside]]).mean() > 0.95
    assert likeliest.any()
