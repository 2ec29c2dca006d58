"""Train a small U-Net for bright lesions in FLAIR on one patient: patches at 1 mm, a few minutes of one core."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    EnsureTyped,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.utils import set_determinism

SEED = 20261121
PATCHES, PATCH = 4, 48
LEARNING_RATE = 4e-3
UNET: dict[str, Any] = {
    "spatial_dims": 3,
    "out_channels": 2,
    "channels": [12, 24, 48],
    "strides": [2, 2],
    "num_res_units": 2,
    "norm": "batch",
}


def prepared(channels: Sequence[str]) -> list[Any]:
    """What is done to the images in training and, by the bundle's configuration, in inference."""
    return [
        EnsureChannelFirstd(channels),
        Orientationd(channels, axcodes="RAS", labels=None),
        NormalizeIntensityd(channels, nonzero=True),
    ]


def train(
    images: Mapping[str, Path], label: Path, iterations: int, start: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Train on one patient.

    Args:
        images: NIfTI by channel, the first of which is the FLAIR, all on one grid of 1 mm.
        label: NIfTI on that grid, 1 in lesions.
        start: a network of the first channels to go on from; what it reads of the others begins at 0.

    Returns:
        the state of the network.
    """
    set_determinism(SEED)
    channels = list(images)
    keys = [*channels, "label"]
    flair = channels[0]
    case = Compose(
        [
            LoadImaged(keys),
            *prepared(channels),
            EnsureChannelFirstd("label"),
            Orientationd("label", axcodes="RAS", labels=None),
            CropForegroundd(keys, source_key=flair, select_fn=lambda x: x != 0, margin=4),
            EnsureTyped(keys, track_meta=False),
        ]
    )({**images, "label": label})
    patches = RandCropByPosNegLabeld(
        keys,
        label_key="label",
        spatial_size=[PATCH] * 3,
        pos=2,
        neg=1,
        num_samples=PATCHES,
        image_key=flair,
        image_threshold=-5.0,
    )
    changed = Compose(
        [
            RandFlipd(keys, prob=0.5, spatial_axis=0),
            RandFlipd(keys, prob=0.3, spatial_axis=1),
            RandFlipd(keys, prob=0.3, spatial_axis=2),
            RandAffined(
                keys,
                prob=0.6,
                rotate_range=[0.3, 0.3, 0.3],
                scale_range=[0.2, 0.2, 0.2],
                padding_mode="border",
                mode=[*["bilinear"] * len(channels), "nearest"],
            ),
            RandGaussianSmoothd(channels, prob=0.2, sigma_x=[0.3, 0.9], sigma_y=[0.3, 0.9], sigma_z=[0.3, 0.9]),
            RandAdjustContrastd(channels, prob=0.3, gamma=[0.75, 1.35]),
            RandScaleIntensityd(channels, prob=0.6, factors=0.2),
            RandShiftIntensityd(channels, prob=0.6, offsets=0.25),
            RandGaussianNoised(channels, prob=0.3, std=0.1),
        ]
    )
    network = UNet(in_channels=len(channels), **UNET).train()
    if start is not None:
        network.load_state_dict({key: _widened(start[key], like) for key, like in network.state_dict().items()})
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    warm = max(1, iterations // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1, (n + 1) / warm) * (1 + math.cos(math.pi * n / iterations)) / 2
    )
    for _ in range(iterations):
        batch: list[Any] = [changed(one) for one in patches(case)]
        images_of = torch.stack([torch.cat([one[key] for key in channels]) for one in batch])
        loss = loss_of(network(images_of), torch.stack([one["label"] for one in batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.state_dict()


def _widened(weight: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """With zeros for the input channels that it lacks."""
    made = torch.zeros_like(like)
    made[tuple(slice(0, n) for n in weight.shape)] = weight
    return made
