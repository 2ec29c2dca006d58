"""nnU-Net's sliding window: half overlapping windows weighted by a Gaussian, mirrored, summed up in half precision.

nnunetv2.inference: `nnUNetPredictor` with its defaults. The sums are rounded where nnU-Net rounds them, because the
label map would be another one else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from .network import Folds

STEP = 0.5
#: keeps the weights of a window's border above zero in half precision
LARGEST_WEIGHT = 10


class Windows(Inferer):
    """Runs every fold over a volume.

    Args:
        patch: a window, three sizes, or two, and then every slice along the first axis is a picture of its own.
        mirror_axes: of the patch, along which the network is asked again and the mean is taken.
    """

    def __init__(self, patch: Sequence[int], mirror_axes: Sequence[int] = ()) -> None:
        super().__init__()
        self._patch = tuple(patch)
        self._flips = [
            tuple(axis + 2 for axis in axes)
            for count in range(len(mirror_axes) + 1)
            for axes in itertools.combinations(mirror_axes, count)
        ]
        self._weights: dict[torch.device, torch.Tensor] = {}

    def __call__(
        self, inputs: torch.Tensor, network: torch.nn.Module, *_arguments: Any, **_others: Any
    ) -> torch.Tensor:
        """The mean of the folds' logits.

        Args:
            inputs: (1, channel, slice, row, column), float32.
            network: `Folds`.

        Returns:
            float16 (1, class, slice, row, column), in memory of the computer, not of the GPU.

        Raises:
            RuntimeError: a logit is too large for half precision.
        """
        assert isinstance(network, Folds)
        volume, device = torch.as_tensor(inputs)[0], inputs.device
        padded, inside = self._padded(volume)
        total: torch.Tensor | None = None
        for fold in network.folds:
            with torch.autocast(device.type, enabled=device.type == "cuda"):
                logits = self._logits(padded, fold, device).cpu()
            total = logits if total is None else total.add_(logits)
        assert total is not None
        if len(network.folds) > 1:
            total /= len(network.folds)
        return total[(slice(None), *inside)][None]

    def _padded(self, volume: torch.Tensor) -> tuple[torch.Tensor, tuple[slice, ...]]:
        """Zeros around a volume that is smaller than a window, and where it lies in them."""
        shape = volume.shape[1:]
        missing = [max(want - have, 0) for want, have in zip(self._patch, shape[-len(self._patch) :], strict=True)]
        missing = [0] * (3 - len(missing)) + missing
        before = [count // 2 for count in missing]
        sides = [side for low, count in zip(before, missing, strict=True) for side in (count - low, low)][::-1]
        inside = tuple(slice(low, low + size) for low, size in zip(before, shape, strict=True))
        return functional.pad(volume, sides), inside

    def _logits(self, volume: torch.Tensor, fold: torch.nn.Module, device: torch.device) -> torch.Tensor:
        """Of one fold; the sums are kept on the GPU while they fit there."""
        try:
            return self._summed(volume, fold, device, device)
        except torch.OutOfMemoryError:
            if device.type == "cpu":
                raise
        torch.cuda.empty_cache()
        return self._summed(volume.cpu(), fold, device, torch.device("cpu"))

    def _summed(
        self, volume: torch.Tensor, fold: torch.nn.Module, device: torch.device, keep: torch.device
    ) -> torch.Tensor:
        weights = self._weight(keep)
        sums: torch.Tensor | None = None
        counts = torch.zeros(volume.shape[1:], dtype=torch.half, device=keep)
        for window in self._windows(volume.shape[1:]):
            found = self._mirrored(volume[window][None].contiguous().to(device), fold)[0].to(keep)
            if sums is None:
                sums = torch.zeros((found.shape[0], *volume.shape[1:]), dtype=torch.half, device=keep)
            found *= weights
            sums[window] += found
            counts[window[1:]] += weights
        assert sums is not None
        torch.div(sums, counts, out=sums)
        if bool(torch.isinf(sums).any()):
            raise RuntimeError("the network's logits are too large for half precision")
        return sums

    def _mirrored(self, window: torch.Tensor, fold: torch.nn.Module) -> torch.Tensor:
        found: torch.Tensor | None = None
        for axes in self._flips:
            once = torch.flip(fold(torch.flip(window, axes)), axes) if axes else fold(window)
            found = once if found is None else found.add_(once)
        assert found is not None
        if len(self._flips) > 1:
            found /= len(self._flips)
        return found

    def _windows(self, shape: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """Where the windows lie, as indices into (channel, slice, row, column)."""
        steps = [starts(size, patch) for size, patch in zip(shape[-len(self._patch) :], self._patch, strict=True)]
        before: list[tuple[int, ...]] = [(number,) for number in range(shape[0])] if len(self._patch) == 2 else [()]
        for one, corner in itertools.product(before, itertools.product(*steps)):
            parts = (slice(low, low + size) for low, size in zip(corner, self._patch, strict=True))
            yield (slice(None), *one, *parts)

    def _weight(self, device: torch.device) -> torch.Tensor:
        if device not in self._weights:
            self._weights[device] = gaussian(self._patch).to(device)
        return self._weights[device]


def starts(size: int, patch: int) -> list[int]:
    """Where the windows along one axis begin: not more than half a window apart, evenly."""
    count = int(np.ceil((size - patch) / (patch * STEP))) + 1
    between = (size - patch) / (count - 1) if count > 1 else 0.0
    return [int(np.round(between * number)) for number in range(count)]


def gaussian(patch: Sequence[int]) -> torch.Tensor:
    """float16 weights of a window: a Gaussian of an eighth of its size, nowhere zero."""
    centre = np.zeros(patch)
    centre[tuple(size // 2 for size in patch)] = 1
    smooth = gaussian_filter(centre, [size / 8 for size in patch], 0, mode="constant", cval=0)
    smooth /= smooth.max() / LARGEST_WEIGHT
    weights = torch.from_numpy(smooth).half()
    weights[weights == 0] = weights[weights != 0].min()
    return weights
