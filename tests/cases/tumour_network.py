"""A small SegResNet for four contrasts in the Model Zoo's brats shape, and its training on drawn tumours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.losses import DiceLoss
from monai.networks.nets import SegResNet
from monai.transforms import Compose, Orientationd, RandCropByPosNegLabeld, RandFlipd, Spacingd
from torch import Tensor

from tests.cases import bundles, drawn_tumour
from tests.cases.case import Brought
from tests.cases.drawn_tumour import CHANNELS, SEGMENTS, Brain, Tumour
from tests.cases.mr_images import RAS_TO_LPS

APART_MM = 30.0
BRAINS, TUMOURS, STEPS, BATCH, SIDE, SEED = 10, 2, 300, 4, 32, 5
#: brains and steps of the short form
SHORT = (4, 100)
RATE = 1e-2
#: of the voxels of a crop belong to a segment, roughly: what the network says of each before it has learnt anything
SHARE = 0.02
NETWORK = {
    "_target_": "SegResNet",
    "spatial_dims": 3,
    "in_channels": 4,
    "out_channels": 3,
    "init_filters": 8,
    "blocks_down": [1, 2, 2],
    "blocks_up": [1, 1],
    # a norm of each window alone would see other means in a crop around a tumour than in a window of the whole brain
    "norm": "BATCH",
}
SPACING_MM = [2.0, 2.0, 2.0]
PREPROCESSING = (
    {"_target_": "EnsureTyped", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "Spacingd", "keys": "image", "pixdim": SPACING_MM, "mode": "bilinear"},
    {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
)
INFERER = {"_target_": "SlidingWindowInferer", "roi_size": [64, 64, 64], "sw_batch_size": 1, "overlap": 0.5}
METADATA = {
    "version": "0.1.0",
    "task": "A drawn tumour in four MR contrasts: core, whole, what enhances",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "modality": "MR",
                "num_channels": 4,
                "channel_def": {str(n): name for n, name in enumerate(CHANNELS)},
            }
        },
        "outputs": {
            "pred": {
                "type": "segmentation",
                "num_channels": 3,
                "channel_def": {str(n): name for n, name in enumerate(SEGMENTS)},
            }
        },
    },
}
CARD = """format = 1
name = "drawn_tumour"
version = "0.1.0"
title = "Drawn tumour (demonstration)"
manufacturer = "Planimeter's worked cases"
device_uid = "2.25.191919191919191919191919191919191902"
intended_use = "To show four channels and overlapping segments. It has seen drawn tumours only; of no use on people."
licence = "Apache-2.0"
weights_licence = "Apache-2.0"
weights = "models/model.safetensors"
demonstration = true
overlapping = true
smallest_component_ml = 0.2

{inputs}
[[segment]]
value = 1
label = "Tumor core"
category = ["49755003", "SCT", "Morphologically Altered Structure"]
type = ["4147007", "SCT", "Mass"]
anatomic_region = ["12738006", "SCT", "Brain"]
colour = [220, 60, 60]

[[segment]]
value = 2
label = "Whole tumor"
category = ["49755003", "SCT", "Morphologically Altered Structure"]
type = ["108369006", "SCT", "Neoplasm"]
anatomic_region = ["12738006", "SCT", "Brain"]
colour = [70, 190, 90]

