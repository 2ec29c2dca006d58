"""Segments that may share voxels, a channel of probabilities for each: their rules, entropies and label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from . import entropy
from .card import Card
from .clean import absorb_small_components, fill_holes


def mend(probabilities: torch.Tensor, affine: NDArray[np.float64], card: Card, threshold: float) -> None:
    """Apply the card's rules to each segment by itself: small components become background, holes are filled.

    Args:
        probabilities: (segment, x, y, z); changed in place, to 0 where a rule takes a voxel and 1 where it gives one.
        affine: 4x4, from (x, y, z) index to mm.
        threshold: from here on a voxel is of the segment.
    """
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    pixel_mm2 = float(np.prod(np.linalg.norm(affine[:3, :2], axis=0)))
    for channel in probabilities:
        before = channel >= threshold
        both = torch.stack([~before, before]).to(torch.uint8)
        if card.smallest_component_ml or card.smallest_component_part:
            absorb_small_components(both, voxel_ml, card.smallest_component_ml, card.smallest_component_part)
        if card.fill_holes_mm2:
            fill_holes(both, pixel_mm2, card.fill_holes_mm2)
        after = both[1] > 0
        channel[before & ~after] = 0
        channel[after & ~before] = 1


def background_and(probabilities: torch.Tensor) -> torch.Tensor:
    """The same behind a channel for the background, which is as probable as that no segment has the voxel."""
    return torch.cat([1 - probabilities.amax(0, keepdim=True), probabilities])


class Doubt:
    """The entropies of a network's output before the rules, to be averaged after them.

    Args:
        probabilities: (segment, x, y, z).
    """

    def __init__(self, probabilities: torch.Tensor, threshold: float) -> None:
        self._threshold = threshold
        self._of = [entropy.of_sigmoid(channel, threshold) for channel in probabilities]

    def means(self, probabilities: torch.Tensor, values: Sequence[int]) -> dict[int, float]:
        """The mean entropy of each segment that has a voxel now, by its value.

        Args:
            probabilities: (segment, x, y, z), mended.
            values: of the segments, in the order of the channels.
        """
        found = {}
        for value, own, channel in zip(values, self._of, probabilities, strict=True):
            mean = entropy.mean_inside(own, (channel >= self._threshold).cpu().numpy())
            if mean is not None:
                found[value] = mean
        return found
