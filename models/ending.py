"""What a bundle does after its network: taken over where it can be done better with the same result, else left to it.

Softmax, linear inversion to the source grid and argmax cost the memory of every class on the source grid. Where the
trace of the preprocessing shows that inversion is one linear interpolation between two grids, `restore` does the last
two, to the same label map. The same goes for one sigmoid per segment, inversion and a threshold. Labels that a bundle
would interpolate are inverted with the nearest neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureTyped,
    Invertd,
    KeepLargestConnectedComponentd,
)
from numpy.typing import NDArray

from .inversion import Inversion, followed, outermost, uncropped
from .stand_ins import LABELS, Saved

#: logits that softmax is taken of at a time: vector units round the last few of a part otherwise than the others
SLAB_VALUES = 32_000_000
#: the same of half precision, which has lost these digits and is there because memory is short
HALF_SLAB_VALUES = 8_000_000


class Ending:
    """The postprocessing of a built bundle.

    Args:
        post: its transform, which is changed: what is taken over is cut off.
        masks: how many channels the network has if each is a segment for itself; 0: they exclude one another.

    Attributes:
        taken: whether softmax or sigmoid, inversion, and argmax or threshold are taken over.
        threshold: from which on a voxel is of a channel's segment; None where the largest channel has it.
    """

    def __init__(self, post: Any, masks: int = 0) -> None:
        self._steps: list[Any] = list(post.flatten().transforms) if isinstance(post, Compose) else []
        self._savers = [step for step in self._steps if isinstance(step, Saved)]
        self._image, self._masks = "image", masks
        self.threshold: float | None = None
        self._nearest(after_discretising=True)
        self._cut = self._end_of_activation()
        self.taken = self._cut is not None
        if isinstance(post, Compose) and self._cut is not None:
            post.transforms = self._steps[: self._cut]

    def _end_of_activation(self) -> int | None:
        """The number of steps before softmax or sigmoid, where a linear inversion and argmax or a threshold follow."""
        for number, (first, second, third) in enumerate(
            zip(self._steps, self._steps[1:], self._steps[2:], strict=False)
        ):
            if not (isinstance(first, Activationsd) and isinstance(second, Invertd) and isinstance(third, AsDiscreted)):
                continue
            if any(step.keys != ("pred",) for step in (first, second, third)):
                continue
            inverts = not second.nearest_interp[0] and second.post_func[0] is None
            if not inverts or first.other[0] is not None or third.to_onehot[0] is not None:
                continue
            argmax = third.argmax[0] and third.threshold[0] is None
            threshold = third.threshold[0] if self._masks and not third.argmax[0] else None
            over_classes = first.softmax[0] and not first.sigmoid[0] and first.converter.kwargs.get("dim", 0) == 0
            by_largest = over_classes and argmax and self._masks < 2
            # beyond what was cropped away stands 0, which must be none of any segment
            if first.sigmoid[0] and not first.softmax[0] and threshold is not None and threshold > 0:
                self.threshold = float(threshold)
            if by_largest or self.threshold is not None:
                self._image = second.orig_keys[0]
                return number
        return None

    @property
    def activation(self) -> str:
        """What the network's output goes through first: "softmax", "sigmoid", or "" where that cannot be told."""
        for step in self._steps:
            if isinstance(step, Activationsd) and step.keys == ("pred",) and step.other[0] is None:
                chosen = [name for name in ("softmax", "sigmoid") if getattr(step, name)[0]]
                return chosen[0] if len(chosen) == 1 else ""
            if not isinstance(step, EnsureTyped | Invertd):
                break
        return ""

    @property
    def relabels(self) -> bool:
        """Whether the bundle may give its classes other numbers or an order of its own."""
        known = (Activationsd, AsDiscreted, EnsureTyped, Invertd, KeepLargestConnectedComponentd, Saved)
        return any(not isinstance(step, known) for step in self._steps)

    def _nearest(self, after_discretising: bool) -> bool:
        """Let inversions take the nearest neighbour; whether any did not before."""
        changed = discrete = False
        for step in self._steps:
            if isinstance(step, AsDiscreted):
                discrete = True
            elif isinstance(step, Invertd) and (discrete or not after_discretising) and not all(step.nearest_interp):
                step.nearest_interp = (True,) * len(step.keys)
                changed = True
        return changed

    def force_nearest(self) -> bool:
        """Invert with the nearest neighbour from now on; whether that changes anything."""
        return not self.taken and self._nearest(after_discretising=False)

    def probabilities(self, output: dict[str, Any]) -> tuple[torch.Tensor, Inversion] | None:
        """Softmax or sigmoids on the network's grid, where a linear interpolation leads from there to the source grid.

        The logits are overwritten.

        Returns:
            (class, x, y, z), and the way from there; None where the bundle has to finish itself.
        """
        pred, image = output.get("pred"), output.get(self._image)
        if self._cut is None or not isinstance(pred, MetaTensor) or not isinstance(image, MetaTensor):
            return None
        if pred.ndim != 4 or pred.shape[1:] != image.shape[1:] or image.pending_operations:
            return None
        if self.threshold is not None and len(pred) != self._masks:
            return None
        trace = list(image.applied_operations)
        cut = [trace.pop() for _ in range(outermost(trace))]
        if not followed(trace):
            return None
        array = activated(pred.as_tensor(), sigmoid=self.threshold is not None)
        array, affine, beyond = uncropped(array, np.asarray(image.affine, np.float64), cut)
        return array, Inversion(affine, beyond, tuple(trace))

    def of_labels(self, labels: MetaTensor, output: dict[str, Any]) -> Any:
        """What the bundle does to its label map after argmax or threshold: its result.

        Args:
            labels: (1, x, y, z) on the source grid; (segment, x, y, z) of zeros and ones after a threshold.
        """
        assert self._cut is not None
        return self._result(output | {"pred": labels}, self._steps[self._cut + 3 :])

    @property
    def goes_on(self) -> bool:
        """Whether the bundle does anything with its label map after that."""
        return self._cut is not None and any(not isinstance(step, Saved) for step in self._steps[self._cut + 3 :])

    def finished(self, output: dict[str, Any]) -> Any:
        """The bundle's result, by its own steps."""
        pred = output.get("pred")
        if isinstance(pred, torch.Tensor) and pred.dtype == torch.float16:
            output = output | {"pred": pred.float()}  # not every step of a bundle can do with half precision
        return self._result(output, [] if self._cut is None else self._steps[self._cut :])

    def _result(self, output: dict[str, Any], steps: list[Any]) -> Any:
        for step in steps:
            output = step(output)
        inputs = {"image", self._image, *LABELS}
        kept = {key: value for saver in self._savers for key, value in saver.kept.items() if key not in inputs}
        for saver in self._savers:
            saver.kept = {}
        if "pred" in kept or not kept:
            return kept.get("pred", output.get("pred"))
        return next(iter(kept.values()))

    def saved_on(self, result: MetaTensor, affine: NDArray[np.float64], shape: tuple[int, ...]) -> MetaTensor:
        """The result where the bundle's own writing would have put it."""
        for saver in self._savers:
            result = saver.on_the_grid(result, affine, shape)
        return result


def activated(logits: torch.Tensor, *, sigmoid: bool = False) -> torch.Tensor:
    """Softmax over the first axis, or sigmoids; in place and slab by slab; on the CPU from where on the device is full.

    Args:
        logits: (class, x, y, z); half precision stays so, and is computed in single precision.
    """
    if logits.is_inference() or logits.dtype not in (torch.float32, torch.float16):
        logits = logits.clone().float()
    values = HALF_SLAB_VALUES if logits.dtype == torch.float16 else SLAB_VALUES
    step = max(1, values * logits.shape[1] // max(1, logits.numel()))
    for first in range(0, logits.shape[1], step):
        try:
            made = _probabilities(logits[:, first : first + step].float(), sigmoid=sigmoid)
        except torch.OutOfMemoryError:
            logits = logits.cpu()
            made = _probabilities(logits[:, first : first + step].float(), sigmoid=sigmoid)
        logits[:, first : first + step] = made
    return logits


def _probabilities(logits: torch.Tensor, *, sigmoid: bool) -> torch.Tensor:
    return torch.sigmoid(logits) if sigmoid else torch.softmax(logits, 0)
