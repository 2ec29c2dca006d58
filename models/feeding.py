"""From the channels of a request to the items that a bundle's data set would have held: what its readers would read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray

from .card import Card, CardError
from .stand_ins import LABELS, FromMemory


class Feeding:
    """Which channel goes where in a bundle.

    A bundle that reads a key for each channel of the card gets each under its own. One that reads a single image gets
    all channels in it, one after the other, as it would from a list of files. A label that is read too is empty.

    Args:
        card: whose inputs are the channels.
        transform: the bundle's preprocessing, built.
        planar: whether it wants single images, not volumes.
        constants: what stands beside the images in every item.

    Raises:
        CardError: the bundle's keys cannot be told apart by the card's channels.
    """

    def __init__(self, card: Card, transform: Compose, planar: bool, constants: dict[str, Any]) -> None:
        names = [one.channel for one in card.input]
        readers = [step for step in transform.flatten().transforms if isinstance(step, FromMemory)]
        keys = list(dict.fromkeys(str(key) for reader in readers for key in reader.keys))
        needed = {str(key) for reader in readers if not reader.allow_missing_keys for key in reader.keys}
        images = [key for key in keys if key not in LABELS]
        if not keys:
            raise CardError("the bundle reads no image: its data set has no LoadImaged")
        self._planar = planar
        self._rows_first = _layout(readers, planar)
        self._names = names
        self._together = ""
        if not set(names) <= set(keys):
            if len(images) != 1:
                raise CardError(f"the card's channels are {', '.join(names)}; the bundle reads {', '.join(keys)}")
            self._together = images[0]
        given = {self._together} if self._together else set(names)
        if strange := sorted(needed - given - set(LABELS)):
            raise CardError(f"the bundle also reads {', '.join(strange)}, for which the card has no [[input]]")
        self._constants = {key: value for key, value in constants.items() if key not in keys}
        self._empty = [key for key in keys if key in needed and key not in given]

    def items(
        self, channels: list[NDArray[np.float32]], ras: NDArray[np.float64], out: NDArray[np.uint8]
    ) -> Iterator[tuple[dict[str, Any], NDArray[np.uint8], NDArray[np.float64]]]:
        """What to run the bundle on, the part of `out` that the result belongs into, and its affine.

        Args:
            channels: (slices, rows, columns) each, or with colour as last axis.
            ras: 4x4, from (column, row, slice) index to millimetres, right, anterior, superior.
            out: (slices, rows, columns).
        """
        if not self._planar:
            yield self._item(channels, ras), out, ras
            return
        # a picture's file has no place in a room: columns and rows, as they are, in millimetres
        flat = np.diag([*np.linalg.norm(ras[:3, :3], axis=0), 1.0])
        if self._rows_first:
            flat = flat[[1, 0, 2, 3]][:, [1, 0, 2, 3]]
            channels, out = [channel.swapaxes(1, 2) for channel in channels], out.swapaxes(1, 2)
        for number in range(out.shape[0]):
            images = [channel[number : number + 1] for channel in channels]
            yield self._item(images, flat), out[number : number + 1], flat

    def _item(self, channels: list[NDArray[np.float32]], ras: NDArray[np.float64]) -> dict[str, Any]:
        tensors = [_tensor(array) for array in channels]
        space = tensors[0].shape[-3:]
        if self._planar:
            tensors, space = [tensor[..., 0] for tensor in tensors], space[:2]
        many = bool(self._together) and len(tensors) > 1
        if many:
            tensors = [torch.cat([tensor if tensor.ndim > len(space) else tensor[None] for tensor in tensors])]
        made = dict(zip([self._together] if self._together else self._names, tensors, strict=True))
        made |= {key: torch.zeros(space) for key in self._empty}
        item: dict[str, Any] = dict(self._constants)
        for key, tensor in made.items():
            at: int | str = 0 if tensor.ndim > len(space) else "no_channel"
            if self._planar and at == 0 and not many:
                tensor, at = tensor.movedim(0, -1), -1
            meta = {
                "original_channel_dim": at,
                "original_affine": ras.copy(),
                "spatial_shape": np.array(space),
                "space": "RAS",
                "filename_or_obj": key,
            }
            item[key] = MetaTensor(tensor, affine=torch.as_tensor(ras), meta=meta)
            item[f"{key}_meta_dict"] = dict(meta)
        return item


def _layout(readers: Sequence[FromMemory], planar: bool) -> bool:
    """Whether the images come with their rows first.

    Raises:
        CardError: they come in a way that no image here lies in, or not all of them in one.
    """
    if any(reader.left_as_lps for reader in readers):
        raise CardError("the bundle reads images with affine_lps_to_ras = false: they would be mirrored here")
    found = {reader.rows_first for reader in readers}
    if found == {True} and not planar:
        raise CardError("the bundle reads volumes with the order of their axes reversed: they would be turned here")
    if len(found) > 1:
        raise CardError("the bundle reads some of its images with rows first, and others with columns first")
    return found == {True}


def _tensor(array: NDArray[np.float32]) -> torch.Tensor:
    """(x, y, z), or (colour, x, y, z)."""
    return torch.from_numpy(array).permute(*((3, 2, 1, 0) if array.ndim == 4 else (2, 1, 0)))
