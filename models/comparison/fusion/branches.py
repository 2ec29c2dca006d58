"""Late fusion: a network of its own for each channel, and one vote of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import nn


class Branches(nn.Module):
    """One U-Net per channel, and the mean of their logits: no branch sees what another one reads.

    Args:
        branches: how many, one input channel each.
        channels, strides: of each branch.
    """

    def __init__(self, branches: int, out_channels: int, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [UNet(3, 1, out_channels, channels, strides, num_res_units=2, norm="batch") for _ in range(branches)]
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channel, x, y, z) to logits of the same grid."""
        logits = [branch(images[:, n : n + 1]) for n, branch in enumerate(self.branches)]
        return torch.stack(logits).mean(0)
