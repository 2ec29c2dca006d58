"""Bundles in the Model Zoo's shape, small enough for a test: what is darker than -500 HU is 1, than -900 HU is 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from models import card

CARD = """
format = 1
name = "{name}"
version = "0.1"
title = "{title}"
manufacturer = "Tests"
device_uid = "1.2.3.4"
intended_use = "Tests."
licence = "Apache-2.0"
weights_licence = "Apache-2.0"
{more}

[[input]]
{reads}

[[segment]]
value = 1
label = "{labels[0]}"
category = ["123037004", "SCT", "Anatomical Structure"]
type = ["39607008", "SCT", "Lung"]
colour = [200, 100, 50]

[[segment]]
value = 2
label = "{labels[1]}"
category = ["123037004", "SCT", "Anatomical Structure"]
type = ["15825003", "SCT", "Aorta"]
colour = [50, 100, 200]

[files]
"""

VOLUMES = 'modality = ["CT"]\nminimum_slices = 2'
#: as nearly every bundle has it
EVALUATOR = {
    "_target_": "SupervisedEvaluator",
    "device": "@device",
    "val_data_loader": "@dataloader",
    "network": "@network",
    "inferer": "@inferer",
    "postprocessing": "@postprocessing",
    "val_handlers": "@handlers",
}


def marks(name: str = "begun") -> str:
    """An expression: the path of a file in the only folder that a bundle may write into, its host's own."""
    return f"__import__('os').path.expanduser('~/{name}')"


def halts(begun: str, go_on: Path) -> list[dict[str, Any]]:
    """A transform that says that it runs, and goes on when it may.

    Args:
        begun: an expression: the path of the file that says so, as `marks` gives it.
    """
    there = f"lambda: __import__('os').path.exists({str(go_on)!r})"
    wait = f"[__import__('time').sleep(0.02) for _ in iter({there}, True)]"
    code = f"$lambda x: (open({begun}, 'a').close(), {wait}, x)[2]"
    return [{"_target_": "Lambdad", "keys": "image", "func": code}]


def marked(hosts: Path, name: str = "begun") -> Path | None:
    """That file, of the one host in the folder of hosts that has made it."""
    return next(hosts.glob(f"*.scratch/{name}"), None)


def card_text(name: str, title: str, labels: tuple[str, str], more: str = "", reads: str = VOLUMES) -> str:
    """The card of a network with two classes.

    Args:
        more: lines of its head.
        reads: lines of its input.
    """
    return CARD.format(name=name, title=title, labels=labels, more=more, reads=reads)


def make(
    folder: Path,
    name: str = "thresholds",
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
    smallest_component_ml: float = 0.0,
    before: list[dict[str, Any]] | None = None,
    post: list[dict[str, Any]] | None = None,
    reads: str = VOLUMES,
    below: tuple[float, float] = (-500, -900),
) -> Path:
    """Write a bundle; its folder.

    Args:
        before: transforms that go in front of the network, after the usual ones.
        post: the postprocessing; default: softmax, inversion, argmax, save.
        reads: lines of the input of its card.
        below: what is 1, and what is 2.
    """
    root = folder / name
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    inference = {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
                {"_target_": "Spacingd", "keys": "image", "pixdim": list(spacing_mm), "mode": "bilinear"},
                *(before or []),
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": [], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": post
            or [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": EVALUATOR,
        "run": ["$@evaluator.run()"],
    }
    (root / "configs" / "inference.json").write_text(json.dumps(inference))
    slope = 0.02
    weight = torch.tensor([0.0, -slope, -2 * slope]).reshape(3, 1, 1, 1, 1)
    bias = torch.tensor([0.0, below[0] * slope, sum(below) * slope])
    torch.save({"weight": weight, "bias": bias}, root / "models" / "model.pt")
    more = f"smallest_component_ml = {smallest_component_ml}"
    (root / card.FILE).write_text(card_text(name, "Thresholds", ("Dark", "Darker"), more, reads))
    card.seal(root)
    return root
