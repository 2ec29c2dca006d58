"""A network of two channels, from a PET and a CT that arrive by C-STORE to the SEG on the PET's grid; and the question
whether the second channel helps.

The shipped weights have not seen patient STS_025, who goes the whole way here.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from models import card
from models.comparison import figures, trial, trials
from models.comparison.contenders import Case, Contender
from models.comparison.fusion import contenders, page
from models.comparison.fusion.contenders import BOTH, CONTENDERS, LATE, PET
from models.comparison.plot import plot
from models.comparison.training import train
from models.network import Network
from node.app import Node
from node.learning import ct_pet_cases
from node.objects.checks.masks import mask
from node.operations import catalogue, installing
from node.study.decode import Decoders
from tests import scenes
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.running import RunningNode, planimeter
from tests.test_pet_sarcoma import dice, on_grid
from tests.threshold_host import ThresholdHosts

#: of MONAI, whose LoadImage tries every reader that it knows
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

NAME = "ct_pet_sarcoma"
BUNDLE = card.find(NAME, (card.SHIPPED,))
CONFIGS = BUNDLE.folder / "configs"
HELD_OUT = "STS_025"


def folder_of(data: Path, patient: str) -> Path:
    return data / "rtstruct" / f"sts_ibsi_{patient}"


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


# The bundle


def test_the_card_is_complete_sealed_and_a_demonstration() -> None:
    card.verify(BUNDLE)
    assert BUNDLE.card.demonstration
    assert [(one.channel, one.values, one.fill) for one in BUNDLE.card.input] == [
        ("pet", "suv_bw", 0.0),
        ("ct", "modality", -1024.0),
    ]
    assert "emonstration" in BUNDLE.card.title, "every result says so"
    said = (BUNDLE.folder / "docs" / "README.md").read_text().lower()
    words = ("## Data", "## Licence", "## Limits", "10.7937/K9/TCIA.2015.7GO2GSKS", HELD_OUT, BUNDLE.card.version)
    for word in words:
        assert word.lower() in said, word


def test_what_trains_is_what_runs() -> None:
    """Both files prepare the images in the same way and mean the same network."""
    inference, training = (json.loads((CONFIGS / f"{name}.json").read_text()) for name in ("inference", "train"))
    for name in ("network_def", "spacing_mm", "channels"):
        assert inference[name] == training[name], name
    kinds = ("ScaleIntensityRanged", "Lambdad")
    prepared = [
        [step for step in steps if step["_target_"] in kinds]
        for steps in (inference["preprocessing"]["transforms"], training["train"]["deterministic_transforms"])
    ]
    assert prepared[0] == prepared[1]
    assert len(prepared[0]) == 3
    joined = [inference["preprocessing"]["transforms"], training["train"]["random_transforms"]]
    assert all({"_target_": "ConcatItemsd", "keys": "@channels", "name": "image"} in steps for steps in joined)
    assert inference["inferer"] == training["validate"]["inferer"]


def test_both_channels_are_read_and_neither_for_the_other() -> None:
    """A hot ball in soft tissue is found; without the uptake, or with the channels exchanged, the answer is another."""
    network = Network(BUNDLE)
    k, j, i = np.ogrid[:48, :36, :36]
    far = np.sqrt(((i - 18) * 5.0) ** 2 + ((j - 18) * 5.0) ** 2 + ((k - 24) * 3.27) ** 2)
    suv = (0.6 + 7 / (1 + np.exp((far - 25) / 2))).astype(np.float32)
    hu = np.where(np.hypot(i - 18, j - 18) * np.ones((48, 1, 1)) < 14, 40.0, -1000.0).astype(np.float32)
    affine = np.diag([5.0, 5.0, 3.27, 1.0])

    def run(*channels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        labels = np.full(suv.shape, 255, np.uint8)
        network.segment([np.ascontiguousarray(one) for one in channels], affine, labels)
        return labels

    found = run(suv, hu)
    assert dice(found == 1, far < 25) > 0.7
    assert not run(np.full_like(suv, 0.6), hu).any(), "muscle without uptake is no tumour"
    assert (run(suv, np.full_like(hu, -1024)) != found).any(), "the CT counts"


# Real cases


@pytest.fixture(scope="module")
def real_case(dicom_data: Path, decoders: Decoders, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Case]:
    out = tmp_path_factory.mktemp("case")
    return out, ct_pet_cases.case(folder_of(dicom_data, HELD_OUT), out, decoders)


def test_a_patient_becomes_a_case_on_the_grid_of_the_pet(dicom_data: Path, real_case: tuple[Path, Case]) -> None:
    out, made = real_case
    pet, ct, label = (nib.load(out / made[key]) for key in ("pet", "ct", "label"))
    assert pet.shape == ct.shape == label.shape
    for one in (ct, label):
        np.testing.assert_allclose(one.affine, pet.affine, atol=1e-6)
    truth = folder_of(dicom_data, HELD_OUT) / "truth_nifti" / "PET_mask.nii.gz"
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    wanted = on_grid(truth, lps @ label.affine, label.shape[::-1]) > 0
    inside = np.asarray(label.dataobj).transpose(2, 1, 0) == 1
    assert dice(inside, wanted) > 0.99
    hu, suv = (np.asarray(one.dataobj).transpose(2, 1, 0) for one in (ct, pet))
    assert 0 < np.median(hu[inside]) < 80, "the mass on the PET is soft tissue on the CT"
    assert suv[inside].mean() > 3 * suv[~inside].mean()
    body = hu > -300
    shifted = [dice(np.roll(body, shift, 0), suv > 0.25) for shift in (-6, 0, 6)]
    assert max(shifted) == shifted[1], "the body is in one place on both"


def test_the_held_out_patient_is_found_by_the_shipped_weights(real_case: tuple[Path, Case]) -> None:
    out, made = real_case
    case = {key: said if key == "patient" else str(out / said) for key, said in made.items()}
    (found,) = trial.outcomes(BUNDLE, [case])
    assert found.dice > 0.5
    assert found.surface_mm is not None and found.surface_mm < 10


def dcmsend(tool: Callable[[str], str], port: int, *folders: Path) -> None:
    """As a scanner does, from every file of the folders."""
    command = [tool("dcmsend"), "-aec", "PLANIMETER", "+sd", "+r", "127.0.0.1", str(port), *map(str, folders)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.slow
def test_a_pet_and_a_ct_come_by_c_store_and_a_seg_on_the_pet_goes_back(
    dicom_data: Path,
    dcmtk: Callable[[str], str],
    decoders: Decoders,
    pacs: FakePacs,
    start_node: Callable[..., RunningNode],
    tmp_path: Path,
) -> None:
    home, config = tmp_path / "running", tmp_path / "planimeter.toml"
    home.mkdir(mode=0o700)
    config.write_text(f"""
