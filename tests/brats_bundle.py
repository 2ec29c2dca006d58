"""Bundles in the shape of the Model Zoo's brats_mri_segmentation: four MR series, three structures that share voxels.

Whole tumour where FLAIR is above 400, core where T1c is above 300, what enhances where T1c is above 700.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import card
from tests.mini_bundle import EVALUATOR

CHANNELS = ("t1c", "t1", "t2", "flair")
#: label, type, what it is made of where the label map has 1, 2 and 4; in the order of the network's channels
STRUCTURES = (
    ("Tumor core", ["277206009", "SCT", "Tumor core"], 1, (1, 4)),
    ("Whole tumor", ["108369006", "SCT", "Neoplasm"], 2, (1, 2, 4)),
    ("Enhancing tumor", ["12345", "99TESTS", "Enhancing tumor"], 4, ()),
)
PAINTED = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
OVERLAPPING = "overlapping = true"

Masks = NDArray[np.bool_]


def made(t1c: NDArray[Any], flair: NDArray[Any]) -> Masks:
    """What the networks find, (core, whole, enhancing; slices, rows, columns)."""
    return np.stack([t1c > 300, flair > 400, t1c > 700])


def make(folder: Path, name: str, *, painted: bool) -> Path:
    """Write a bundle; its folder.

    Args:
        painted: it gives one label map, 0, 1, 2 and 4, whose unions are the structures; else a channel for each.
    """
    root = folder / name
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "configs" / "inference.json").write_text(json.dumps(_config(painted)))
    outputs = {"type": "image", "num_channels": 3, "channel_def": {str(n): one[0] for n, one in enumerate(STRUCTURES)}}
    inputs = {"type": "image", "modality": "MR", "num_channels": 4, "channel_def": dict(enumerate(CHANNELS))}
    metadata = {"network_data_format": {"inputs": {"image": inputs}, "outputs": {"pred": outputs}}}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    weight = torch.zeros(3, 4, 1, 1, 1)
    weight[0, 0] = weight[1, 3] = weight[2, 0] = 0.1
    torch.save({"weight": weight, "bias": torch.tensor([-30.05, -40.05, -70.05])}, root / "models" / "model.pt")
    (root / card.FILE).write_text(_card(name, painted))
    card.seal(root)
    return root


def _config(painted: bool) -> dict[str, Any]:
    ending: list[dict[str, Any]] = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
        | {"nearest_interp": False, "to_tensor": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        *([{"_target_": "Lambdad", "keys": "pred", "func": PAINTED}] if painted else []),
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "/nowhere"},
    ]
    return {
        "imports": ["$import torch"],
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 4, "out_channels": 3, "kernel_size": 1},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": [], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [24, 24, 16], "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": ending},
        "evaluator": EVALUATOR | {"val_handlers": []},
    }


def _card(name: str, painted: bool) -> str:
    said = [
        f'format = 1\nname = "{name}"\nversion = "1"\ntitle = "Tumour"\nmanufacturer = "Tests"',
        'device_uid = "1.2.3.4"\nintended_use = "Tests."\nlicence = "Apache-2.0"\nweights_licence = "Apache-2.0"',
        "" if painted else OVERLAPPING,
    ]
    for channel in CHANNELS:
        includes = f'description_includes = ["^{channel}$"]\nminimum_slices = 3'
        said.append(f'[[input]]\nchannel = "{channel}"\nmodality = ["MR"]\n{includes}')
    for n, (label, type_, value, made_of) in enumerate(STRUCTURES):
        said.append(
            f'[[segment]]\nvalue = {value}\nlabel = "{label}"\n'
            'category = ["49755003", "SCT", "Morphologically Altered Structure"]\n'
            f"type = {json.dumps(type_)}\ncolour = [{200 - 60 * n}, {40 + 90 * n}, 60]"
        )
        if painted and made_of:
            said.append(f"made_of = {list(made_of)}")
    return "\n".join(said) + "\n\n[files]\n"
