"""The second shipped network on real PET, from stored images to a mask on their grid; and the comparison around it.

It was trained on these patients; how it does on patients that it has not seen is what docs/README.md of the bundle
reports. These tests see that what is shipped is what was trained, in SUV, and that nothing on the way turns it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from models import card
from models.comparison import contenders, figures, page, plot, trial, trials
from models.comparison.contenders import CONTENDERS, SHIPPED, Contender
from models.comparison.training import train
from models.network import LPS_TO_RAS, Network
from node.errors import Refused
from node.learning import pet_cases
from node.study import facts, volume
from node.study.decode import Decoders
from node.study.facts import Image, Series
from node.study.rules import judge
from node.study.stacks import Stack, frames_of, volumes

#: of MONAI, whose LoadImage tries every reader that it knows
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

BUNDLE = card.find("pet_sarcoma", (card.SHIPPED,))
RULE = BUNDLE.card.input[0]
CONFIGS = BUNDLE.folder / "configs"


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(BUNDLE)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


def images(data: Path, patient: str) -> list[Path]:
    return sorted((data / "pet_series" / patient / "PET" / "image").glob("*.dcm"))


def stack_of(files: list[Path]) -> Stack:
    headers = [facts.read(file) for file in files]
    series = Series(
        headers[0].SeriesInstanceUID, tuple(Image(one.SOPInstanceUID, one.SOPInstanceUID, one) for one in headers)
    )
    (stack,) = volumes(series, frames_of(series))
    return stack


def on_grid(file: Path, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[Any]:
    """A NIfTI file as (slices, rows, columns) of a DICOM volume; its axes are turned by the affines alone."""
    image = nib.load(file)
    wanted = nib.io_orientation(LPS_TO_RAS @ affine)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted))
    np.testing.assert_allclose(turned.affine, LPS_TO_RAS @ affine, atol=0.01)
    array = np.asarray(turned.dataobj).transpose(2, 1, 0)
    assert array.shape == shape
    return array


def run(network: Network, values: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    labels = np.full(values.shape, 255, np.uint8)
    network.segment([np.ascontiguousarray(values)], affine, labels)
    return labels


def dice(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return float(2 * (found & wanted).sum() / max(1, found.sum() + wanted.sum()))


def test_the_card_is_complete_and_sealed() -> None:
    card.verify(BUNDLE)
    assert RULE.values == "suv_bw"
    (segment,) = BUNDLE.card.segment
    assert "GTV_Mass_PET" in segment.also_called, "as the collection calls it"
    said = (BUNDLE.folder / "docs" / "README.md").read_text().lower()
    for word in (
        "## Data",
        "## Licence",
        "## Limits",
        "10.7937/K9/TCIA.2015.7GO2GSKS",
        "whole body",
        BUNDLE.card.version,
    ):
        assert word.lower() in said, word


def test_what_trains_is_what_runs() -> None:
    """Both files prepare the images in the same way and mean the same network."""
    inference, training = (json.loads((CONFIGS / f"{name}.json").read_text()) for name in ("inference", "train"))
    for name in ("network_def", "spacing_mm"):
        assert inference[name] == training[name], name
    kinds = ("ScaleIntensityRanged", "Lambdad", "Orientationd")
    prepared = [
        [{**step, "keys": None} for step in steps if step["_target_"] in kinds]
        for steps in (inference["preprocessing"]["transforms"], training["train"]["deterministic_transforms"])
    ]
    assert prepared[0] == prepared[1]
    assert len(prepared[0]) == len(kinds)
    assert inference["inferer"] == training["validate"]["inferer"]


@pytest.mark.parametrize("patient", ["STS_003", "STS_017", "STS_032"])
def test_suv_is_what_the_collection_says(dicom_data: Path, decoders: Decoders, patient: str) -> None:
    built = volume.build(images(dicom_data, patient), decoders, RULE)
    suv = on_grid(
        dicom_data / "pet_series" / patient / "truth_nifti" / "PET_image.nii.gz",
        built.geometry.affine,
        built.values.array.shape,
    )
    np.testing.assert_allclose(built.values.array, suv, rtol=1e-4, atol=1e-3)
    assert built.quantity == "suv_bw"
    built.close()


@pytest.mark.parametrize("patient", ["STS_003", "STS_017", "STS_032"])
def test_the_card_takes_the_series_and_the_network_finds_the_mass(
    network: Network, dicom_data: Path, decoders: Decoders, patient: str
) -> None:
    """Head first and feet first, from 3.9 to 5.5 mm."""
    built = volume.build(images(dicom_data, patient), decoders, RULE)
    assert judge(RULE, stack_of(images(dicom_data, patient))) is None
    labels = run(network, built.values.array, built.geometry.affine)
    truth = on_grid(
        dicom_data / "pet_series" / patient / "truth_nifti" / "PET_mask.nii.gz", built.geometry.affine, labels.shape
    )
    assert set(np.unique(labels)) == {0, 1}
    assert dice(labels == 1, truth > 0) > 0.4
    turned = built.values.array[::-1, :, ::-1]
    to_turned = np.diag([-1.0, 1, -1, 1])
    to_turned[:3, 3] = turned.shape[2] - 1, 0, turned.shape[0] - 1
    again = run(network, turned, built.geometry.affine @ to_turned)[::-1, :, ::-1]
    assert (again != labels).mean() < 1e-4, "what decides is where the voxels lie, not how they are stored"
    built.close()


def test_a_whole_body_is_refused(dicom_data: Path) -> None:
    """A brain and a bladder are hot too, and the network has never seen one."""
    stack = stack_of(images(dicom_data, "STS_003"))
    tall = dataclasses.replace(stack, frames=stack.frames * 4)
    refusal = RULE.maximum_slices < len(tall.frames) and judge(RULE, tall)
    assert isinstance(refusal, Refused)
    assert refusal.code == "too-many-slices"


def test_a_pet_without_uptake_has_no_mass(network: Network) -> None:
    affine = np.diag([5.0, 5.0, 3.27, 1.0])
    shape = (60, 40, 40)
    noise = np.random.default_rng(5).gamma(4.0, 0.2, shape).astype(np.float32)  # tissue: SUV 0.8 and grainy
    for values in (np.zeros(shape, np.float32), noise):
        assert not run(network, values, affine).any()


def test_a_hot_ball_is_found_where_it_lies(network: Network) -> None:
    """In soft tissue of SUV 0.7, on a grid that the network was not trained on; in a corner, not in the middle."""
    spacing = np.array([2.5, 4.0, 3.0])
    k, j, i = np.ogrid[:70, :50, :90]
    far = np.sqrt(((i - 60) * 2.5) ** 2 + ((j - 17) * 4.0) ** 2 + ((k - 25) * 3.0) ** 2)
    values = (0.7 + 7 / (1 + np.exp((far - 28) / 2))).astype(np.float32)
    values += np.random.default_rng(6).normal(scale=0.1, size=values.shape).astype(np.float32)
    labels = run(network, values, np.diag([*spacing, 1.0]))
    assert dice(labels == 1, far < 28) > 0.7


def test_the_outlines_of_a_patient_become_its_case(dicom_data: Path, decoders: Decoders, tmp_path: Path) -> None:
    made = pet_cases.case(dicom_data / "pet_series" / "STS_008", tmp_path, decoders)
    truth = dicom_data / "pet_series" / "STS_008" / "truth_nifti"
    label, image = nib.load(tmp_path / made["label"]), nib.load(tmp_path / made["image"])
    wanted = on_grid(truth / "PET_mask.nii.gz", LPS_TO_RAS @ label.affine, label.shape[::-1]) > 0
    assert dice(np.asarray(label.dataobj).transpose(2, 1, 0) == 1, wanted) > 0.99
    suv = on_grid(truth / "PET_image.nii.gz", LPS_TO_RAS @ image.affine, image.shape[::-1])
    np.testing.assert_allclose(np.asarray(image.dataobj).transpose(2, 1, 0), suv, rtol=1e-4, atol=1e-3)


# The comparison

SMALL = {"patch": [32, 32, 32], "batch_size": 2}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[contenders.Case]:
    """Two images with a ball in each."""
    folder = tmp_path_factory.mktemp("cases")
    listed = []
    for number in range(2):
        far = np.linalg.norm(
            np.indices((30, 30, 30)) - np.array([14, 12 + number * 4, 15])[:, None, None, None], axis=0
        )
        name = {"image": f"{number}_image.nii.gz", "label": f"{number}_label.nii.gz", "patient": f"P{number}"}
        nib.save(
            nib.Nifti1Image(np.where(far < 7, 8, 1).astype(np.float32), np.diag([5, 5, 5, 1.0])), folder / name["image"]
        )
        nib.save(nib.Nifti1Image((far < 7).astype(np.uint8), np.diag([5, 5, 5, 1.0])), folder / name["label"])
        listed.append(name)
    (folder / "dataset.json").write_text(json.dumps({"cases": listed}))
    return trials.cases_of(folder)


@pytest.mark.slow
@pytest.mark.parametrize("contender", [one for one in CONTENDERS if one.network], ids=lambda one: one.name)
def test_every_network_learns_and_is_judged_through_the_nodes_own_inference(
    cases: list[contenders.Case], tmp_path: Path, contender: Contender
) -> None:
    trained = train(BUNDLE.folder, cases, {**contender.all_changes, **SMALL}, 0.01, 1)
    assert trained.steps >= 1
    assert trained.parameters > 100_000
    bundle = trial.bundle_of(BUNDLE.folder, tmp_path / "pet_sarcoma", trained.weights, contender.all_changes)
    assert bundle.weights_sha256 != BUNDLE.weights_sha256
    found = trial.outcomes(bundle, cases)
    assert [one.patient for one in found] == ["P0", "P1"]
    assert all(0 <= one.dice <= 1 and one.truth_ml > 100 and one.seconds > 0 for one in found)


@pytest.mark.parametrize("contender", [one for one in CONTENDERS if not one.network], ids=lambda one: one.name)
def test_every_recipe_takes_a_step(cases: list[contenders.Case], contender: Contender) -> None:
    trained = train(BUNDLE.folder, cases, {**contender.all_changes, **SMALL}, 0.01, 1)
    assert trained.steps >= 1
    assert np.isfinite(trained.loss)


def test_training_learns(cases: list[contenders.Case]) -> None:
    begun = train(BUNDLE.folder, cases, SMALL, 0.01, 3)
    ended = train(BUNDLE.folder, cases, SMALL, 2.0, 3)
    assert ended.steps > begun.steps
    assert ended.loss < begun.loss


def test_the_split_is_fixed_and_no_patient_is_on_both_sides() -> None:
    named: list[contenders.Case] = [{"patient": f"STS_{n:03}"} for n in range(1, 37)]
    seen, unseen = contenders.split(named)
    assert (len(seen), len(unseen)) == (24, 12)
    assert unseen == contenders.split(named[::-1])[1], "not by the order in which they are listed"
    assert "".join(one["patient"][-2:] for one in unseen) == "270805072114291532091810"
    folds = [contenders.fold(named, number) for number in range(contenders.FOLDS)]
    assert sorted(one["patient"] for _, judged in folds for one in judged) == [one["patient"] for one in named]
    for trained_on, judged in [(seen, unseen), *folds]:
        assert not {one["patient"] for one in trained_on} & {one["patient"] for one in judged}
        assert len(trained_on) + len(judged) == 36


def outcomes(dices: list[float]) -> tuple[trial.Outcome, ...]:
    return tuple(trial.Outcome(f"P{n}", value, 100.0, 90.0, 0.2) for n, value in enumerate(dices))


def test_a_difference_comes_with_the_interval_of_its_pairs() -> None:
    """0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), t of two degrees of freedom 4.3027."""
    found = figures.difference(outcomes([0.6, 0.8, 0.7]), outcomes([0.5, 0.6, 0.4]))
    assert found.mean == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert not found.is_distinct
    with pytest.raises(ValueError, match="same patients"):
        figures.difference(outcomes([0.5, 0.5]), outcomes([0.5]))


def test_the_page_says_what_was_found_and_names_no_winner_by_chance() -> None:
    shipped, spread = [0.7, 0.6, 0.66, 0.4], [0.1, -0.1, 0.12, -0.1]
    better, noisy = (
        [one + 0.05 + n / 1000 for n, one in enumerate(shipped)],
        [one + more for one, more in zip(shipped, spread, strict=True)],
    )
    dices = {SHIPPED.name: shipped, CONTENDERS[1].name: better}
    made = [
        trials.Trial(
            one.name,
            trials.SPLIT,
            60,
            60,
            61,
            99 if one is CONTENDERS[2] else 100,
            1234,
            0.5,
            outcomes(dices.get(one.name, noisy)),
        )
        for one in CONTENDERS
    ]
    made.append(trials.Trial(SHIPPED.name, 0, 60, 120, 121, 200, 1234, 0.5, outcomes(shipped)))
    text = page.page([trials.Trial.of_line(one.line()) for one in made], outcomes([0.5, 0.5, 0.5, 0.5]), "networks.svg")
    assert f"\nrecipe beyond that interval: {CONTENDERS[1].name}. Worse: none.\n" in text
    assert "| U-Net (shipped recipe) | 0.590 | 0.133 | 0.630 | 1 |" in text
    assert f"steps were made by: {CONTENDERS[2].name}.\n" in text
    assert "Failures of the network: P3 0.40." in text
    drawn = plot.plot("a & b", page.rows_of({one.name: one for one in made[:-1]}, outcomes([0.5] * 4)))
    assert drawn.count("<circle") == 4 * (len(CONTENDERS) + 1)
    assert "a &amp; b" in drawn