[[peer]]
name = "pacs"
ae_title = "{pacs.ae_title}"
destination = {{ host = "127.0.0.1", port = {pacs.port} }}

[[route]]
name = "sarcoma"
networks = ["{NAME}"]
destinations = ["pacs"]
""")
    given = ("--config", str(config))
    planimeter("upgrade", "--home", home, *given)
    said = planimeter("models", "enable", NAME, "--home", home, *given).stdout
    assert f"{NAME} reads the studies that are chosen from now on" in said
    node = start_node(*given, "--quiet-seconds", "600", home=home)
    series = [folder_of(dicom_data, HELD_OUT) / modality / "image" for modality in ("CT", "PET")]
    dcmsend(dcmtk, node.port, *series)
    node.be_quiet()
    files = sorted(series[1].glob("*.dcm"))
    source = dcmread(files[0], stop_before_pixels=True)
    study = node.wait_for(source.StudyInstanceUID, "done")
    assert study["images"] == 2 * len(files)
    assert Counter(ds.Modality for ds in pacs.objects) == {"SEG": 1, "SR": 2}
    (seg,) = pacs.of_modality("SEG")
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert [item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence] == [source.SeriesInstanceUID]
    assert (seg.Rows, seg.Columns) == (source.Rows, source.Columns)
    read = ct_pet_cases.read(folder_of(dicom_data, HELD_OUT), BUNDLE.card, decoders)
    wanted = np.empty(read.first.geometry.shape, np.uint8)
    Network(BUNDLE).segment([one.array for one in read.arrays], read.first.geometry.affine, wanted)
    assert np.array_equal(mask(seg, read.first.geometry, [1]), wanted), "the mask is the one of both channels"
    truth = ct_pet_cases.label_map(folder_of(dicom_data, HELD_OUT) / "PET" / "mask" / "RS.dcm", read.first, BUNDLE.card)
    assert dice(wanted == 1, truth == 1) > 0.5
    read.close()


# What comes alone, elsewhere, or in part

PET_GRID = scenes.grid((1, 0, 0), (0, 1, 0), (4, 4, 4))


def on(node: Node) -> Node:
    """The node with a route for this network, which a person has switched on."""
    node = dataclasses.replace(node, routes=(dataclasses.replace(node.routes[0], networks=(NAME,)),))
    installing.switch(node.networks, NAME, "ann", on=True)
    return node


def pet_ct(ct: scenes.Grid = PET_GRID, *, same_frame: bool = True) -> tuple[list[Dataset], list[Dataset]]:
    """A PET and a CT of one study."""
    both = scenes.images("PT", PET_GRID), scenes.images("CT", ct)
    for number, images in enumerate(both, 1):
        for ds in images:
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.3", f"1.2.3.{number}", number
            ds.FrameOfReferenceUID = "1.2.3.99" if same_frame else f"1.2.3.9{number}"
    return both


def test_a_demonstration_reads_nothing_until_a_person_switches_it_on(
    node: Node, threshold_hosts: ThresholdHosts
) -> None:
    node = dataclasses.replace(node, routes=(dataclasses.replace(node.routes[0], networks=(NAME,)),))
    pet, ct = pet_ct()
    take_in(node, pet + ct)
    work_off(node)
    assert only_study(node)["reason"] == f"network-aside: {NAME} is off"
    assert threshold_hosts.asked == 0
    shown = {one["network"]: one["on"] for one in catalogue.listing(node.networks)["networks"]}
    assert shown == {"ct_lungs": True, NAME: False, "pet_sarcoma": True}
    assert "reads the studies" in installing.switch(node.networks, NAME, "ann", on=True)
    assert NAME not in node.networks.switched_off(), "what a person has said holds from then on"
    node.networks.live(NAME)
    assert NAME not in node.networks.switched_off()


def test_it_can_be_switched_on_before_it_was_ever_seen(node: Node) -> None:
    assert "already" not in installing.switch(node.networks, NAME, "ann", on=True)
    node.networks.live(NAME)
    assert NAME not in node.networks.switched_off()


def test_a_pet_alone_is_refused_with_the_reason_and_read_when_its_ct_has_come(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    threshold_hosts.answer = lambda volume: (volume > 400).astype(np.uint8)
    node = on(node)
    pet, ct = pet_ct(scenes.grid((1, 0, 0), (0, 1, 0), (2, 2, 2), extent_mm=110))
    take_in(node, pet)
    work_off(node)
    study = only_study(node)
    assert study["state"] == "refused"
    assert study["reason"].startswith("channel-missing: ")
    assert "there is no ct to go with it" in study["reason"]
    assert not pacs.calls
    take_in(node, ct)
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    (seg,) = pacs.of_modality("SEG")
    assert [item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence] == ["1.2.3.1"]
    assert seg.pixel_array.sum() == (PET_GRID.labels() == 2).sum(), "on the PET's grid, not the CT's"


def test_a_ct_in_another_frame_of_reference_is_not_taken(node: Node, pacs: FakePacs) -> None:
    node = on(node)
    pet, ct = pet_ct(same_frame=False)
    take_in(node, pet + ct)
    work_off(node)
    assert only_study(node)["state"] == "refused"
    assert only_study(node)["reason"].startswith("channel-missing: ")
    assert "another frame of reference" in only_study(node)["reason"]
    assert not pacs.calls


def test_a_ct_of_a_part_of_the_pet_is_refused(node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> None:
    half = scenes.Grid(PET_GRID.affine, (PET_GRID.shape[0] // 2, *PET_GRID.shape[1:]))
    node = on(node)
    pet, ct = pet_ct(half)
    take_in(node, pet + ct)
    work_off(node)
    assert only_study(node)["state"] == "refused"
    (job,) = [one for one in jobs_of(node) if one["kind"] == "segment"]
    assert job["reason"].startswith("channel-does-not-cover: ct covers 50% of what the first channel shows")
    assert threshold_hosts.asked == 0
    assert not pacs.calls


# The question

SMALL = {"patch": [32, 32, 32], "batch_size": 2}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Two patients: a ball that both images show, by half each."""
    folder = tmp_path_factory.mktemp("cases")
    listed = []
    for number in range(2):
        centre = np.array([14, 12 + number * 4, 15])[:, None, None, None]
        ball = np.linalg.norm(np.indices((30, 30, 30)) - centre, axis=0) < 7
        arrays = {"pet": np.where(ball, 8, 1).astype(np.float32), "ct": np.where(ball, 60, -90).astype(np.float32)}
        name = {"patient": f"P{number}"}
        for key, array in (*arrays.items(), ("label", ball.astype(np.uint8))):
            name[key] = f"{number}_{key}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.diag([5, 5, 5, 1.0])), folder / name[key])
        listed.append(name)
    (folder / "dataset.json").write_text(json.dumps({"cases": listed}))
    return trials.cases_of(folder)


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda one: one.name)
def test_every_contender_learns_and_is_judged_through_the_nodes_own_inference(
    cases: list[Case], tmp_path: Path, contender: Contender
) -> None:
    paths = [{key: path for key, path in case.items() if key != "patient"} for case in cases]
    trained = train(BUNDLE.folder, paths, {**contender.all_changes, **SMALL}, 0.01, 1)
    assert trained.steps >= 1
    assert trained.parameters == pytest.approx(1_188_000 * (2 if contender is LATE else 1), rel=0.01)
    bundle = trial.bundle_of(BUNDLE.folder, tmp_path / NAME, trained.weights, contender.all_changes)
    found = trial.outcomes(bundle, cases)
    assert [one.patient for one in found] == ["P0", "P1"]
    assert all(0 <= one.dice <= 1 for one in found)


