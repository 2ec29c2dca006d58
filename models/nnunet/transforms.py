"""nnU-Net's way from an image to what its network reads, and from logits back to labels on the grid of the image.

nnunetv2.preprocessing.preprocessors.default_preprocessor and nnunetv2.inference.export_prediction: turn, transpose,
crop to what is not zero, normalise, resample; then resample every class, compare, paste, turn back. Arrays are
(channel, slice, row, column) in between, as SimpleITK has them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from .resampling import How, new_shape, resampled, thick_axis

#: under which what `Prepared` did travels with an image: 4 x 3, the shape before cropping, the box's lowest corner, its
#: shape, the spacing in mm, all after transposing
DONE = "nnunet_done"
#: the images as they were acquired, slice by slice, whatever that is in the patient
ACQUIRED = "acquired"
SMALLEST = 1e-8


class Prepared(MapTransform):
    """In place of nnU-Net's preprocessing.

    Args:
        keys: of one image with all channels.
        orientation: to where the axes of the training's files led (nibabel's aff2axcodes), or "acquired".
        transpose: the plans' transpose_forward.
        spacing_mm: of the network, three numbers after transposing, or two, and then slices are not resampled.
        normalisation: of each channel, `scheme` and what it needs.
        resampling: the arguments of `How`.
    """

    def __init__(
        self,
        keys: Any,
        orientation: str,
        transpose: Sequence[int],
        spacing_mm: Sequence[float],
        normalisation: Sequence[Mapping[str, Any]],
        resampling: Mapping[str, Any],
    ) -> None:
        super().__init__(keys)
        self._orientation = orientation
        self._transpose = tuple(transpose)
        self._spacing_mm = list(spacing_mm)
        self._normalisation = normalisation
        self._how = How(**resampling)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[key], made[DONE] = self._prepared(made[key])
        return made

    def _prepared(self, image: MetaTensor) -> tuple[MetaTensor, torch.Tensor]:
        affine = np.asarray(image.affine, np.float64)
        turn = _turn(affine, self._orientation)
        turned = apply_orientation(np.asarray(image, np.float32).transpose(1, 2, 3, 0), turn)  # (x, y, z, channel)
        # a copy, which is written on, in the order of SimpleITK's; views of it from here on, as in nnU-Net: the mean
        # of an array in single precision depends on how it lies in memory
        array = np.array(turned.transpose(3, 2, 1, 0), order="C", copy=True)
        array = array.transpose(0, *(axis + 1 for axis in self._transpose))
        slowest_first = _spacing_mm(affine)[turn[:, 0].argsort()][::-1]
        spacing = [float(slowest_first[axis]) for axis in self._transpose]
        before = array.shape[1:]
        mask = binary_fill_holes(np.any(array != 0, axis=0))
        low, high = _box(mask)
        inside = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        array, mask = array[(slice(None), *inside)], mask[inside]
        wanted = self._spacing_mm if len(self._spacing_mm) == 3 else [spacing[0], *self._spacing_mm]
        shape = new_shape(array.shape[1:], spacing, wanted)
        axis = thick_axis(spacing, wanted, self._how)
        channels = []
        for channel, how in zip(array, self._normalisation, strict=True):
            _normalise(channel, mask, **how)
            channels.append(resampled(channel, shape, axis, self._how))
        done = torch.tensor([before, low, array.shape[1:], spacing], dtype=torch.float64)
        return MetaTensor(torch.from_numpy(np.stack(channels)), meta=image.meta), done


class Labelled(MapTransform):
    """In place of nnU-Net's export: labels of the source grid from logits.

    Args:
        keys: of the logits, (class, slice, row, column).
        image: key of the image that `Prepared` was given.
        orientation, transpose, spacing_mm: as there.
        regions: label values of region-based training, in the order in which they are painted; empty: each class is
            its number.
        resampling: the arguments of `How`.
    """

    def __init__(
        self,
        keys: Any,
        image: str,
        orientation: str,
        transpose: Sequence[int],
        spacing_mm: Sequence[float],
        regions: Sequence[int],
        resampling: Mapping[str, Any],
    ) -> None:
        super().__init__(keys)
        self._image = image
        self._orientation = orientation
        self._transpose = tuple(transpose)
        self._spacing_mm = list(spacing_mm)
        self._regions = tuple(regions)
        self._how = How(**resampling)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[key] = self._labelled(torch.as_tensor(made[key]), made[self._image], np.asarray(made[DONE].cpu()))
        return made

    def _labelled(self, logits: torch.Tensor, image: MetaTensor, done: NDArray[np.float64]) -> MetaTensor:
        before, low, shape = (tuple(int(n) for n in one) for one in done[:3])
        spacing = [float(one) for one in done[3]]
        had = self._spacing_mm if len(self._spacing_mm) == 3 else [spacing[0], *self._spacing_mm]
        axis = thick_axis(had, spacing, self._how)
        classes = (resampled(one.cpu().numpy(), shape, axis, self._how) for one in logits)
        cropped = _painted(classes, shape, self._regions) if self._regions else _largest(classes, shape)
        labels = np.zeros(before, cropped.dtype)
        labels[tuple(slice(first, first + size) for first, size in zip(low, shape, strict=True))] = cropped
        labels = labels.transpose(np.argsort(self._transpose)).transpose(2, 1, 0)
        affine = np.asarray(image.meta["original_affine"], np.float64).reshape(4, 4)
        back = apply_orientation(labels, _back(affine, self._orientation))
        return MetaTensor(torch.from_numpy(np.ascontiguousarray(back))[None], affine=torch.as_tensor(affine))


def _turn(affine: NDArray[np.float64], orientation: str) -> NDArray[np.float64]:
    """nibabel's transform from an image's axes to those of the training's files."""
    here = io_orientation(affine)
    return ornt_transform(here, here if orientation == ACQUIRED else axcodes2ornt(tuple(orientation)))


