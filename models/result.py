"""From what a bundle gives to a label map, or to the reason why it is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from . import membership
from .card import Card
from .membership import LARGEST

__all__ = ["LARGEST", "Unusable", "labels_of", "only_known"]


class Unusable(Exception):
    """The bundle's output cannot be trusted or does not fit its card.

    Attributes:
        code: stable.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def labels_of(result: Any, ras: NDArray[np.float64], shape: tuple[int, ...], card: Card) -> NDArray[np.uint8]:
    """The label map in a bundle's result.

    Args:
        result: (1, x, y, z) or (x, y, z) labels, or (n, x, y, z) of zeros and ones, one channel per segment of the card
            in the order of their values, with or without the background before them; of overlapping segments without.
            In two dimensions without z.
        ras: 4x4 of the source.
        shape: (slices, rows, columns) of the source.

    Returns:
        (slices, rows, columns).

    Raises:
        Unusable: it lies on another grid, has other values than labels, or its segments overlap and the card does not
            say so.
    """
    if not isinstance(result, MetaTensor):
        raise Unusable("output-no-volume", f"the bundle's output is no volume, but a {type(result).__name__}")
    array, affine = np.asarray(result.cpu()), np.asarray(result.affine)
    space = shape[::-1]
    if space[2] == 1 and array.shape[-2:] == space[:2] and array.ndim < 4 and array.shape[-3:] != space:
        array = array[..., None]
    if array.ndim == 3:
        array = array[None]
    if array.shape[1:] != space or not _same_place(affine, ras):
        raise Unusable("output-off-grid", "the network's output does not lie on the grid of its input")
    if not np.isfinite(array).all():
        raise Unusable("output-not-finite", "the network's output is not a number in some voxels")
    if not np.array_equal(array, np.round(array)):
        raise Unusable("output-not-integer", "the network's output has values between the labels")
    labels = _label_map(array, card)
    only_known(labels, card)
    return np.asarray(labels.transpose(2, 1, 0), np.uint8)


def _same_place(affine: NDArray[np.float64], ras: NDArray[np.float64]) -> bool:
    """Whether two affines are one, as far as the first goes: that of an image in two dimensions may be 3x3."""
    if affine.shape == (3, 3):
        return np.allclose(affine[:2, :2], ras[:2, :2], atol=1e-3)
    return np.allclose(affine, ras, atol=1e-3)


def _label_map(channels: NDArray[Any], card: Card) -> NDArray[Any]:
    if card.overlapping:
        return _bits_of(channels, card)
    return channels[0] if len(channels) == 1 else _one_of(channels, card)


def _only_masks(channels: NDArray[Any]) -> None:
    if channels.min() < 0 or channels.max() > 1:
        raise Unusable("output-unknown-label", "the network's output has several channels that are no masks")


def _bits_of(masks: NDArray[Any], card: Card) -> NDArray[np.uint8]:
    """The label map of masks, (n, x, y, z), that may share voxels: a bit for each."""
    if len(masks) != len(card.segment):
        raise Unusable(
            "output-other-channels",
            f"the network's output has {len(masks)} channels, the card {len(card.segment)} overlapping segments",
        )
    _only_masks(masks)
    return membership.packed(masks)


def _one_of(masks: NDArray[Any], card: Card) -> NDArray[np.uint8]:
    """The label map of masks, (n, x, y, z), of which no two have a voxel: one for each of its values."""
    values = membership.known(card)
    _only_masks(masks)
    count = masks.sum(0, dtype=np.int64)
    if masks.shape[0] == len(values) + 1 and (count == 1).all():
        masks = masks[1:]  # every voxel has its class, and the first is the background
    elif masks.shape[0] != len(values):
        raise Unusable(
            "output-other-channels",
            f"the network's output has {masks.shape[0]} masks, the card {len(values)} label values",
        )
    if overlapping := int((count > 1).sum()):
        raise Unusable(
            "output-overlaps",
            f"the network's segments overlap in {overlapping} voxels; if they may, the card has to say "
            "`overlapping = true`",
        )
    labels = np.zeros(masks.shape[1:], np.uint8)
    for value, mask in zip(values, masks, strict=True):
        labels[mask > 0] = value
    return labels


def only_known(labels: NDArray[Any], card: Card) -> None:
    """Look for values that the card does not have.

    Raises:
        Unusable: there are some.
    """
    values = {0, *membership.known(card)}
    if labels.dtype == np.uint8:  # of every study: the largest, or a table, is far faster than counting the values
        if len(values) == max(values) + 1 and labels.size and int(labels.max()) < len(values):
            return
        known = np.isin(np.arange(LARGEST + 1), list(values))
        if all(np.take(known, part, mode="clip").all() for part in labels):
            return
    if unknown := sorted({int(value) for value in np.unique(labels)} - values):
        raise Unusable("output-unknown-label", f"the network's output has values its card does not know: {unknown}")
