"""A very small 3D U-Net with a train.json, and cases of balls in noise for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import UNet

from models import card
from tests.mini_bundle import card_text

SIDE = 16
NETWORK = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [8, 16],
    "strides": [2],
    "norm": "instance",
}
DICE_CE = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True}


def make(
    folder: Path,
    loss: dict[str, Any] | None = None,
    random: Sequence[dict[str, Any]] = (),
    change: dict[str, Any] | None = None,
    channels: Sequence[int] = (8, 16),
    learning_rate: float = 0.02,
) -> Path:
    """Write a bundle; its folder.

    Args:
        random: transforms of the training, after the deterministic ones.
        change: keys of train.json to be set, "a#b#c" for one inside of others; None: taken away.
    """
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    network = NETWORK | {"channels": list(channels), "strides": [2] * (len(channels) - 1)}
    train = _train(network, loss or DICE_CE, list(random), learning_rate)
    for place, value in (change or {}).items():
        *outer, last = place.split("#")
        node = train
        for key in outer:
            node = node[key]
        if value is None:
            del node[last]
        else:
            node[last] = value
    (folder / "configs" / "train.json").write_text(json.dumps(train))
    (folder / "configs" / "inference.json").write_text("{}")
    torch.manual_seed(1)
    torch.save(UNet(**network).state_dict(), folder / "models" / "model.pt")
    (folder / card.FILE).write_text(card_text(folder.name, "Balls", ("One", "Other")))
    card.seal(folder)
    return folder


def _train(
    network: dict[str, Any], loss: dict[str, Any], random: list[dict[str, Any]], learning_rate: float
) -> dict[str, Any]:
    keys = ["image", "label"]
    metric = {"_target_": "MeanDice", "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}
    return {
        "imports": ["$import json", "$import torch", "$import monai"],
        "bundle_root": ".",
        "ckpt_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere",
        "device": "$torch.device('cuda:7')",
        "epochs": 500,
        "val_interval": 2,
        "cases": "$json.load(open(@dataset_dir + '/dataset.json'))",
        "training_cases": "$@cases['training']",
        "network_def": {"_target_": "UNet", **network},
        "network": "$@network_def.to(@device)",
        "loss": loss,
        "optimizer": {"_target_": "torch.optim.AdamW", "params": "$@network.parameters()", "lr": learning_rate},
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
            "optimizer": "@optimizer",
            "T_max": "@epochs",
        },
        "train": {
            "deterministic_transforms": [
                {"_target_": "LoadImaged", "keys": keys},
                {"_target_": "EnsureChannelFirstd", "keys": keys},
                {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": None},
                {"_target_": "EnsureTyped", "keys": keys, "track_meta": False},
            ],
            "random_transforms": random,
            "preprocessing": {
                "_target_": "Compose",
                "transforms": "$@train#deterministic_transforms + @train#random_transforms",
            },
            "dataset": {
                "_target_": "CacheDataset",
                "data": "@training_cases",
                "transform": "@train#preprocessing",
                "hash_as_key": True,
                "num_workers": 1,
                "progress": False,
            },
            "dataloader": {
                "_target_": "DataLoader",
                "dataset": "@train#dataset",
                "batch_size": 2,
                "shuffle": True,
                "num_workers": 4,
                "persistent_workers": True,
            },
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": {
                "_target_": "Compose",
                "transforms": [
                    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                    {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 3},
                ],
            },
            "handlers": [
                {
                    "_target_": "CheckpointLoader",
                    "load_path": "$@ckpt_dir + '/nothing.pt'",
                    "load_dict": {"model": "@network"},
                },
                {"_target_": "LrScheduleHandler", "lr_scheduler": "@lr_scheduler"},
                {
                    "_target_": "ValidationHandler",
                    "validator": "@validate#evaluator",
                    "epoch_level": True,
                    "interval": "@val_interval",
                },
                {"_target_": "StatsHandler", "tag_name": "loss"},
                {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir"},
                {"_target_": "CheckpointSaver", "save_dir": "@ckpt_dir", "save_dict": {"model": "@network"}},
            ],
            "key_metric": {"train_mean_dice": metric},
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": "@epochs",
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "loss_function": "@loss",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "postprocessing": "@train#postprocessing",
                "key_train_metric": "@train#key_metric",
                "train_handlers": "@train#handlers",
                "amp": True,
            },
        },
        "validate": {
            "preprocessing": {"_target_": "Compose", "transforms": "$@train#deterministic_transforms"},
            "dataset": {"_target_": "Dataset", "data": "$@cases['validation']", "transform": "@validate#preprocessing"},
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1, "num_workers": 2},
            "inferer": {"_target_": "SimpleInferer"},
            "postprocessing": "@train#postprocessing",
            "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
            "key_metric": {"val_mean_dice": metric},
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "postprocessing": "@validate#postprocessing",
                "key_val_metric": "@validate#key_metric",
                "val_handlers": "@validate#handlers",
                "amp": True,
            },
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)"],
        "run": ["$@train#trainer.run()"],
    }


def case(
    folder: Path,
    number: int,
    annotated: Sequence[int] = (1, 2),
    patient: str | None = None,
    alike: bool = False,
    share: str = "cases",
) -> Path:
    """Write a case: a ball of class 1 and one of class 2 (brighter, or `alike`) on either side, in noise; its folder.

    Args:
        annotated: a class that is not is there all the same, and not in the label.
    """
    drawn = np.random.default_rng(number)
    image = drawn.normal(0, 0.1, (SIDE, SIDE, SIDE)).astype(np.float32)
    label = np.zeros(image.shape, np.uint8)
    slices, rows, columns = np.mgrid[:SIDE, :SIDE, :SIDE]
    for value, column, bright in ((1, 4, 1.0), (2, 11, 1.0 if alike else 2.0)):
        middle = drawn.integers(6, 10, 2)
        radius = drawn.uniform(2.6, 3.4)
        inside = (slices - middle[0]) ** 2 + (rows - middle[1]) ** 2 + (columns - column) ** 2 < radius**2
        image[inside] += bright
        if value in annotated:
            label[inside] = value
    root = folder / share / f"case{number:03}"
    root.mkdir(parents=True)
    np.save(root / "channel_0.npy", image)
    np.save(root / "label.npy", label)
    said = {
        "case": root.name,
        "patient": patient or f"patient{number:03}",
        "affine": np.diag([2.0, 2.0, 2.0, 1.0]).tolist(),
        "channels": ["image"],
        "annotated": list(annotated),
        "groups": {"scanner": "Tests", "site": "Here", "spacing": "2", "sex": "O", "age": "40-59"},
    }
    (root / "case.json").write_text(json.dumps(said))
    return root


def run(folder: Path, bundle: Path, train: Sequence[Path], validation: Sequence[Path] = (), **more: Any) -> Path:
    """Write the run.json of a run; its folder."""
    folder.mkdir(parents=True)
    said: dict[str, Any] = {
        "bundle": str(bundle),
        "card_sha256": card.read(bundle).card_sha256,
        "start": None,
        "train": [str(one) for one in train],
        "validation": [str(one) for one in validation],
        "seed": 7,
        "max_epochs": 4,
        "max_minutes": None,
        "early_stop": None,
        "device": "cpu",
        "freeze_epochs": 0,
        "transfer": False,
        "classes": [1, 2],
        "exchange": [],
    }
    (folder / "run.json").write_text(json.dumps(said | more))
    return folder
