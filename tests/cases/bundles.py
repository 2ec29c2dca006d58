"""MONAI bundles as cases make them: the Model Zoo's shape, a small network, weights that were trained a moment ago."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from tests.mini_bundle import EVALUATOR

WEIGHTS = "models/model.safetensors"
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
    "to_tensor": True,
}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"}


def write(
    root: Path,
    network: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    preprocessing: Sequence[Mapping[str, Any]],
    inferer: Mapping[str, Any],
    postprocessing: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> Path:
    """Write a bundle without a card; its folder.

    Args:
        network: `network_def`.
        preprocessing: after LoadImaged, for the key "image".
    """
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    config = {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "/workspace/data",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(network),
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "LoadImaged", "keys": "image"}, *map(dict, preprocessing)],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in sorted(glob.glob(@dataset_dir + '/*'))]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": dict(inferer),
        "postprocessing": {"_target_": "Compose", "transforms": [*map(dict, postprocessing), SAVE]},
        "evaluator": EVALUATOR | {"val_handlers": []},
        "run": ["$@evaluator.run()"],
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (root / "configs" / "metadata.json").write_text(json.dumps(dict(metadata), indent=1), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, root / WEIGHTS)
    return root
