"""Training: a bundle's own train.json in a process of its own, interrupted, resumed, refused, partly annotated."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, list_data_collate
from monai.networks.nets import UNet
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from models import card
from models.training import transfer
from models.training.__main__ import main
from models.training.batches import Batches
from models.training.cases import Loadd
from models.training.cases import read as read_case
from models.training.flips import ExchangingFlipd
from models.training.mirroring import exchange_in_flips
from models.training.run import Untrainable
from tests import in_process
from tests import tiny_training_bundle as tiny
from tests.conftest import find_program
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
RANDOM = [
    {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.5, "std": 0.1},
    {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 2},
]
FLIP = {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0}


@pytest.fixture(autouse=True)
def _the_process_as_it_was() -> Iterator[None]:
    with in_process.kept():
        yield


@dataclass(frozen=True)
class Shop:
    """A bundle and its cases.

    Attributes:
        cases: four to train with, two to validate.
    """

    folder: Path
    bundle: Path
    cases: tuple[Path, ...]

    def run(self, name: str = "run", bundle: Path | None = None, **more: Any) -> Path:
        train = more.pop("train", self.cases[:4])
        validation = more.pop("validation", self.cases[4:])
        return tiny.run(self.folder / name, bundle or self.bundle, train, validation, **more)

    def other(self, name: str, **more: Any) -> Path:
        return tiny.make(self.folder / name, **more)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    cases = tuple(tiny.case(tmp_path, number) for number in range(6))
    return Shop(tmp_path, tiny.make(tmp_path / "balls", random=RANDOM), cases)


def done(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "done.json").read_text()))


def trained(run: Path) -> dict[str, Any]:
    assert main([str(run)]) == 0
    return done(run)


def lines(run: Path, steps: bool = False) -> list[dict[str, Any]]:
    said = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
    return [line for line in said if ("step" in line) is steps]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(run / "candidate.pt", weights_only=True))


def start(run: Path, *before: str, after: Sequence[str] = (), **more: Any) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-P", "-m", "models.training", str(run), *after]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=run, env=env, stderr=subprocess.PIPE, text=True, **more)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def test_a_bundle_is_trained_by_its_own_recipe_and_opens_nothing_else(shop: Shop) -> None:
    """Its opened files are traced: of the folder that holds cases and run, only those it was given are opened."""
    strace = find_program("strace", "apt-get install strace")
    locked = tiny.case(shop.folder, 77, share="locked")
    bystander = tiny.case(shop.folder, 78)
    shop.bundle.joinpath("configs", "metadata.json").write_text('{"version": "0.1"}')
    card.seal(shop.bundle)
    run = shop.run(max_epochs=20)
    trace = shop.folder / "trace"
    code, said = ended(
        start(run, strace, "-f", "--seccomp-bpf", "-qq", "-e", "trace=open,openat,openat2,creat", "-o", str(trace))
    )
    assert (code, said) == (0, "")

    opened = {line.split('"')[1] for line in trace.read_text(errors="replace").splitlines() if '"' in line}
    given = [*shop.cases, run, shop.bundle]
    ours = {Path(name) for name in opened if name.startswith(str(shop.folder))}
    assert {case / "label.npy" for case in shop.cases} <= ours
    assert [file for file in ours if not any(file.is_relative_to(one) for one in given)] == []
    assert not any(str(hidden) in name for hidden in (locked, bystander) for name in opened)

    told = done(run)
    assert (told["epochs"], told["steps"], told["why_ended"], told["left_out"]) == (20, 40, "max_epochs", [])
    assert told["best_dice"] > 0.7
    assert (
        told["versions"]["torch"] == torch.__version__.split("+")[0] or torch.__version__ == told["versions"]["torch"]
    )
    epochs = lines(run)
    assert [line["epoch"] for line in epochs] == list(range(1, 21))
    assert [line["dice"] is not None for line in epochs] == [number % 2 == 0 for number in range(1, 21)]
    assert epochs[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)  # its schedule knows how many epochs there are
    assert max(line["dice"] for line in epochs if line["dice"]) == told["best_dice"]
    assert epochs[-1]["loss"] < epochs[0]["loss"] / 2
    UNet(**tiny.NETWORK).load_state_dict(weights(run), strict=True)
    assert list((run / "runs").glob("events.out.tfevents.*"))
    card.verify(card.read(shop.bundle))  # nothing was written into the bundle
    assert sorted(file.name for file in run.iterdir()) == [
        "candidate.pt",
        "done.json",
        "lock",
        "progress.jsonl",
        "run.json",
        "runs",
    ]


@pytest.mark.slow
def test_asked_to_leave_and_killed_it_ends_as_if_nobody_had_interrupted(shop: Shop) -> None:
    """SIGTERM in one start, kill -9 in the next, a third to the end: the weights are those of one go, bit by bit."""
    bundle = shop.other("slow", random=RANDOM, change={"train#dataloader#batch_size": 1, "network_def#dropout": 0.2})
    more = {"bundle": bundle, "max_epochs": 20, "checkpoint_seconds": 0.5}
    whole = trained(shop.run("whole", **more))

    run = shop.run("cut", **more)

    def has_done(epochs: int) -> bool:
        return (run / "progress.jsonl").is_file() and len(lines(run)) >= epochs

    ours, its = os.pipe()  # closing our end makes it send SIGTERM to itself
    first = start(run, after=["--lifeline", str(ours)], pass_fds=[ours])
    wait_until("three epochs are done", lambda: has_done(3), 120)
    os.close(its)
    code, sentence = ended(first)
    os.close(ours)
    assert (code, sentence) == (75, "training: training was asked to leave; its state is saved\n")
    at = torch.load(run / "checkpoint.pt", weights_only=True)["standing"]["steps"]
    assert 12 <= at < 80
    assert not (run / "done.json").exists()

    second = start(run)
    reached = len(lines(run)) + 4
    wait_until("some more epochs are done", lambda: has_done(reached), 120)
    second.send_signal(signal.SIGKILL)
    assert ended(second)[0] == -signal.SIGKILL
    assert torch.load(run / "checkpoint.pt", weights_only=True)["standing"]["steps"] > at

    cut = trained(run)
    assert cut["steps"] == whole["steps"] == 80
    assert cut["best_dice"] == whole["best_dice"]
    assert cut["best_epoch"] == whole["best_epoch"]
    one, other = weights(shop.folder / "whole"), weights(run)
    assert all(torch.equal(one[name], other[name]) for name in one)
    kept = [{key: line[key] for key in line if key != "seconds"} for line in lines(run)]
    assert kept == [{k: line[k] for k in line if k != "seconds"} for line in lines(shop.folder / "whole")]


def test_asked_to_leave_during_a_validation_it_goes_on_from_the_step_before(shop: Shop) -> None:
    """The bundle itself sends SIGTERM, once, when the first validation case is read."""
    validating = [
        {"_target_": "LoadImaged", "keys": ["image", "label"], "ensure_channel_first": True},
        {"_target_": "Lambdad", "keys": "image", "func": "$@leave"},
    ]
    leave = "$lambda x, p={path}: (x, p.exists() or (p.touch(), os.kill(os.getpid(), 15)))[0]"
    mark = shop.folder / "asked"
    mark.touch()
    change = {
        "imports": ["$import os", "$import torch", "$import monai", "$from pathlib import Path"],
        "leave": leave.format(path=f"Path('{mark}')"),
        "validate#preprocessing#transforms": validating,
    }
    bundle = shop.other("leaving", change=change)
    whole = trained(shop.run("whole", bundle=bundle, max_epochs=3))
    mark.unlink()
    run = shop.run("cut", bundle=bundle, max_epochs=3)
    assert main([str(run)]) == 75
    assert torch.load(run / "checkpoint.pt", weights_only=True)["standing"]["steps"] == 3
    cut = trained(run)
    assert cut["best_dice"] == whole["best_dice"]
    assert all(torch.equal(value, weights(shop.folder / "whole")[name]) for name, value in weights(run).items())


def test_where_another_process_trains_nothing_is_done(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    run = shop.run()
    with (run / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert main([str(run)]) == 75
    assert "another process trains here" in capsys.readouterr().err
    assert not (run / "progress.jsonl").exists()


def test_a_run_that_is_done_is_not_done_again(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    run = shop.run(max_epochs=1)
    trained(run)
    before = (run / "candidate.pt").stat().st_mtime_ns
    trained(run)
    assert (run / "candidate.pt").stat().st_mtime_ns == before
    (run / "run.json").write_text((run / "run.json").read_text().replace('"seed": 7', '"seed": 8'))
    assert main([str(run)]) == 3
    assert "done.json: is of another run" in capsys.readouterr().err


def test_it_ends_when_validation_gains_nothing_any_more(shop: Shop) -> None:
    still = shop.other("still", learning_rate=0.0)
    told = trained(shop.run(bundle=still, max_epochs=40, early_stop=3))
    assert (told["why_ended"], told["epochs"], told["best_epoch"]) == ("early_stop", 8, 2)


def test_it_ends_when_its_minutes_are_over_and_validates_what_it_has(shop: Shop) -> None:
    told = trained(shop.run(max_epochs=100000, max_minutes=0.02))
    assert told["why_ended"] == "max_minutes"
    assert told["best_dice"] is not None
    assert told["steps"] < 1000


def test_without_validation_cases_the_last_weights_are_the_candidate(shop: Shop) -> None:
    told = trained(shop.run(validation=(), max_epochs=2))
    assert told["best_dice"] is None
    assert "nothing was validated: the candidate has the last weights" in told["notes"]
    assert [line["dice"] for line in lines(shop.folder / "run")] == [None, None]


def test_a_loss_that_is_no_number_ends_it(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    wild = shop.other("wild", learning_rate=1e30)
    run = shop.run(bundle=wild)
    assert main([str(run)]) == 4
    assert "the loss is nan at step" in capsys.readouterr().err
    assert not (run / "candidate.pt").exists()


def test_mlflow_is_said_to_be_missing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere")
    assert "MLFLOW_TRACKING_URI is set, but mlflow is not installed" in trained(shop.run(max_epochs=1))["notes"]


def refused(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(run)]) == 3
    assert not (run / "candidate.pt").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train#trainer#loss_function": None}, "train.json has no train#trainer#loss_function"),
        ({"train#dataset": {"_target_": "x"}}, "train.json has no train#dataset#data"),
        ({"validate#evaluator": None}, "train.json has no validate#evaluator"),
        ({"train#deterministic_transforms": []}, "train.json has no LoadImaged"),
        ({"train#dataloader#drop_last": True, "train#dataloader#batch_size": 9}, "4 cases do not fill one batch"),
        ({"train#deterministic_transforms#0#keys": ["image", "label", "vein"]}, "train.json reads 'vein'"),
    ],
)
def test_what_is_missing_in_a_recipe_is_named(
    shop: Shop, capsys: pytest.CaptureFixture[str], change: dict[str, Any], sentence: str
) -> None:
    steps = change.pop("train#deterministic_transforms#0#keys", None)
    if steps:
        change["train#deterministic_transforms"] = [{"_target_": "LoadImaged", "keys": steps}]
    assert sentence in refused(shop.run(bundle=shop.other("other", change=change)), capsys)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"card_sha256": "0" * 64}, "the card has changed"),
        ({"extra": 1}, "run.json: extra: Extra inputs are not permitted"),
        ({"exchange": [[1, 3]]}, "exchange: each value of a pair is one of the classes"),
        ({"transfer": True}, "there are no start weights"),
        ({"train": []}, "run.json: train"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(
    shop: Shop, capsys: pytest.CaptureFixture[str], more: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(shop.run(**more), capsys)


def test_colour_comes_to_the_network_as_it_does_in_inference(shop: Shop) -> None:
    """As three channels in front, whether or not the bundle asks for a channel axis when it loads."""
    for folder in shop.cases:
        grey = np.load(folder / "channel_0.npy")
        np.save(folder / "channel_0.npy", np.stack([grey, 0 * grey, -grey], -1))
    case = read_case(shop.cases[0], ["image"])
    for first in (False, True):
        loaded = Loadd(["image"], channel_first=first)(case.item((1, 2)))["image"]
        assert loaded.shape == (3, tiny.SIDE, tiny.SIDE, tiny.SIDE)
        assert torch.equal(loaded[0], -loaded[2])
        assert loaded.meta["original_channel_dim"] == 0
    bundle = shop.other("colour", change={"network_def#in_channels": 3})
    assert trained(shop.run("in_colour", bundle, max_epochs=2))["epochs"] == 2
    np.save(shop.cases[0] / "channel_0.npy", np.zeros((tiny.SIDE,) * 3 + (4,), np.float32))
    with pytest.raises(Untrainable, match="not volumes on one grid"):
        read_case(shop.cases[0], ["image"])


def test_a_bundle_that_was_changed_is_not_even_parsed(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    run, mark = shop.run(), shop.folder / "parsed"
    (shop.bundle / "configs" / "train.json").write_text(json.dumps({"imports": [f"$open({str(mark)!r}, 'w')"]}))
    assert "is not the file that planimeter.toml lists" in refused(run, capsys)
    assert not mark.exists()
    (shop.bundle / "configs" / "train.json").unlink()
    assert "listed in planimeter.toml but not there" in refused(run, capsys)
    card.seal(shop.bundle)
    assert "has no configs/train.json" in refused(shop.run("sealed"), capsys)


def test_cases_that_prove_nothing_are_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    again = tiny.case(shop.folder, 50, patient="patient000")
    assert "1 patients are in the training and in the validation" in refused(shop.run("a", validation=[again]), capsys)
    assert "a case is listed twice" in refused(shop.run("b", train=[shop.cases[0]] * 2), capsys)
    label = np.load(again / "label.npy")
    np.save(again / "label.npy", np.where(label == 2, 9, label).astype(np.uint8))
    strange = refused(shop.run("c", train=[again, *shop.cases[1:3]]), capsys)
    assert "has label values that are not annotated classes: [9]" in strange
    np.save(again / "label.npy", label[:-1])
    assert "not volumes on one grid" in refused(shop.run("d", train=[again]), capsys)
    (again / "label.npy").unlink()
    assert "is not a case" in refused(shop.run("e", train=[again]), capsys)


def test_a_checkpoint_of_another_run_is_not_gone_on_with(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    run = shop.run(max_epochs=1)
    torch.save({"identity": "another"}, run / "checkpoint.pt")
    assert "is of another run" in refused(run, capsys)
    (run / "checkpoint.pt").write_bytes(b"cut off")
    assert "checkpoint.pt: cannot be read" in refused(run, capsys)


def partly(shop: Shop, numbers: Sequence[int]) -> list[Path]:
    return [tiny.case(shop.folder, number, annotated=(1,)) for number in numbers]


def test_partly_annotated_cases_leave_the_other_class_no_worse(shop: Shop) -> None:
    """Two complete cases alone, with six that lack class 2, and the same six with class 2 said to be absent."""
    plain = shop.other("plain")
    complete = shop.cases[:2]
    lacking = partly(shop, range(20, 26))
    alone = trained(shop.run("alone", bundle=plain, train=complete, max_epochs=40))
    more = trained(shop.run("more", bundle=plain, train=[*complete, *lacking], max_epochs=10))
    assert more["partly_annotated"] == [case.name for case in lacking]
    wrong = [tiny.case(shop.folder / "wrong", number, annotated=(1,)) for number in range(20, 26)]
    for folder in wrong:
        said = json.loads((folder / "case.json").read_text())
        (folder / "case.json").write_text(json.dumps(said | {"annotated": [1, 2]}))
    absent = trained(shop.run("absent", bundle=plain, train=[*complete, *wrong], max_epochs=10))

    def second(name: str, best: dict[str, Any]) -> float:
        (line,) = [one for one in lines(shop.folder / name) if one["epoch"] == best["best_epoch"]]
        return float(line["dice_per_class"].get("2", 0.0))

    assert second("more", more) >= second("alone", alone) - 0.02
    assert second("absent", absent) < second("more", more) - 0.1


def test_where_the_loss_is_of_another_kind_they_are_left_out_and_listed(shop: Shop) -> None:
    masked = shop.other(
        "masked", loss={"_target_": "monai.losses.MaskedDiceLoss", "to_onehot_y": True, "softmax": True}
    )
    (lacking,) = partly(shop, [20])
    nothing = tiny.case(shop.folder, 21, annotated=())
    told = trained(shop.run(bundle=masked, train=[*shop.cases[:4], lacking, nothing], max_epochs=1))
    assert (told["trained_cases"], told["partly_annotated"]) == (4, [])
    assert [one["case"] for one in told["left_out"]] == [lacking.name, nothing.name]
    assert [one["why"] for one in told["left_out"]] == [
        "the classes [2] are not annotated, and the bundle's loss cannot be told",
        "none of the network's classes is annotated",
    ]


def test_transforms_that_lose_what_is_annotated_are_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    select = {"_target_": "SelectItemsd", "keys": ["image", "label"]}
    run = shop.run(bundle=shop.other("select", random=[select]), train=[*shop.cases[:3], *partly(shop, [20])])
    assert "drop what they do not know" in refused(run, capsys)


def test_a_partly_annotated_validation_case_counts_with_what_it_has(shop: Shop) -> None:
    trained(shop.run(validation=partly(shop, [20, 21]), max_epochs=2))
    assert list(lines(shop.folder / "run")[-1]["dice_per_class"]) == ["1"]


def test_layers_are_transferred_held_and_let_go(shop: Shop) -> None:
    """From a network with one more class and another width at the bottom; two epochs held, one released."""
    wider = shop.other("wider", channels=(8, 12), change={"network_def#out_channels": 4})
    source = torch.load(wider / "models" / "model.pt", weights_only=True)
    start_from = UNet(**(tiny.NETWORK | {"channels": [8, 12]})).state_dict()
    torch.save({"state_dict": start_from}, shop.folder / "start.pt")
    assert source.keys() == start_from.keys()
    more: dict[str, Any] = {"start": str(shop.folder / "start.pt"), "transfer": True, "validation": ()}
    held = trained(shop.run("held", max_epochs=2, freeze_epochs=2, **more))
    free = trained(shop.run("free", max_epochs=3, freeze_epochs=2, **more))
    own = UNet(**tiny.NETWORK).state_dict()
    assert held["transfer"] == free["transfer"]
    assert set(held["transfer"]["taken"]) == {name for name in own if own[name].shape == start_from[name].shape}
    assert set(held["transfer"]["not_fitting"]) == own.keys() - set(held["transfer"]["taken"])
    assert held["transfer"]["not_fitting"]
    one, other = weights(shop.folder / "held"), weights(shop.folder / "free")
    taken = [name for name in held["transfer"]["taken"] if one[name].numel() > 1]
    assert all(torch.equal(one[name], start_from[name]) for name in taken)
    assert any(not torch.equal(other[name], start_from[name]) for name in taken)


def test_start_weights_that_do_not_fit_are_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    other = UNet(**(tiny.NETWORK | {"channels": [8, 12]})).state_dict()
    torch.save(other, shop.folder / "other.pt")
    save_file({"nothing.weight": torch.zeros(2)}, shop.folder / "nothing.safetensors")
    assert "do not fit the network" in refused(shop.run("a", start=str(shop.folder / "other.pt")), capsys)
    nothing = str(shop.folder / "nothing.safetensors")
    assert "nothing to transfer" in refused(shop.run("b", start=nothing, transfer=True), capsys)
    (shop.folder / "broken.pt").write_bytes(b"")
    assert "cannot be read as weights" in refused(shop.run("c", start=str(shop.folder / "broken.pt")), capsys)


def test_frozen_normalisations_keep_their_means() -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2))
    names = set(network.state_dict())
    before = network[1].running_mean.clone()
    transfer.hold(network, names, held=True)
    network.train()(torch.randn(2, 1, 4, 4, 4))
    assert torch.equal(network[1].running_mean, before)
    transfer.hold(network, names, held=False)
    network.train()(torch.randn(2, 1, 4, 4, 4))
    assert not torch.equal(network[1].running_mean, before)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_plain_flips_ruin_a_network_of_left_and_right_and_are_replaced(shop: Shop) -> None:
    """Two balls that differ by their side alone. The same bundle: once told that 1 and 2 are a pair, once not."""
    alike = [tiny.case(shop.folder / "alike", number, alike=True) for number in range(8)]
    sides = shop.other("sides", random=[FLIP], channels=(8, 16, 16))
    more: dict[str, Any] = {"bundle": sides, "train": alike[:6], "validation": alike[6:], "max_epochs": 12}
    ours = trained(shop.run("ours", exchange=[[1, 2]], **more))
    plain = trained(shop.run("plain", **more))
    assert ours["best_dice"] > 0.8
    assert plain["best_dice"] < ours["best_dice"] - 0.2
    assert plain["notes"] == []
    assert ours["notes"] == [
        "train#random_transforms#0: RandFlipd: a flip along left-right exchanges the values [[1, 2]]"
    ]


def replaced(flip: dict[str, Any], axes: Sequence[int] = (0,), codes: str | None = "RAS") -> tuple[Any, list[str]]:
    orient = [{"_target_": "Orientationd", "keys": "image", "axcodes": codes}] if codes else []
    parser = ConfigParser({"transforms": [*orient, {"keys": ["image", "label"], "prob": 0.3, **flip}]})
    notes = exchange_in_flips(parser, [(1, 2)], axes)
    return parser.get("transforms")[-1], notes


@pytest.mark.parametrize(
    ("flip", "more", "axes"),
    [
        ({"_target_": "RandFlipd"}, {}, None),
        ({"_target_": "monai.transforms.RandFlipD", "spatial_axis": [0, 1]}, {}, [0, 1]),
        ({"_target_": "RandFlipd", "spatial_axis": 2}, {"codes": "ASR"}, [2]),
        ({"_target_": "RandFlipDict", "spatial_axis": -1}, {"axes": (2, 2), "codes": None}, [-1]),
        ({"_target_": "RandAxisFlipd"}, {}, None),
        ({"_target_": "RandRotate90d"}, {}, [0, 1]),
    ],
)
def test_flips_along_left_right_are_found_whatever_they_are_called(
    flip: dict[str, Any], more: dict[str, Any], axes: list[int] | None
) -> None:
    node, notes = replaced(flip, **more)
    assert node["_target_"] == "models.training.flips.ExchangingFlipd"
    assert (node["spatial_axis"], node["prob"], node["pairs"]) == (axes, 0.3, [[1, 2]])
    assert node["one_axis"] is flip["_target_"].startswith("RandAxisFlip")
    assert len(notes) == 1


@pytest.mark.parametrize(
    "flip",
    [
        {"_target_": "RandFlipd", "spatial_axis": 1},
        {"_target_": "RandRotate90d", "spatial_axes": [1, 2], "max_k": 1},
        {"_target_": "RandGaussianNoised"},
    ],
)
def test_what_leaves_left_and_right_alone_is_left_alone(flip: dict[str, Any]) -> None:
    assert replaced(flip) == ({"keys": ["image", "label"], "prob": 0.3, **flip}, [])


def test_what_cannot_be_exchanged_is_left_out_and_said() -> None:
    node, (note,) = replaced({"_target_": "RandRotate90d", "max_k": 1})
    assert node["_disabled_"] is True
    assert "a quarter turn leaves no left and right" in note
    node, (note,) = replaced({"_target_": "RandFlipd", "spatial_axis": 0}, axes=(0, 2), codes=None)
    assert node["_disabled_"] is True
    assert "which axis is left-right differs between the cases" in note


def test_a_flip_exchanges_values_channels_and_what_is_annotated() -> None:
    """Mirror images of one another: a plain flip would give the same image with the other label."""
    label = torch.zeros(1, 4, 3, 2)
    label[:, 0], label[:, 3] = 1, 2
    image = (label > 0).float()
    item = {"image": image, "label": label, "annotated": torch.tensor([0, 1, 0], dtype=torch.uint8)}
    flip = ExchangingFlipd(["image", "label"], [(1, 2)], prob=1.0, spatial_axis=0, left_right_axis=0)
    flipped = flip(item)
    assert torch.equal(flipped["image"], image)
    assert torch.equal(flipped["label"], label)
    assert flipped["annotated"].tolist() == [0, 0, 1]  # of the left alone, the right is what was annotated
    assert type(flipped["image"]) is torch.Tensor
    one_hot = torch.cat([(label == value).float() for value in range(3)])
    assert torch.equal(flip({"image": image, "label": one_hot})["label"], one_hot)
    other = ExchangingFlipd(["image", "label"], [(1, 2)], prob=1.0, spatial_axis=1, left_right_axis=0)
    assert torch.equal(other(item)["label"], label.flip(2))
    with pytest.raises(TypeError, match="needs left_right_axis"):
        ExchangingFlipd("image", [(1, 2)], prob=1.0)({"image": image})
    sagittal = MetaTensor(image.permute(0, 2, 1, 3), affine=torch.eye(4)[[1, 0, 2, 3]])
    turned = MetaTensor(label.permute(0, 2, 1, 3), affine=sagittal.affine)
    by_affine = ExchangingFlipd(["image", "label"], [(1, 2)], prob=1.0, spatial_axis=1)
    assert torch.equal(by_affine({"image": sagittal, "label": turned})["label"].as_tensor(), turned.as_tensor())


@pytest.mark.slow
def test_two_processes_train_one_network(shop: Shop) -> None:
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    run = shop.run(max_epochs=8, transfer=True, start=str(shop.bundle / "models" / "model.pt"), freeze_epochs=0)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [*command, "-m", "models.training", str(run)], cwd=run, env=env, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    told = done(run)
    assert (told["processes"], told["steps"], told["epochs"]) == (2, 8, 8)
    assert len(lines(run)) == 8
    assert told["best_dice"] is not None


def test_a_batch_takes_what_transforms_tracked_and_what_they_did_not() -> None:
    plain = torch.ones(1, 2, 2, 2)
    items = [{"image": MetaTensor(plain)}, {"image": plain}, {"image": MetaTensor(plain)}, {"image": plain}]
    loader = DataLoader(items, batch_size=4, collate_fn=list_data_collate)  # type: ignore[arg-type]  # a list is one
    batch = next(iter(Batches(loader, seed=1)))
    assert batch["image"].shape == (4, 1, 2, 2, 2)
