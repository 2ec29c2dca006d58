"""MONAI's sliding window with accumulators that are as thick as one window, not as the volume.

The windows come in MONAI's order, in MONAI's batches, and every voxel gets its sums in that order: what is finished is
the same to the last bit. It goes at once to where there is room for it, or is kept in half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map, dense_patch_slices, get_valid_patch_size
from monai.inferers import SlidingWindowInferer
from monai.utils import PytorchPadMode, ensure_tuple_rep, fall_back_tuple, look_up_option
from torch.nn import functional

LEAST_HALF = -65504.0


class Unsuited(Exception):
    """The network does something that only MONAI's own stitching knows."""


def slabbed(inferer: SlidingWindowInferer, to: torch.device, *, half: bool) -> SlidingWindowInferer:
    """A copy of an inferer, of whatever kind, that stitches in slabs.

    Args:
        to: where the result is gathered.
        half: in half precision, each voxel's logits less their largest: softmax does not see the difference, and
            classes that are nearly equal keep all their digits.
    """
    kind = type(inferer)
    made = copy.copy(inferer)
    # behind the bundle's own kind, before MONAI's: what that calls by super() is caught here
    made.__class__ = Slabs if kind is SlidingWindowInferer else type("Slabbed", (kind, Slabs), {})
    made._to, made._half = to, half
    return made


class Slabs(SlidingWindowInferer):
    """In the place of MONAI's stitching; made by `slabbed`."""

    _to: torch.device
    _half: bool

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """As SlidingWindowInferer's, for one volume.

        Args:
            inputs: (1, channel, x, y, z).

        Returns:
            (1, class, x, y, z).

        Raises:
            Unsuited: several results, other sizes than the window's, conditions or coordinates.
        """
        for name in ("device", "buffer_steps", "buffer_dim"):
            kwargs.pop(name, None)
        if inputs.shape[0] != 1 or self.with_coord or kwargs.get("condition") is not None:
            raise Unsuited("more than one volume, a condition, or coordinates")
        space = tuple(inputs.shape[2:])
        roi = fall_back_tuple(self.roi_size, space)
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        image, before = self._padded(image, roi)
        size = tuple(image.shape[2:])
        windows = dense_patch_slices(size, roi, self._interval(size, roi))
        weight = self._weight(size, roi, image)
        axis = next((n for n in range(len(size)) if roi[n] < size[n]), 0)  # MONAI's order goes along it
        slab: _Slab | None = None
        for first in range(0, len(windows), self.sw_batch_size):
            group = windows[first : first + self.sw_batch_size]
            data = torch.cat([image[(slice(None), slice(None), *window)] for window in group])
            found = network(data.to(self.sw_device or image.device), *args, **kwargs)
            if not isinstance(found, torch.Tensor) or tuple(found.shape[2:]) != tuple(roi):
                raise Unsuited("not one result of the size of the window")
            found *= weight
            if slab is None:
                slab = _Slab(found, weight.dtype, size, roi, axis, self._to, self._half)
            for window, part in zip(group, found, strict=True):
                slab.add(window, part, weight[0])
        assert slab is not None
        whole = slab.finished()
        result = whole[(slice(None), slice(None), *(slice(a, a + n) for a, n in zip(before, space, strict=True)))]
        return MetaTensor(result).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else result

    def _padded(self, image: torch.Tensor, roi: tuple[int, ...]) -> tuple[torch.Tensor, list[int]]:
        """At least as large as the window; and how much was put before each axis."""
        lacks = [max(least - there, 0) for least, there in zip(roi, image.shape[2:], strict=True)]
        before = [lack // 2 for lack in lacks]
        if not any(lacks):
            return image, before
        sides = [side for lack, half in zip(lacks[::-1], before[::-1], strict=True) for side in (half, lack - half)]
        mode = look_up_option(self.padding_mode, PytorchPadMode)
        return functional.pad(image, sides, mode=mode, value=self.cval), before

    def _interval(self, size: tuple[int, ...], roi: tuple[int, ...]) -> tuple[int, ...]:
        overlaps = ensure_tuple_rep(self.overlap, len(size))
        return tuple(
            window if window == whole else max(1, int(window * (1 - overlap)))
            for whole, window, overlap in zip(size, roi, overlaps, strict=True)
        )

    def _weight(self, size: tuple[int, ...], roi: tuple[int, ...], image: torch.Tensor) -> torch.Tensor:
        """(1, 1, x, y, z): how much a window counts, voxel by voxel."""
        valid = get_valid_patch_size(size, roi)
        device, kind = self.sw_device or image.device, image.dtype
        if self.roi_weight_map is not None and tuple(valid) == tuple(roi):
            return self.roi_weight_map.to(device=device, dtype=kind)[None, None]
        made = compute_importance_map(valid, mode=self.mode, sigma_scale=self.sigma_scale, device=device, dtype=kind)
        return made[None, None]


class _Slab:
    """The part of the accumulators that still grows.

    Args:
        like: (n, class, x, y, z): what the network gives for windows.
        kind: of the sums; MONAI's is that of the input.
        size: of the volume.
        roi: of a window.
        axis: along which windows come.
        to, half: as `slabbed` has them.
    """

    def __init__(
        self,
        like: torch.Tensor,
        kind: torch.dtype,
        size: tuple[int, ...],
        roi: tuple[int, ...],
        axis: int,
        to: torch.device,
        half: bool,
    ) -> None:
        self._axis, self._thick, self._half = axis, roi[axis], half
        shape = list(size)
        shape[axis] = roi[axis]
        self._sum = torch.zeros([like.shape[1], *shape], dtype=kind, device=like.device)
        self._count = torch.zeros([1, *shape], dtype=kind, device=like.device)
        self._whole = torch.empty([1, like.shape[1], *size], dtype=torch.float16 if half else kind, device=to)
        self._at = 0

    def add(self, window: tuple[slice, ...], part: torch.Tensor, weight: torch.Tensor) -> None:
        """Add the weighted logits of a window."""
        self._let_go(window[self._axis].start)
        start = window[self._axis].start - self._at
        inside = list(window)
        inside[self._axis] = slice(start, start + self._thick)
        self._sum[(slice(None), *inside)] += part
        self._count[(slice(None), *inside)] += weight

    def finished(self) -> torch.Tensor:
        """(1, class, x, y, z)."""
        self._let_go(self._whole.shape[self._axis + 2])
        return self._whole

    def _let_go(self, until: int) -> None:
        """Whatever lies before `until` gets nothing more."""
        layers = until - self._at
        if layers <= 0:
            return
        axis = self._axis + 1
        made = self._sum.narrow(axis, 0, layers) / self._count.narrow(axis, 0, layers)
        if self._half:
            made = (made - made.amax(0, keepdim=True)).clamp_(min=LEAST_HALF)
        self._whole[0].narrow(axis, self._at, layers).copy_(made)
        del made
        for sums in (self._sum, self._count):
            left = self._thick - layers
            if left:
                sums.narrow(axis, 0, left).copy_(sums.narrow(axis, layers, left).clone())
            sums.narrow(axis, left, layers).zero_()
        self._at = until
