"""From what a detector's bundle gives to boxes on the grid of the images, or to the reason why they are none.

MONAI's detectors count the voxels of their input. What a bundle does to such boxes is done by its own transforms, up to
where it takes them to millimetres (AffineBoxToWorldCoordinated): that transform moves two corners, which is right only
where the axes of the image are those of the patient, and which way they point depends on a flag
(`affine_lps_to_ras`). Here all eight corners go by the affine of the network's input to the grid of the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.apps.detection.transforms.dictionary import (
    AffineBoxToWorldCoordinated,
    ClipBoxToImaged,
    ConvertBoxModed,
    ConvertBoxToStandardModed,
)
from monai.data import MetaTensor
from monai.data.box_utils import convert_box_to_standard_mode
from monai.transforms import (
    CastToTyped,
    Compose,
    DeleteItemsd,
    EnsureTyped,
    FlattenSubKeysd,
    SelectItemsd,
    ToDeviced,
    ToNumpyd,
    ToTensord,
)
from numpy.typing import NDArray

from .card import Card, CardError
from .found import Box, Found
from .result import Unusable
from .stand_ins import Saved

Numbers = NDArray[np.float64]

CONVERSIONS = (ConvertBoxModed, ConvertBoxToStandardModed)
#: they leave the numbers of a box alone
HARMLESS = (
    CastToTyped,
    DeleteItemsd,
    EnsureTyped,
    FlattenSubKeysd,
    SelectItemsd,
    ToDeviced,
    ToNumpyd,
    ToTensord,
    Saved,
)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: a part of a direction that rounding leaves where axes are parallel
PARALLEL = 1e-3
IMAGE = "image"


class Detections:
    """How the boxes of a built bundle are read.

    Args:
        card: whose result is boxes.
        post: the bundle's postprocessing, or None; it is emptied, and what matters of it is done here.

    Raises:
        CardError: something is done to the boxes after they are in millimetres, which cannot be followed.
    """

    def __init__(self, card: Card, post: Any) -> None:
        assert card.boxes is not None
        self._rules, self._card = card.boxes, card
        self._mode: Any = card.boxes.mode
        self._image, self._space = IMAGE, card.boxes.space
        steps: list[Any] = list(post.flatten().transforms) if isinstance(post, Compose) else []
        if isinstance(post, Compose):
            post.transforms = []
        self._steps, later = steps, list[Any]()
        for number, step in enumerate(steps):
            if isinstance(step, AffineBoxToWorldCoordinated):
                self._steps, later, self._image = steps[:number], steps[number + 1 :], step.box_ref_image_keys
                self._space = "image"
                break
        if strange := [one for one in later if not isinstance(one, (*HARMLESS, *CONVERSIONS))]:
            raise CardError(
                f"the bundle's postprocessing does {type(strange[0]).__name__} to boxes in millimetres, which cannot "
                "be followed; it has to stand before AffineBoxToWorldCoordinated"
            )
        for step in self._steps:
            if isinstance(step, ConvertBoxModed):
                self._mode = step.converter.dst_mode
            elif isinstance(step, ConvertBoxToStandardModed):
                self._mode = None

    def found(self, output: Mapping[str, Any], ras: Numbers, shape: tuple[int, ...]) -> Found:
        """The boxes of one run.

        Args:
            output: of the bundle's evaluator, for one item.
            ras: 4x4, from (column, row, slice) index of the images to millimetres (right, anterior, superior).
            shape: (slices, rows, columns) of the images.

        Raises:
            Unusable: it has no boxes with scores and labels, or they cannot be boxes in this volume.
        """
        boxes, labels, scores = self._read(dict(output))
        known = {one.value for one in self._card.finding}
        if unknown := sorted({int(value) for value in labels} - known):
            raise Unusable("output-unknown-label", f"the network's boxes have labels its card does not know: {unknown}")
        kept = scores >= self._rules.score_threshold
        corners, voxel = self._on_grid(boxes[kept], output.get(self._image), ras)
        least, most = np.full(3, -0.5), np.array(shape[::-1]) - 0.5
        low, high = corners.min(1), corners.max(1)
        if outside := int(((high < least - voxel) | (low > most + voxel)).any(1).sum()):
            raise Unusable("output-outside", f"{outside} of the network's boxes have no part of the images inside")
        low, high = low.clip(least, most), high.clip(least, most)
        order = [n for n in np.lexsort((*low.T, -scores[kept])) if (low[n] < high[n]).all()]
        made = [Box.at(int(labels[kept][n]), float(scores[kept][n]), low[n], high[n]) for n in order]
        maximum = self._rules.maximum_boxes
        return Found(boxes=tuple(made[:maximum]), left_out=max(0, len(made) - maximum))

    def _read(self, item: dict[str, Any]) -> tuple[Numbers, NDArray[np.int64], Numbers]:
        """Corners (n, 6) in MONAI's standard mode, labels and scores (n,)."""
        pred = item.get("pred")
        pred = pred[0] if isinstance(pred, list | tuple) and len(pred) == 1 else pred
        if isinstance(pred, Mapping) and not any(isinstance(step, FlattenSubKeysd) for step in self._steps):
            item |= pred
        for step in self._steps:
            if isinstance(step, ClipBoxToImaged) and (together := _names(item)):
                step.label_keys = together[1:]  # bundles forget the scores, and then lose count of what is dropped
            item = step(item)
        names = _names(item)
        if names is None:
            raise Unusable("output-no-boxes", "the network's output has no boxes (n x 6) with scores and labels (n)")
        boxes, labels, scores = (_array(item[name]) for name in names)
        if not all(np.isfinite(one).all() for one in (boxes, labels, scores)):
            raise Unusable("output-not-finite", "the network's boxes, labels or scores are not numbers")
        if len(scores) and not (0 <= scores.min() and scores.max() <= 1):
            raise Unusable("output-no-score", f"a score of the network is {scores.max():g}, and not from 0 to 1")
        if not np.array_equal(labels, labels.round()):
            raise Unusable("output-not-integer", "the labels of the network's boxes are no whole numbers")
        standard = convert_box_to_standard_mode(boxes, mode=self._mode) if len(boxes) else boxes
        if (standard[:, :3] > standard[:, 3:]).any():
            raise Unusable("output-no-boxes", "a box of the network ends before it begins: is it in another mode?")
        return np.asarray(standard), labels.astype(np.int64), scores.round(4)

    def _on_grid(self, boxes: Numbers, image: Any, ras: Numbers) -> tuple[Numbers, Numbers]:
        """All corners, (n, 8, 3), as (column, row, slice) index of the images, and the extent (3,) of a voxel of what
        the boxes count: by so much may the network's grid reach beyond the images."""
        if self._space == "image":
            if not isinstance(image, MetaTensor) or np.asarray(image.affine).shape != (4, 4):
                raise Unusable("output-no-place", "the network's input, whose voxels its boxes count, has no affine")
            there = np.asarray(image.affine, np.float64)
        else:
            there = RAS_TO_LPS if self._space == "lps" else np.eye(4)
            if not _is_along(ras):
                raise Unusable(
                    "output-no-place",
                    "boxes in millimetres along the patient's axes do not say where they lie in oblique images",
                )
        picked = np.array(list(product((0, 3), (1, 4), (2, 5))))
        corners = boxes[:, picked]
        to_grid = np.linalg.inv(ras) @ there
        return np.asarray(corners @ to_grid[:3, :3].T + to_grid[:3, 3]), np.abs(to_grid[:3, :3]).sum(1)


def _names(item: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Under which names boxes, labels and scores stand, whatever they are called; None where they do not."""
    arrays = {key: value for key, value in item.items() if isinstance(value, torch.Tensor | np.ndarray)}
    scores = [key for key, value in arrays.items() if "score" in key.lower() and value.ndim == 1]
    if len(scores) != 1:
        return None
    count = len(arrays[scores[0]])
    boxes = [key for key, value in arrays.items() if _is_of_boxes(value, count)]
    rest = [key for key, value in arrays.items() if value.shape == (count,) and key not in (*scores, *boxes)]
    labels = [key for key in rest if "label" in key.lower() or "class" in key.lower()] or rest
    return (boxes[0], labels[0], scores[0]) if len(boxes) == len(labels) == 1 else None


def _is_of_boxes(value: Any, count: int) -> bool:
    return value.ndim == 2 and tuple(value.shape) == (count, 6)


def _array(value: Any) -> Numbers:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, np.float64)


def _is_along(affine: Numbers) -> bool:
    """Whether the axes of a grid are those of the patient, in whatever order and direction."""
    directions = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    return bool((np.sort(directions, axis=0)[:2] < PARALLEL).all())
