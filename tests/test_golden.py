"""Golden cases: what a bundle itself says that it has to find, wherever it runs and whenever it was trained again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from models import card, golden
from models.card import Bundle, CardError
from node.app import Node
from node.attempt import Stages
from node.errors import Refused
from node.learning import versions
from node.operations import rehearse
from node.trying import golden_faults
from tests import mini_bundle
from tests.threshold_host import ThresholdHosts

TO_RAS = np.diag([-2.0, -2.0, 2.0, 1.0])


def box(value: float, first: int = 4) -> NDArray[np.float32]:
    """(columns, rows, slices): a box in nothing."""
    made = np.zeros((20, 18, 12), np.float32)
    made[first : first + 5, 5:12, 3:9] = value
    return made


def with_case(root: Path, image: NDArray[np.float32], expected: NDArray[np.float32], **more: object) -> Bundle:
    """A bundle with one golden case."""
    folder = root / "golden" / "box"
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, TO_RAS), folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(expected, more.get("affine", TO_RAS)), folder / "expected.nii.gz")
    (root / "golden" / "cases.toml").write_text(str(more.get("listed", '[[case]]\nname = "box"\n')))
    card.seal(root)
    return card.read(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A network that calls what is darker than -500 HU 1."""
    return mini_bundle.make(tmp_path)


def test_a_case_is_read_on_the_patients_grid(root: Path) -> None:
    (one,) = golden.cases(with_case(root, box(-700), box(1)))
    assert one.expected.shape == one.channels[0].shape == (12, 18, 20)
    np.testing.assert_array_equal(one.affine, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert one.channels[0][one.expected == 1].max() == -700
    assert list(golden.cases(card.read(card.SHIPPED / "ct_lungs"))) == []


def test_it_holds_or_the_class_that_does_not_is_named(root: Path) -> None:
    bundle = with_case(root, box(-700), box(1))
    (one,) = golden.cases(bundle)
    assert golden.deviation(bundle, one, one.expected) == ""
    shifted = np.roll(one.expected, 1, axis=2)
    said = golden.deviation(bundle, one, shifted)
    assert said == "golden case box: Dark has Dice 0.800, and 0.98 is asked for"
    assert golden.deviation(bundle, replace(one, minimum_dice=0.7), shifted) == ""
    assert "Darker has Dice 0.000" in golden.deviation(bundle, one, one.expected * 2)


@pytest.mark.slow
def test_check_runs_them(root: Path) -> None:
    def printed(bundle: Bundle) -> tuple[int, str]:
        console = Console(record=True, width=200)
        return rehearse.check(bundle, "cpu", console), console.export_text()

    code, said = printed(with_case(root, box(-700), box(1)))
    assert code == 0
    assert "golden case box" in said
    code, said = printed(with_case(root, box(-700, first=6), box(1)))
    assert code == 1
    assert "Dark has Dice 0.600" in said


def test_the_gate_hears_of_a_golden_case_that_a_candidate_lost(
    node: Node, threshold_hosts: ThresholdHosts, tmp_path: Path
) -> None:
    """Its hosts label what is darker than -500 HU, 1 in the left half of the columns and 2 in the right."""
    told = replace(node, hosts=threshold_hosts.address)
    holds = with_case(mini_bundle.make(node.archive.home / "models", "holds"), box(-700, first=2), box(1, first=2))
    assert golden_faults(told, holds, Stages()) == []
    lost = with_case(mini_bundle.make(node.archive.home / "models", "lost"), box(-700, first=12), box(1, first=12))
    (said,) = golden_faults(told, lost, Stages())
    assert said.startswith("golden case box: Dark has Dice 0.000")
    assert "Darker has Dice 0.000" in said


def test_a_trained_version_keeps_the_golden_cases_of_its_parent(root: Path, tmp_path: Path) -> None:
    parent = with_case(root, box(-700), box(1))
    other = mini_bundle.make(tmp_path / "other")
    weights = tmp_path / "trained.pt"
    weights.write_bytes((other / "models" / "model.pt").read_bytes() + b"\0")
    made = versions.make_version(parent, weights, version="0.1+001", home=tmp_path / "home")
    (one,) = golden.cases(made)
    assert one.name == "box"


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("grid", "is not on the grid of expected.nii.gz"),
        ("value", "has values that the card does not know: 7"),
        ("listed", "cases.toml: cannot be read"),
        ("missing", "not listed among the files of the card"),
        ("damaged", "cannot be read"),
        ("outside", "cases.toml: cannot be read"),
    ],
)
def test_a_case_that_is_no_case_is_said(root: Path, what: str, sentence: str) -> None:
    bundle = with_case(root, box(-700), box(7 if what == "value" else 1))
    if what == "grid":
        bundle = with_case(root, box(-700), box(1), affine=np.diag([-2.0, -2.0, 3.0, 1.0]))
    elif what == "listed":
        bundle = with_case(root, box(-700), box(1), listed="[[case]\n")
    elif what == "outside":
        bundle = with_case(root, box(-700), box(1), listed='[[case]]\nname = "../box"\n')
    elif what == "missing":
        bundle = with_case(root, box(-700), box(1), listed='[[case]]\nname = "sphere"\n')
    elif what == "damaged":
        (root / "golden" / "box" / "image.nii.gz").write_bytes(b"nothing")
        card.seal(root)
        bundle = card.read(root)
    with pytest.raises(CardError, match=sentence):
        list(golden.cases(bundle))
    with pytest.raises(Refused, match=sentence):
        rehearse.check(bundle, "cpu", Console(record=True))
