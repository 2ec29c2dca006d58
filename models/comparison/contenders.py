"""What is compared: each contender is the shipped recipe with a few keys changed, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: patients of the fixed split that nothing is trained on
HELD_OUT = 12
FOLDS = 5
BOTH = ["image", "label"]

Case = Mapping[str, str]


@dataclass(frozen=True)
class Contender:
    """One training.

    Attributes:
        question: which of the comparisons it belongs to.
        changes: to train.json, by id.
        network: another network than the bundle's, as `network_def`.
    """

    name: str
    question: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] | None = None

    @property
    def all_changes(self) -> dict[str, Any]:
        return {**self.changes, **({"network_def": dict(self.network)} if self.network else {})}


SHIPPED = Contender("U-Net (shipped recipe)", "")
CONTENDERS = (
    SHIPPED,
    Contender(
        "SegResNet",
        "network",
        network={"_target_": "SegResNet", "spatial_dims": 3, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    ),
    Contender(
        "FlexibleUNet, EfficientNet-B0 encoder",
        "network",
        network={
            "_target_": "FlexibleUNet",
            "in_channels": 1,
            "out_channels": 2,
            "backbone": "efficientnet-b0",
            "pretrained": False,
            "decoder_channels": [128, 64, 32, 16, 16],
            "spatial_dims": 3,
        },
    ),
    Contender(
        "Dilated decoder, like DeepLab",
        "network",
        network={"_target_": "models.comparison.dilated.Dilated", "in_channels": 1, "out_channels": 2},
    ),
    Contender(
        "Tversky loss (0.3, 0.7)",
        "loss",
        {
            "loss": {
                "_target_": "TverskyLoss",
                "to_onehot_y": True,
                "softmax": True,
                "batch": True,
                "include_background": False,
                "alpha": 0.3,  # of what is taken in too much; what is left out counts more
                "beta": 0.7,
            }
        },
    ),
    Contender(
        "Focal loss (gamma 2)",
        "loss",
        {"loss": {"_target_": "FocalLoss", "to_onehot_y": True, "use_softmax": True, "gamma": 2.0}},
    ),
    Contender(
        "SGD, Nesterov momentum 0.99, rate 0.01",
        "optimiser",
        {
            "optimizer": {
                "_target_": "torch.optim.SGD",
                "params": "$@network.parameters()",
                "lr": 0.01,
                "momentum": 0.99,
                "nesterov": True,
                "weight_decay": 0.00003,
            }
        },
    ),
    Contender(
        "Without augmentation",
        "augmentation",
        {
            "train#random_transforms": [  # only what brings the images to one size
                {"_target_": "RandSpatialCropd", "keys": BOTH, "roi_size": "@patch", "random_size": False},
                {"_target_": "ResizeWithPadOrCropd", "keys": BOTH, "spatial_size": "@patch", "mode": "edge"},
            ]
        },
    ),
)


def ordered(cases: Sequence[Case]) -> list[Case]:
    """The cases by a hash of the patient's name, which knows nothing of images or results."""
    return sorted(cases, key=lambda case: hashlib.sha256(f"pet_sarcoma {case['patient']}".encode()).digest())


def split(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The one fixed split: those to train on, those to judge by."""
    order = ordered(cases)
    return order[HELD_OUT:], order[:HELD_OUT]


def fold(cases: Sequence[Case], number: int) -> tuple[list[Case], list[Case]]:
    """One of the five folds, counted from 0: those to train on, those to judge by."""
    order = ordered(cases)
    return [one for n, one in enumerate(order) if n % FOLDS != number], order[number::FOLDS]
