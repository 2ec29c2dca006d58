"""A bundle that is trained in seconds: it judges each voxel by its value alone, and begins with wrong thresholds."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from models import card
from tests import mini_bundle, tiny_training_bundle

NETWORK = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}
SCALE: dict[str, Any] = {"_target_": "ScaleIntensityRanged", "a_min": -1000, "a_max": 0, "b_min": 0, "b_max": 1}
GATE = """
[gate]
baseline = [{ value = 2, above = -250.0 }]

[files]
"""


def make(folder: Path, name: str = "balls") -> Path:
    """Write it; its folder. What it calls 1 and 2 is neither."""
    root = mini_bundle.make(folder, name, before=[SCALE | {"keys": "image"}])
    with tempfile.TemporaryDirectory() as aside:
        trained = tiny_training_bundle.make(Path(aside) / "trained", learning_rate=0.5)
        train = json.loads((trained / "configs" / "train.json").read_text())
    train["network_def"] = NETWORK
    steps = train["train"]["deterministic_transforms"]
    steps.insert(-1, SCALE | {"keys": "image"})
    (root / "configs" / "train.json").write_text(json.dumps(train))
    torch.manual_seed(3)
    state = {"weight": torch.randn(3, 1, 1, 1, 1), "bias": torch.tensor([3.0, 0.0, 0.0])}
    torch.save(state, root / "models" / "model.pt")
    file = root / card.FILE
    file.write_text(file.read_text().split("\n[files]")[0] + GATE)
    card.seal(root)
    return root
