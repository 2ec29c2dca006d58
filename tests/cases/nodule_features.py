"""The backbone of a small RetinaNet: one feature map, twice as coarse as the network's grid.

This file goes into the bundle as scripts/features.py.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch.nn import functional


class Features(torch.nn.Module):
    """Three convolutional stages and a way back up, as in a feature pyramid (Lin et al., CVPR 2017)."""

    out_channels = 16

    def __init__(self) -> None:
        super().__init__()
        self.first = _stage(1, 8, 1)
        self.second = _stage(8, 16, 2)
        self.third = _stage(16, 32, 2)
        self.side = torch.nn.Conv3d(16, self.out_channels, 1)
        self.top = torch.nn.Conv3d(32, self.out_channels, 1)

    def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """(batch, 1, x, y, z), whole multiples of 4; one map of half as many voxels along each axis."""
        second = self.second(self.first(x))
        above = functional.interpolate(self.top(self.third(second)), scale_factor=2.0)
        return OrderedDict(map=self.side(second) + above)


def _stage(inside: int, outside: int, stride: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv3d(inside, outside, 3, stride=stride, padding=1),
        torch.nn.GroupNorm(4, outside),
        torch.nn.ReLU(),
        torch.nn.Conv3d(outside, outside, 3, padding=1),
        torch.nn.GroupNorm(4, outside),
        torch.nn.ReLU(),
    )
