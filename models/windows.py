"""How far a network is: the windows that it has been given, of those that it will be given for this image.

A hook counts what goes into the network. How many windows there will be follows from MONAI's sliding window (its ROI,
its overlap, the size of the image); an inferer of another kind is counted without a total.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep, fall_back_tuple

#: told the windows done, and of how many; 0 where nobody knows
OnWindows = Callable[[int, int], None]


class Windows:
    """The count of one run of a network after the other.

    Args:
        network: whose input is counted.
        inferer: the bundle's own, as it was built.
    """

    def __init__(self, network: torch.nn.Module, inferer: Any) -> None:
        self._inferer = inferer
        self._on: OnWindows | None = None
        self._calls = self._done = self._of = 0
        # a program of its own takes no hook: there the inferer is handed a function that counts
        self._takes_hook = not isinstance(network, torch.jit.ScriptModule)
        if self._takes_hook:
            network.register_forward_hook(self._counted)

    def expect(self, calls: int, on: OnWindows | None) -> None:
        """A new run: the inferer will be called so often, and `on` wants to hear of every step."""
        self._on, self._calls, self._done, self._of = on, calls, 0, 0

    def around(self, inferer: Any) -> Callable[..., Any]:
        """The same inferer, whose calls are known here."""

        def called(inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
            if self._on is not None:
                each = expected(self._inferer, inputs.shape) if isinstance(inputs, torch.Tensor) else 0
                self._of = self._done + each * self._calls if each else 0
                self._calls = max(1, self._calls - 1)
            return inferer(inputs, network if self._takes_hook else self._counting(network), *args, **kwargs)

        return called

    def _counting(self, network: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any, **more: Any) -> Any:
            output = network(*inputs, **more)
            self._counted(network, inputs, output)
            return output

        return run

    def _counted(self, _network: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        if self._on is None:
            return
        self._done += int(inputs[0].shape[0]) if inputs and isinstance(inputs[0], torch.Tensor) else 1
        # a window that is done again, for want of memory, was counted before
        self._on(min(self._done, self._of) if self._of else self._done, self._of)


def expected(inferer: Any, shape: Sequence[int]) -> int:
    """How many windows an inferer makes of an image; 0 where that is not known.

    Args:
        shape: (image, channel, ...), in space as many axes as the image has.
    """
    images, space = int(shape[0]), [int(size) for size in shape[2:]]
    if isinstance(inferer, SlidingWindowInferer):
        roi = list(inferer.roi_size) if isinstance(inferer.roi_size, Sequence) else [inferer.roi_size] * len(space)
        if isinstance(inferer, SliceInferer):
            roi = list(inferer.orig_roi_size)
            roi.insert(inferer.spatial_dim, 1)
        if len(roi) != len(space):
            return 0
        overlaps = ensure_tuple_rep(inferer.overlap, len(space))
        return images * math.prod(map(_along, space, fall_back_tuple(roi, space), overlaps))
    return images if type(inferer) is SimpleInferer else 0


def _along(size: int, roi: int, overlap: float) -> int:
    """As `monai.inferers.utils.sliding_window_inference` places them along one axis."""
    step = max(1, int(roi * (1 - overlap)))
    return 1 if size <= roi else math.ceil((size - roi) / step) + 1