def test_a_contender_of_one_channel_does_not_see_the_other(cases: list[Case], tmp_path: Path) -> None:
    paths = [{key: path for key, path in case.items() if key != "patient"} for case in cases]
    trained = train(BUNDLE.folder, paths, {**PET.all_changes, **SMALL}, 1.0, 1)
    bundle = trial.bundle_of(BUNDLE.folder, tmp_path / NAME, trained.weights, PET.all_changes)
    (suv, hu), _, affine = trial.read(cases[0], ["pet", "ct"])
    first, other = (np.empty(suv.shape, np.uint8) for _ in range(2))
    network = Network(bundle)
    network.segment([suv, hu], affine, first)
    network.segment([suv, np.random.default_rng(3).normal(0, 500, hu.shape).astype(np.float32)], affine, other)
    assert first.any() and np.array_equal(first, other)


def test_every_patient_is_judged_once_in_each_repeat_by_networks_that_have_not_seen_it() -> None:
    named = [{"patient": f"STS_{n:03}"} for n in (2, 3, 8, 12, 15, 18, 19, 24, 25, 32)]
    folds = [contenders.fold(named, number) for number in range(2 * contenders.FOLDS)]
    for repeat in (folds[: contenders.FOLDS], folds[contenders.FOLDS :]):
        assert sorted(one["patient"] for _, judged in repeat for one in judged) == [one["patient"] for one in named]
    for seen, judged in folds:
        assert not {one["patient"] for one in seen} & {one["patient"] for one in judged}
        assert len(seen) + len(judged) == len(named)
    assert [judged for _, judged in folds[: contenders.FOLDS]] != [judged for _, judged in folds[contenders.FOLDS :]]


