"""Flips of a network that tells left from right: a mirrored left lung is a right lung.

A plain flip along the patient's left-right axis teaches such a network that both look alike, and its outcome is a coin
toss. Here the flip exchanges the paired label values too, and which classes count as annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Flip, MapTransform, RandomizableTransform

from .cases import ANNOTATED, LABEL
from .exchanging import exchanged, exchanged_places


class ExchangingFlipd(RandomizableTransform, MapTransform):
    """Flip at random, and exchange the paired classes where the left-right axis is flipped.

    What is on the left of the patient after any of these flips has the label of the left; so flips along several axes,
    together or one after the other, agree.

    Args:
        keys: channel-first tensors.
        pairs: label values that are one another's mirror image.
        prob: of flipping.
        spatial_axis: which axes are flipped, all together; None: all there are.
        one_axis: flip one axis, another one each time, instead.
        left_right_axis: which spatial axis is the patient's left-right; None: as the tensor's affine says.
        label_key: (1, ...) with label values, or one channel per value.

    Raises:
        TypeError: neither an axis nor an affine says what left-right is.
    """

    def __init__(
        self,
        keys: Any,
        pairs: Sequence[tuple[int, int]],
        prob: float = 0.1,
        spatial_axis: Sequence[int] | int | None = None,
        one_axis: bool = False,
        left_right_axis: int | None = None,
        label_key: str = LABEL,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.pairs = [(int(a), int(b)) for a, b in pairs]
        self.spatial_axis = [spatial_axis] if isinstance(spatial_axis, int) else spatial_axis
        self.one_axis = one_axis
        self.left_right_axis = left_right_axis
        self.label_key = label_key

    def __call__(self, data: Any) -> dict[Any, Any]:
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        first = item[self.first_key(item)]
        spatial = first.ndim - 1
        axes = [int(self.R.randint(spatial))] if self.one_axis else list(self.spatial_axis or range(spatial))
        left_right = self._left_right(first)
        flip = Flip(axes)
        for key in self.key_iterator(item):
            was = item[key]
            flipped = flip(was)  # a MetaTensor in any case; a batch must not have both kinds
            item[key] = flipped if isinstance(was, MetaTensor) else flipped.as_tensor()
        if left_right in {axis % spatial for axis in axes}:
            if self.label_key in item:
                item[self.label_key] = exchanged(item[self.label_key], self.pairs)
            if ANNOTATED in item:
                item[ANNOTATED] = exchanged_places(item[ANNOTATED], self.pairs)
        return item

    def _left_right(self, tensor: torch.Tensor) -> int:
        if self.left_right_axis is not None:
            return self.left_right_axis
        if not isinstance(tensor, MetaTensor):
            raise TypeError("a flip that exchanges left and right needs left_right_axis, or tensors with an affine")
        return int(np.argmax(np.abs(np.asarray(tensor.affine)[0, : tensor.ndim - 1])))
