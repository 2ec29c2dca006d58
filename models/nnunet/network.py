"""The two U-Nets that nnU-Net plans, under the names that its checkpoints give their tensors.

Written anew because the package that has them brings timm, torchvision and a client of a model hub into every
installation (docs/decisions/0010-nnunet-without-its-packages.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
UPWARDS = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
NORMS: dict[str, dict[int, type[nn.Module]]] = {
    "InstanceNorm": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
    "BatchNorm": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
}
ACTIVATIONS: dict[str, type[nn.Module]] = {"LeakyReLU": nn.LeakyReLU, "ReLU": nn.ReLU, "GELU": nn.GELU, "SiLU": nn.SiLU}

Sizes = Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What every convolution of a network is followed by.

    Attributes:
        axes: 2 or 3, in space.
        norm: a key of NORMS, or "" for none; activation: a key of ACTIVATIONS.
    """

    axes: int
    bias: bool
    norm: str
    norm_args: Mapping[str, Any] = field(default_factory=dict)
    activation: str = "LeakyReLU"
    activation_args: Mapping[str, Any] = field(default_factory=dict)

    def active(self) -> nn.Module:
        return ACTIVATIONS[self.activation](**self.activation_args)


class Convolved(nn.Module):
    """Convolution, norm, activation."""

    def __init__(
        self, layers: Layers, channels: tuple[int, int], kernel: Sizes, stride: Sizes, *, active: bool, bias: bool
    ) -> None:
        super().__init__()
        padding = [(size - 1) // 2 for size in kernel]
        self.conv = CONV[layers.axes](*channels, tuple(kernel), tuple(stride), padding, bias=bias)
        self.norm = NORMS[layers.norm][layers.axes](channels[1], **layers.norm_args) if layers.norm else nn.Identity()
        self.active = layers.active() if active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.active(self.norm(self.conv(x)))


class Stacked(nn.Module):
    """Convolutions one after the other; only the first has a stride."""

    def __init__(self, layers: Layers, channels: tuple[int, int], kernel: Sizes, stride: Sizes, count: int) -> None:
        super().__init__()
        first, last = channels
        once = [1] * layers.axes
        self.convs = nn.Sequential(
            *(
                Convolved(
                    layers,
                    (last if number else first, last),
                    kernel,
                    once if number else stride,
                    active=True,
                    bias=layers.bias,
                )
                for number in range(count)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convs(x)


class Residual(nn.Module):
    """Two convolutions and a way past them, as in ResNet-D (He et al., CVPR 2019)."""

    def __init__(self, layers: Layers, channels: tuple[int, int], kernel: Sizes, stride: Sizes) -> None:
        super().__init__()
        first, last = channels
        once = [1] * layers.axes
        self.conv1 = Convolved(layers, channels, kernel, stride, active=True, bias=layers.bias)
        self.conv2 = Convolved(layers, (last, last), kernel, once, active=False, bias=layers.bias)
        past: list[nn.Module] = [POOL[layers.axes](tuple(stride), tuple(stride))] if any(n != 1 for n in stride) else []
        if first != last:
            past.append(Convolved(layers, channels, once, once, active=False, bias=False))
        self.skip = nn.Sequential(*past)
        self.active = layers.active()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        past = self.skip(x)
        out = self.conv2(self.conv1(x))
        out += past
        return self.active(out)


class Blocks(nn.Module):
    """Residual blocks one after the other; only the first has a stride."""

    def __init__(self, layers: Layers, channels: tuple[int, int], kernel: Sizes, stride: Sizes, count: int) -> None:
        super().__init__()
        first, last = channels
        once = [1] * layers.axes
        self.blocks = nn.Sequential(
            *(Residual(layers, (last if n else first, last), kernel, once if n else stride) for n in range(count))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A U-Net's stages, the finest first.

    Attributes:
        residual: whether its encoder has residual blocks.
        features: of each stage; kernels, strides: of each stage, one number per axis.
        blocks: convolutions, or residual blocks, of each stage; decoder_blocks: of each but the coarsest, which comes
            first here.
        stem: channels before the first residual block.
    """

    residual: bool
    features: Sizes
    kernels: Sequence[Sizes]
    strides: Sequence[Sizes]
    blocks: Sizes
    decoder_blocks: Sizes
    stem: int | None = None


class Encoder(nn.Module):
    def __init__(self, layers: Layers, shape: Shape, in_channels: int) -> None:
        super().__init__()
        before = in_channels
        if shape.residual:
            stem = shape.stem or shape.features[0]
            self.stem = Stacked(layers, (in_channels, stem), shape.kernels[0], [1] * layers.axes, 1)
            before = stem
        stages: list[nn.Module] = []
        for features, kernel, stride, count in zip(
            shape.features, shape.kernels, shape.strides, shape.blocks, strict=True
        ):
            channels = (before, features)
            if shape.residual:
                stages.append(Blocks(layers, channels, kernel, stride, count))
            else:
                stages.append(nn.Sequential(Stacked(layers, channels, kernel, stride, count)))
            before = features
        self.stages = nn.Sequential(*stages)
        self._has_stem = shape.residual

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        found = []
        x = self.stem(x) if self._has_stem else x
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Decoder(nn.Module):
    def __init__(self, layers: Layers, shape: Shape, out_channels: int) -> None:
        super().__init__()
        below, above = shape.features[:0:-1], shape.features[-2::-1]
        strides, kernels = shape.strides[:0:-1], shape.kernels[-2::-1]
        upwards = UPWARDS[layers.axes]
        once = [1] * layers.axes
        self.transpconvs = nn.ModuleList(
            upwards(first, last, tuple(stride), tuple(stride), bias=layers.bias)
            for first, last, stride in zip(below, above, strides, strict=True)
        )
        self.stages = nn.ModuleList(
            Stacked(layers, (2 * features, features), kernel, once, count)
            for features, kernel, count in zip(above, kernels, shape.decoder_blocks, strict=True)
        )
        self.last = CONV[layers.axes](shape.features[0], out_channels, 1, bias=True)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        x = skips[-1]
        for upwards, stage, skip in zip(self.transpconvs, self.stages, skips[-2::-1], strict=True):
            x = stage(torch.cat((upwards(x), skip), 1))
        return self.last(x)


class UNet(nn.Module):
    """PlainConvUNet or ResidualEncoderUNet of dynamic-network-architectures, without deep supervision."""

    def __init__(self, layers: Layers, shape: Shape, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(layers, shape, in_channels)
        self.decoder = Decoder(layers, shape, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (batch, channel, *space) to logits of the same space."""
        return self.decoder(self.encoder(x))


class Folds(nn.Module):
    """The networks of a cross-validation, all in memory; `inferer.Windows` asks one after the other.

    Args:
        count: of folds.
        in_channels, out_channels: of each.
        layers, shape: the arguments of `Layers` and `Shape`, as a bundle's configuration has them.
    """

    def __init__(
        self, count: int, in_channels: int, out_channels: int, layers: dict[str, Any], shape: dict[str, Any]
    ) -> None:
        super().__init__()
        made = (UNet(Layers(**layers), Shape(**shape), in_channels, out_channels) for _ in range(count))
        self.folds = nn.ModuleList(made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The mean of their logits, window by window. The inferer does not come here."""
        return torch.stack([fold(x) for fold in self.folds]).mean(0)
