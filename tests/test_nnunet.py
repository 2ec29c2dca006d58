"""nnU-Net's results folders: converted when they are brought, and the same label maps as nnU-Net's own."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from models import card, client
from models.card import Bundle, CardError
from models.incoming import nnunet, unpacked
from models.network import Network
from models.nnunet.inferer import starts
from models.nnunet.plans import trainer_is_known
from models.nnunet.resampling import How, thick_axis
from models.wire import SharedArray
from node.app import Node
from node.errors import Refused
from node.hosts import Hosts
from node.operations import installing
from tests.mini_bundle import CARD
from tests.nnunet_results import TUMOUR, Results, image, make
from tests.nnunet_stock import CASES, KEPT, stock
from tests.nurseries import SHARED

#: another processor's sums may round a voxel on the border to its other side
MOST_DIFFERENT = 0.001


def sealed(root: Path, orientation: str = nnunet.ACQUIRED) -> Bundle:
    """The bundle of a results folder, with a card."""
    made = nnunet.bundle(root, orientation)
    said = json.loads((made / "configs" / "metadata.json").read_text())["network_data_format"]
    channels = list(said["inputs"]["image"]["channel_def"].values())
    where = f'config = "configs/inference.json"\nweights = "{nnunet.WEIGHTS}"'
    text = CARD.split("[[input]]", maxsplit=1)[0].format(name="organs", title="Organs", more=where)
    for name in channels if len(channels) > 1 else ["image"]:
        text += f'[[input]]\nchannel = "{name}"\nmodality = ["CT"]\n'
    for value, label in said["outputs"]["pred"]["channel_def"].items():
        if value != "0":
            text += f'[[segment]]\nvalue = {value}\nlabel = "{label}"\ncolour = [1, 2, 3]\n'
            text += 'category = ["123037004", "SCT", "Anatomical Structure"]\ntype = ["39607008", "SCT", "Lung"]\n'
    (made / card.FILE).write_text(text + "\n[files]\n")
    card.seal(made)
    return card.read(made)


def straight(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    affine = np.diag([*spacing_mm[::-1], 1.0])
    affine[:3, 3] = (-40, 12, 800)
    return affine


def segmented(bundle: Bundle, channels: list[NDArray[np.float32]], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    out = np.zeros(channels[0].shape, np.uint8)
    Network(bundle).segment(channels, affine, out)
    return out


@pytest.mark.parametrize("name", CASES)
def test_the_label_map_is_the_one_that_nnunet_makes(name: str, tmp_path: Path) -> None:
    results, shape, spacing_mm = CASES[name]
    wanted = np.load(KEPT)[name]
    assert len(np.unique(wanted)) > 2, "a case that tells nothing"
    root = make(tmp_path, results)
    found = segmented(sealed(root), image(shape, len(results.channels)), straight(spacing_mm))
    assert np.count_nonzero(found != wanted) <= MOST_DIFFERENT * wanted.size


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nnunetv2") is None, reason="nnunetv2 is not installed; `pip install nnunetv2`")
@pytest.mark.parametrize("name", CASES)
def test_nnunet_itself_still_makes_the_label_maps_that_are_kept(name: str, tmp_path: Path) -> None:
    results, shape, spacing_mm = CASES[name]
    found = stock(make(tmp_path, results), image(shape, len(results.channels)), spacing_mm)
    assert np.count_nonzero(found != np.load(KEPT)[name]) <= MOST_DIFFERENT * found.size


def test_the_scanner_s_order_of_slices_and_rows_does_not_matter_where_the_training_s_is_said(tmp_path: Path) -> None:
    results = Results(mirror_axes=None)
    (channel,) = image((20, 24, 26), 1)
    affine = straight((2.0, 1.5, 1.5))
    bundle = sealed(make(tmp_path, results), "LPS")
    wanted = segmented(bundle, [channel], affine)
    assert np.unique(wanted).size > 2
    # the same patient as a sagittal series, the last slice first: (slices, rows, columns) are (-x, z, y) of before
    sagittal = np.ascontiguousarray(channel.transpose(2, 0, 1)[::-1])
    to_axial = np.array([[0, 0, -1, 25], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], float)
    found = segmented(bundle, [sagittal], affine @ to_axial)
    np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1)[::-1])
    other = segmented(sealed(make(tmp_path / "other", results), "RAS"), [channel], affine)
    assert (other != wanted).mean() > 0.01


def test_it_is_brought_installed_and_runs_in_a_model_host(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = make(tmp_path / "elsewhere", Results(mirror_axes=None))
    with pytest.raises(Refused, match="Say so with --orientation"):
        installing.add(node.networks, root, "ann")
    first = installing.add(node.networks, root, "ann", orientation="LPS")
    assert first.draft == Path("Dataset042_Organs.toml")
    assert first.program.targets == () and first.program.pickles == ()
    text = first.draft.read_text()
    assert 'label = "left kidney"' in text and 'type = ["64033007", "SCT", "Kidney"]' in text
    for line in first.questions:
        asked = line.split(": ", 1)[1]
        text = text.replace(asked, asked.split(" = ")[0] + ' = "CC0"')
    first.draft.write_text(text)
    done = installing.add(node.networks, root, "ann", first.draft, orientation="LPS")
    assert done.questions == ()
    _, bundle = node.networks.live(done.name)
    assert not list(bundle.folder.rglob("*.pth"))
    assert {"docs/plans.json", "docs/dataset.json", nnunet.WEIGHTS} <= set(bundle.card.files)
    channels, affine = image((12, 24, 26), 1), straight((2.0, 1.5, 1.5))
    wanted = segmented(bundle, channels, affine)
    sockets = tmp_path / "s"
    sockets.mkdir()
    hosts = Hosts(sockets, "cpu", nursery=SHARED)
    shared = SharedArray.of(channels[0])
    try:
        address = hosts.address(str(bundle.folder), bundle.card_sha256)
        answer = client.segment(address, [shared], affine, limit_seconds=120)
    finally:
        shared.close()
        hosts.stop()
    np.testing.assert_array_equal(answer.labels, wanted)


def test_all_that_is_done_stands_in_the_bundle(tmp_path: Path) -> None:
    made = nnunet.bundle(make(tmp_path, Results(folds=("0", "3", "all"), reader="NibabelIOWithReorient")), "")
    config = json.loads((made / "configs" / "inference.json").read_text())
    prepared = config["preprocessing"]["transforms"][1]
    assert prepared["orientation"] == "RAS"
    assert prepared["normalisation"][0]["percentile_00_5"] == -300.0
    assert config["inferer"]["mirror_axes"] == [0, 1, 2]
    assert config["network_def"]["count"] == 2  # as nnU-Net: fold_all only where there is no other
    names = load_file(made / nnunet.WEIGHTS)
    assert not any("all_modules" in name or "decoder.encoder" in name for name in names)
    said = json.loads((made / "configs" / "metadata.json").read_text())["network_data_format"]
    assert said["outputs"]["pred"]["channel_def"]["3"] == "left kidney"
    assert said["inputs"]["image"]["modality"] == "CT"


def test_a_region_s_value_is_called_by_what_is_left_of_it(tmp_path: Path) -> None:
    results = Results(labels=dict(TUMOUR), regions=(1, 2, 3), channels=("T1",))
    made = nnunet.bundle(make(tmp_path, results), "LPS")
    said = json.loads((made / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert said["channel_def"] == {
        "0": "background", "1": "whole tumour without core, enhancing", "2": "core without enhancing", "3": "enhancing"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (Results(more={"previous_stage": "3d_lowres"}), "second stage of a cascade"),
        (Results(more={"preprocessor_name": "Mine"}), "its preprocessor is Mine"),
        (Results(more={"resampling_fn_probabilities": "resample_torch_fornnunet"}), "its resampling is resample_torch"),
        (Results(more={"normalization_schemes": ["RGBTo01Normalization"]}), "its normalisation is RGBTo01"),
        (Results(trainer="nnUNetTrainerUMambaBot"), "only its code says what it builds"),
        (Results(reader="NaturalImage2DIO"), "its image reader is NaturalImage2DIO"),
        (Results(labels={"background": 0, "a": 1, "b": 3}), "its labels are not 1 to 2"),
        (Results(labels=dict(TUMOUR)), "regions_class_order does not name"),
        (Results(more={"spacing": [1.0, -1.0, 1.0]}), "greater than 0"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_would_be_another_label_map_is_refused_by_name(results: Results, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CardError, match=sentence):
        nnunet.bundle(make(tmp_path, results), "LPS")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_nothing_of_a_checkpoint_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = make(tmp_path, Results())
    file = root / "fold_0" / "checkpoint_final.pth"
    good = torch.load(file, weights_only=False)
    torch.save(good | {"logging": Evil()}, file)
    with pytest.raises(CardError, match="reading it would run what it holds"):
        nnunet.bundle(root, "LPS")
    assert not Path("ran").exists()
    file.write_bytes(pickle.dumps({"network_weights": {}}))
    with pytest.raises(CardError, match=r"fold_0/checkpoint_final\.pth"):
        nnunet.bundle(root, "LPS")


@pytest.mark.parametrize("change", ["other", "missing", "twice", "shape"])
def test_weights_of_another_network_are_refused(change: str, tmp_path: Path) -> None:
    root = make(tmp_path, Results())
    file = root / "fold_0" / "checkpoint_final.pth"
    found = torch.load(file, weights_only=False)
    weights = found["network_weights"]
    name = "encoder.stages.0.0.convs.0.conv.weight"
    if change == "other":
        weights["encoder.stages.9.weight"] = torch.zeros(1)
    elif change == "missing":
        del weights[name]
    elif change == "twice":
        weights[f"decoder.{name}"] = torch.zeros_like(weights[name])
    else:
        for each in (name, f"decoder.{name}"):
            weights[each] = weights[each][:4]
        for each in (name, f"decoder.{name}"):
            weights[each.replace(".conv.", ".all_modules.0.")] = weights[name]
    torch.save(found, file)
    with pytest.raises(CardError, match=r"planned network|whose other name it is"):
        nnunet.bundle(root, "LPS")


def test_of_several_configurations_a_person_has_to_name_one(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a", Results())
    other = make(tmp_path / "b", Results(configuration="2d", patch=(32, 24), spacing_mm=(1.5, 1.5), mirror_axes=(0,)))
    data_set = tmp_path / "a" / "Dataset042_Organs"
    other.rename(data_set / other.name)
    with pytest.raises(Refused, match=r"holds 2 results of nnU-Net: nnUNetTrainer__nnUNetPlans__2d, .*3d_fullres"):
        installing.add(node.networks, data_set, "ann", orientation="LPS")
    with unpacked.unpacked(data_set / other.name, tmp_path / "aside") as folder:
        assert nnunet.chosen(folder) == folder
    (data_set / other.name / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(Refused, match="the training did not end"):
        installing.add(node.networks, data_set / other.name, "ann", orientation="LPS")


def test_rules_that_decide_between_grids_are_nnunet_s() -> None:
    assert starts(110, 64) == [0, 23, 46] and starts(64, 64) == [0]
    assert thick_axis((5.0, 1.0, 1.0), (5.0, 1.0, 1.0), How()) == 0
    assert thick_axis((1.0, 1.0, 1.0), (1.0, 4.0, 1.0), How()) == 1
    assert thick_axis((0.24, 1.25, 1.25), (1.0, 1.0, 1.0), How()) is None
    assert thick_axis((5.0, 1.0, 1.0), (5.0, 1.0, 1.0), How(force_separate_z=False)) is None
    assert trainer_is_known("nnUNetTrainer_4000epochs_NoMirroring")
    assert not trainer_is_known("nnUNetTrainerBN") and not trainer_is_known("nnUNet_Primus_S_Trainer")
    assert replace(How(), order=1).order_z == 0