[[segment]]
value = 3
label = "Enhancing tumor"
category = ["49755003", "SCT", "Morphologically Altered Structure"]
type = ["C113842", "NCIt", "Enhancing Lesion"]
anatomic_region = ["12738006", "SCT", "Brain"]
colour = [70, 120, 240]
"""
INPUT = """[[input]]
channel = "{channel}"
modality = ["MR"]
description_includes = ["^{channel} "]
minimum_slices = 20
"""


def make(of: Brain, sent: Tumour, work: Path, *, short: bool) -> Brought:
    """Train on other tumours in the same brain, for some minutes of one core; the bundle and its card.

    Args:
        sent: the tumour that the network will be tried on; none of the training is near.
    """
    brains, steps = SHORT if short else (BRAINS, STEPS)
    weights = _trained([_case(of, sent, seed) for seed in range(brains)], steps)
    root = bundles.write(
        work / "drawn_tumour",
        NETWORK,
        weights,
        PREPROCESSING,
        INFERER,
        (bundles.SIGMOID, bundles.INVERT, bundles.THRESHOLD),
        METADATA,
    )
    card = work / "drawn_tumour.toml"
    card.write_text(CARD.format(inputs="\n".join(INPUT.format(channel=one) for one in CHANNELS)), encoding="utf-8")
    return Brought(root, card, described(brains, steps))


def described(brains: int, steps: int) -> str:
    """How the weights came about."""
    count = sum(one.numel() for one in _untaught().parameters())
    return (
        f"a SegResNet of {count:,} weights, trained for {steps} steps of "
        f"{BATCH} cubes of {SIDE} voxels at {SPACING_MM[0]:.0f} mm on {brains * TUMOURS} other drawn "
        f"tumours, {TUMOURS} at a time, in the same brain, their centres at least {APART_MM:.0f} mm from the one that "
        "is sent."
    )


def _case(of: Brain, sent: Tumour, seed: int) -> dict[str, Any]:
    """A brain with tumours as the network reads it, by the bundle's own preprocessing, and the three masks."""
    tumours = drawn_tumour.scattered(of, TUMOURS, seed, sent, APART_MM)
    contrasts, masks = drawn_tumour.draw(of, tumours)
    affine = torch.as_tensor(RAS_TO_LPS @ of.t1.affine)
    image, label = (
        MetaTensor(np.ascontiguousarray(one.transpose(0, 3, 2, 1), np.float32), affine=affine)
        for one in (contrasts, masks)
    )
    prepare = ConfigParser({"steps": {"_target_": "Compose", "transforms": [*PREPROCESSING]}})
    follow = Compose(
        [
            Orientationd("label", axcodes="RAS", labels=None),
            Spacingd("label", pixdim=SPACING_MM, mode="nearest"),
        ]
    )
    case: dict[str, Any] = prepare.get_parsed_content("steps")({"image": image})
    case |= follow({"label": label})
    return {key: case[key].as_tensor() for key in ("image", "label")}


def _trained(cases: list[dict[str, Any]], steps: int) -> Mapping[str, Tensor]:
    torch.manual_seed(SEED)
    keys = ["image", "label"]
    crop = RandCropByPosNegLabeld(keys, "label", spatial_size=[SIDE] * 3, pos=3, neg=1, num_samples=1)
    flips = [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)]
    vary = Compose([crop, *flips]).set_random_state(SEED)
    picked = np.random.default_rng(SEED)
    network = _untaught()
    # DiceCELoss takes the softmax over several channels, sigmoid or not: background would be taught by Dice alone
    dice, entropy = DiceLoss(sigmoid=True, batch=True), torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch = [vary(cases[n])[0] for n in picked.choice(len(cases), BATCH, replace=False)]
        image, label = (torch.stack([torch.as_tensor(one[key]) for one in batch]) for key in keys)
        optimizer.zero_grad()
        given = network(image)
        (dice(given, label) + entropy(given, label)).backward()
        optimizer.step()
        schedule.step()
    learnt: Mapping[str, Tensor] = network.state_dict()
    return learnt


def _untaught() -> SegResNet:
    """The network, saying of every voxel that it belongs to a segment as rarely as one does (Lin et al. 2017, 3.3).

    From one half each, hundreds of steps go into unlearning the background, and until then the small segments follow
    the large one around them.
    """
    network = SegResNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})
    last = [one for one in network.conv_final.modules() if isinstance(one, torch.nn.Conv3d)][-1]
    assert last.bias is not None
    torch.nn.init.constant_(last.bias, math.log(SHARE / (1 - SHARE)))
    return network