def _back(affine: NDArray[np.float64], orientation: str) -> NDArray[np.float64]:
    here = io_orientation(affine)
    return ornt_transform(here if orientation == ACQUIRED else axcodes2ornt(tuple(orientation)), here)


def _spacing_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of (x, y, z). Rounded: nnU-Net looks for the thick axis by comparing spacings for equality."""
    return np.round(np.linalg.norm(affine[:3, :3], axis=0), 6)


def _box(mask: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Of what is not zero; the whole where all is zero."""
    low, high = [], []
    for axis, size in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != axis)))
        low.append(int(found[0]) if len(found) else 0)
        high.append(int(found[-1]) + 1 if len(found) else size)
    return low, high


def _normalise(
    image: NDArray[np.float32], mask: NDArray[np.bool_], scheme: str, masked: bool = False, **values: float
) -> None:
    """One channel by nnU-Net's scheme of that name, in place.

    Args:
        masked: whether only what is not zero counts (use_mask_for_norm).
        values: of CTNormalization, the statistics of the training's foreground.
    """
    if scheme == "CTNormalization":
        np.clip(image, values["percentile_00_5"], values["percentile_99_5"], out=image)
        image -= values["mean"]
        image /= max(values["std"], SMALLEST)
    elif scheme == "RescaleTo01Normalization":
        image -= image.min()
        image /= np.clip(image.max(), a_min=SMALLEST, a_max=None)
    elif scheme == "ZScoreNormalization" and not masked:
        mean, deviation = image.mean(), image.std()
        image -= mean
        image /= max(deviation, SMALLEST)
    elif scheme == "ZScoreNormalization" and mask.any():
        mean, deviation = image[mask].mean(), image[mask].std()
        image[mask] = (image[mask] - mean) / max(deviation, SMALLEST)


def _largest(classes: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The number of the largest logit; the first of equals. One class at a time, because all of them are many."""
    labels = np.zeros(shape, np.uint8)
    best: NDArray[Any] | None = None
    for number, logit in enumerate(classes):
        if best is None:
            best = logit.copy()
            continue
        won = logit > best
        labels[won] = number
        np.maximum(best, logit, out=best)
    return labels


def _painted(classes: Any, shape: tuple[int, ...], values: Sequence[int]) -> NDArray[np.uint8]:
    """Every region whose probability is above a half, painted over those before it."""
    labels = np.zeros(shape, np.uint8)
    for value, logit in zip(values, classes, strict=True):
        labels[torch.sigmoid(torch.from_numpy(np.ascontiguousarray(logit)).float()).numpy() > 0.5] = value
    return labels