def made_trials(of_both: list[float], alone: list[float]) -> list[trials.Trial]:
    found = []
    for name, dices in ((PET.name, alone), (BOTH.name, of_both)):
        for number in range(contenders.FOLDS):
            outcomes = (trial.Outcome(f"P{number}", dices[number], 100.0, 90.0, 0.2, 3.0),)
            found.append(trials.Trial(name, number, 60, 60, 61, 120, 1234, 0.5, outcomes))
    return [trials.Trial.of_line(one.line()) for one in found]


def test_the_page_says_yes_no_or_that_nothing_was_shown() -> None:
    alone = [0.7, 0.6, 0.66, 0.4, 0.55]
    plain = {"Threshold": [trial.Outcome(f"P{n}", 0.5, 100.0, 90.0, 0.0, 4.0) for n in range(5)]}
    better = made_trials([one + 0.1 + n / 1000 for n, one in enumerate(alone)], alone)
    text = page.page(better, plain, "fusion.svg")
    assert "**On these patients it helps: mean difference in Dice +0.102 (" in text
    assert "better in 5 of 5 patients" in text
    assert "| P3 | 100 | 0.40, 3.0 | 0.50, 3.0 | 0.50, 4.0 |" in text
    worse = page.page(made_trials([one - 0.1 - n / 1000 for n, one in enumerate(alone)], alone), plain, "")
    assert "**On these patients it does harm: mean difference in Dice -0.102" in worse
    noisy = made_trials([one + (-1) ** n / 10 for n, one in enumerate(alone)], alone)
    assert "**These patients do not show that it helps: " in page.page(noisy, plain, "")
    assert plot("a", page.rows_of(noisy, plain)).count("<circle") == 3 * 5


def test_a_patient_judged_twice_counts_once() -> None:
    once = made_trials([0.6] * 5, [0.5] * 5)
    again = [dataclasses.replace(one, fold=one.fold + contenders.FOLDS) for one in made_trials([0.8] * 5, [0.5] * 5)]
    rows = page.rows_of([*once, *again], {})
    assert figures.figures(rows[BOTH.name]).patients == 5
    assert [one.dice for one in rows[BOTH.name]] == pytest.approx([0.7] * 5)
    assert "2 times with other folds and seeds" in page.page([*once, *again], {}, "")
