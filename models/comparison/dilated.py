"""A decoder of dilated convolutions on a small encoder, after DeepLab (Chen et al. 2018, arXiv 1802.02611), in 3D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn
from torch.nn import functional


class Dilated(nn.Module):
    """Encoder to a quarter of the resolution, dilated convolutions side by side, one skip connection, and up again.

    Args:
        in_channels, out_channels: of the network.
        channels: of the encoder at half the resolution, at a quarter, and at a quarter with dilation.
        rates: dilations of the parallel convolutions; beside them stand a 1x1x1 convolution and the mean of everything.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64),
        rates: Sequence[int] = (2, 4, 6),
    ) -> None:
        super().__init__()
        half, quarter, deep = channels
        self.first = ResidualUnit(3, in_channels, half, strides=2, subunits=2, norm="batch")
        self.second = ResidualUnit(3, half, quarter, strides=2, subunits=2, norm="batch")
        self.third = ResidualUnit(3, quarter, deep, strides=1, dilation=2, subunits=2, norm="batch")
        self.parallel = nn.ModuleList(
            [Convolution(3, deep, quarter, kernel_size=1, norm="batch")]
            + [Convolution(3, deep, quarter, kernel_size=3, dilation=rate, norm="batch") for rate in rates]
        )
        self.everywhere = nn.Conv3d(deep, quarter, 1)
        self.joined = Convolution(3, quarter * (len(rates) + 2), quarter, kernel_size=1, norm="batch")
        self.last = ResidualUnit(3, quarter + half, quarter, subunits=2, norm="batch")
        self.classes = nn.Conv3d(quarter, out_channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channel, x, y, z) to logits of the same grid."""
        fine = self.first(images)
        deep = self.third(self.second(fine))
        mean = self.everywhere(deep.mean(dim=(2, 3, 4), keepdim=True)).expand(-1, -1, *deep.shape[2:])
        joined = self.joined(torch.cat([*(branch(deep) for branch in self.parallel), mean], dim=1))
        logits = self.classes(self.last(torch.cat([_enlarged(joined, fine), fine], dim=1)))
        return _enlarged(logits, images)


def _enlarged(small: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(small, size=like.shape[2:], mode="trilinear", align_corners=False)
