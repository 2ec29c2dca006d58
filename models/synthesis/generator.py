"""The two networks that learn against each other: a SPADE generator with styles, and a discriminator of patches.

T. Park et al., "Semantic image synthesis with spatially-adaptive normalization", CVPR 2019; MONAI's own networks.
"""

from __future__ import annotations

import torch
from monai.networks.nets import PatchDiscriminator, SPADENet

from ..augmentation import HALVINGS

STYLE = 16
CHANNELS = (24, 32, 48)
#: of MONAI's decoder: it ends at half of the resolution with as many channels as it is to give, and for an image of
#: one channel that would leave one
FEATURES = 16
LABEL_FEATURES = 16


class Generator(torch.nn.Module):
    """Slices from maps, in the style of an encoded slice.

    MONAI's SPADENet gives features; a head at the full resolution, which sees the map once more, makes the image.

    Args:
        channels: of the image.
        map_channels: of what is shown of the map.
        side: rows and columns.
    """

    def __init__(self, channels: int, map_channels: int, side: int) -> None:
        super().__init__()
        if len(CHANNELS) != HALVINGS:
            raise ValueError("a canvas is not halved as often as the generator has levels")
        self.spade = SPADENet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=FEATURES,
            label_nc=map_channels,
            input_shape=(side, side),
            channels=list(CHANNELS),  # SPADENet reverses the list that it is given, and appends to it
            z_dim=STYLE,
            spade_intermediate_channels=LABEL_FEATURES,
        )
        self.head = torch.nn.Sequential(
            torch.nn.Conv2d(FEATURES + map_channels, FEATURES, 3, padding=1),
            torch.nn.LeakyReLU(0.2),
            torch.nn.Conv2d(FEATURES, channels, 3, padding=1),
            torch.nn.Tanh(),
        )

    def styles(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of each image's style, (images, STYLE)."""
        mean, log_variance = self.spade.encoder(images)
        return mean, log_variance

    def forward(self, shown: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Images (n, channels, side, side) in -1 ... 1.

        Args:
            shown: `Maps.shown`.
            style: (n, STYLE).
        """
        features = self.spade.decode(shown, style)
        return self.head(torch.cat([features, shown], 1))


def discriminator(channels: int, map_channels: int) -> PatchDiscriminator:
    """Judges patches of an image together with its map; gives the features of every layer, the verdict last."""
    return PatchDiscriminator(
        spatial_dims=2,
        channels=24,
        in_channels=channels + map_channels,
        num_layers_d=2,
        norm="INSTANCE",
    )
