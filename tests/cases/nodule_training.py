"""Train a small RetinaNet on balls in the lungs of one patient: other balls in every patch, minutes of one core."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirst, Orientation, Spacing
from monai.utils import set_determinism
from numpy.typing import NDArray

from tests.cases.balls import Ball, Places, insert
from tests.cases.nodule_features import Features

SEED = 20261121
PATCHES, PATCH = 2, (56, 56, 20)
LEARNING_RATE = 2e-3
SPACING_MM = (2.0, 2.0, 2.0)
BLACK_HU, WHITE_HU = -1024.0, 1000.0
NETWORK: dict[str, Any] = {"spatial_dims": 3, "num_classes": 1, "num_anchors": 3, "size_divisible": [4, 4, 4]}
#: cubes of 6, 10 and 16 mm, in voxels of the network's grid
ANCHORS: dict[str, Any] = {"feature_map_scales": [1], "base_anchor_shapes": [[3, 3, 3], [5, 5, 5], [8, 8, 8]]}


def on_grid(hu: NDArray[np.float32], ras: NDArray[np.float64]) -> NDArray[np.float32]:
    """The volume as the network will see it, (x, y, z) to the right, the front and the head, 2 mm apart.

    Args:
        hu: (columns, rows, slices).
        ras: 4x4, from index to millimetres.
    """
    steps = Compose([EnsureChannelFirst(channel_dim="no_channel"), Orientation(axcodes="RAS"), Spacing(SPACING_MM)])
    return np.asarray(steps(MetaTensor(torch.from_numpy(hu), affine=torch.as_tensor(ras)))[0], np.float32)


class Trained(RetinaNetDetector):
    """With the one of MONAI's two matchers that needs no torchvision, which its own method looks for all the same."""

    def compute_anchor_matched_idxs(
        self, anchors: list[torch.Tensor], targets: list[dict[str, torch.Tensor]], num_anchor_locs_per_level: Any
    ) -> list[torch.Tensor]:
        """Which box each anchor is to find, after ATSS (Zhang et al., CVPR 2020); negative: none."""
        return [
            self.proposal_matcher(one[self.target_box_key], of, num_anchor_locs_per_level, self.num_anchors_per_loc)[1]
            if len(one[self.target_box_key])
            else torch.full((len(of),), -1)
            for of, one in zip(anchors, targets, strict=True)
        ]


def train(hu: NDArray[np.float32], ras: NDArray[np.float64], iterations: int) -> dict[str, torch.Tensor]:
    """Train on one patient.

    Args:
        hu, ras: as `on_grid` has them.

    Returns:
        the state of the network.
    """
    set_determinism(SEED)
    rng = np.random.default_rng(SEED)
    volume = on_grid(hu, ras)
    places = Places.of(volume, SPACING_MM, across=(0, 1))
    network = RetinaNet(feature_extractor=Features(), **NETWORK)
    detector = Trained(network, AnchorGeneratorWithAnchorShape(**ANCHORS))
    detector.set_atss_matcher(num_candidates=4, center_in_gt=False)
    detector.set_hard_negative_sampler(batch_size_per_image=64, positive_fraction=0.3, pool_size=20, min_neg=16)
    detector.set_target_keys(box_key="box", label_key="label")
    detector.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    warm = max(1, iterations // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1, (n + 1) / warm) * (1 + math.cos(math.pi * n / iterations)) / 2
    )
    for _ in range(iterations):
        patches = [_patch(volume, places, rng) for _ in range(PATCHES)]
        targets = [{"label": torch.zeros(len(boxes), dtype=torch.long), "box": boxes} for _, boxes in patches]
        parts = detector([image for image, _ in patches], targets)
        loss = parts[detector.cls_key] + parts[detector.box_reg_key]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return network.state_dict()


def _patch(volume: NDArray[np.float32], places: Places, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A part of the volume, (1, x, y, z) from 0 to 1, with balls in it and mirrored; and their boxes (n, 6)."""
    size = np.minimum(PATCH, volume.shape)
    low = rng.integers(0, np.array(volume.shape) - size + 1)
    if rng.random() < 0.8:  # most around a place in the lungs; the rest anywhere
        at = np.argwhere(places.depth_mm > 4)
        low = np.clip(at[rng.integers(len(at))] - size // 2, 0, np.array(volume.shape) - size)
    balls = places.scattered(int(rng.integers(1, 5)), rng, low, size)
    part = volume[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))]
    image = insert(part, SPACING_MM, balls, rng)
    image = image * rng.uniform(0.95, 1.05) + rng.normal(0, rng.uniform(0, 25), image.shape)
    boxes = _boxes(balls)
    for axis in range(3):
        if rng.random() < 0.5:
            image = np.flip(image, axis)
            boxes[:, [axis, axis + 3]] = size[axis] - 1 - boxes[:, [axis + 3, axis]]
    scaled = (image - BLACK_HU) / (WHITE_HU - BLACK_HU)
    return torch.from_numpy(np.ascontiguousarray(scaled, np.float32))[None], torch.from_numpy(boxes)


def _boxes(balls: list[Ball]) -> NDArray[np.float32]:
    corners = [np.concatenate(ball.corners(SPACING_MM)) for ball in balls]
    return np.array(corners, np.float32).reshape(-1, 6)
