"""What stands in a bundle's configuration where it reads, writes or reports: the same places, nothing on disk."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.image_writer import ImageWriter
from monai.transforms import EnsureChannelFirst, MapTransform
from monai.utils import get_equivalent_dtype

#: keys under which bundles read a label beside the image, at inference too: the same transforms serve for training
LABELS = ("label", "labels", "mask", "seg", "segmentation", "annotation", "gt")


class Nothing:
    """In place of a handler that reads a checkpoint, writes a file or tells a tracker: attached, and does nothing."""

    def attach(self, engine: Any) -> None:
        """Register no event."""

    def __call__(self, *arguments: Any) -> None:
        """Also called by name, as in "$@checkpointloader(@evaluator)"."""


class FromMemory(MapTransform):
    """In place of LoadImaged: the item holds the images already.

    Args:
        keys, dtype, ensure_channel_first, allow_missing_keys: as LoadImaged has them.
        rows_first, left_as_lps: how the bundle's reader would have laid the image out (`readers`).
    """

    def __init__(
        self,
        keys: Any,
        dtype: Any = torch.float32,
        ensure_channel_first: bool = False,
        allow_missing_keys: bool = False,
        rows_first: bool = False,
        left_as_lps: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.rows_first, self.left_as_lps = rows_first, left_as_lps
        self._dtype = None if dtype is None else get_equivalent_dtype(dtype, torch.Tensor)
        self._first = EnsureChannelFirst() if ensure_channel_first else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            if self._dtype is not None:
                made[key] = made[key].to(self._dtype)
            if self._first is not None:
                made[key] = self._first(made[key])
        return made


class Saved(MapTransform):
    """In place of SaveImaged: what it would have written is kept for a moment.

    Args:
        keys, resample, mode, padding_mode, dtype, allow_missing_keys: as SaveImaged has them.
    """

    def __init__(
        self,
        keys: Any,
        resample: bool = False,
        mode: str = "nearest",
        padding_mode: str = "border",
        dtype: Any = "float64",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self._resample = resample
        self._how = {"mode": mode, "padding_mode": padding_mode, "dtype": dtype}
        self.kept: dict[Hashable, Any] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        self.kept = {key: data[key] for key in self.key_iterator(dict(data))}
        return dict(data)

    def on_the_grid(self, image: MetaTensor, affine: Any, shape: Sequence[int]) -> MetaTensor:
        """The image where SaveImaged would have put it, if it was told to.

        Args:
            image: (channel, x, y, z).
            affine: 4x4 of the source.
            shape: (x, y, z) of the source.
        """
        if not self._resample:
            return image
        # the writer has its channels last
        moved, _ = ImageWriter.resample_if_needed(
            torch.as_tensor(image).permute(1, 2, 3, 0), image.affine, affine, tuple(shape), **self._how
        )
        return MetaTensor(torch.as_tensor(moved).permute(3, 0, 1, 2), affine=torch.as_tensor(affine))
