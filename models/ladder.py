"""A network tried again with less memory, where its device is full: down the rungs of `rungs.Rung`.

It stands in the evaluator's place of the bundle's inferer, and hands on what that gives. Before the next rung
everything of the last one is gone. The rung on which a size of volume fitted is remembered (`experience`).
"""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.inferers import SlidingWindowInferer

from . import memory
from .causes import is_full
from .experience import Experience, size_class
from .rungs import Rung, rungs
from .slabs import Unsuited, slabbed

CPU = torch.device("cpu")


def instead_of_inferer(evaluator: Any, device: torch.device, *, softmax: bool, known: Path | None) -> Ladder:
    """Put a ladder in the place of an evaluator's inferer.

    Args:
        softmax: whether the bundle's ending is taken over from softmax on.
        known: the file of what was learnt of this network; None: nothing is kept.
    """
    inferer, name = getattr(evaluator, "inferer", None), str(device)
    there = rungs(name, windows=isinstance(inferer, SlidingWindowInferer), softmax=softmax)
    if inferer is None:  # an evaluator of the bundle's own, which runs its network itself
        there = (Rung.PLAIN,)
    experience = Experience(known, memory.of(name))
    free = functools.partial(memory.free, name)
    ladder = Ladder(inferer or evaluator.network, evaluator.network, device, there, experience, free)
    if inferer is not None:
        evaluator.inferer = ladder
    return ladder


class Ladder:
    """An inferer that climbs down.

    Args:
        inferer: the bundle's own.
        module: its network, which the last rung moves.
        device: where that runs.
        rungs: those that there are, the usual one first.
        experience: with this network on this device.
        free: tells how much memory is free, in bytes.

    Attributes:
        inferer: the bundle's own.
    """

    def __init__(
        self,
        inferer: Callable[..., Any],
        module: torch.nn.Module,
        device: torch.device,
        rungs: tuple[Rung, ...],
        experience: Experience,
        free: Callable[[], int],
    ) -> None:
        self.inferer, self._module, self._device = inferer, module, device
        self._rungs, self._experience, self._free_bytes = rungs, experience, free
        self._at: int | None = None
        self._deepest = 0
        self._size = 0
        self._had = 0

    def begin(self, *, may_climb: bool = True) -> None:
        """A new volume comes.

        Args:
            may_climb: whether it may be done in another way than the usual one.
        """
        self._at, self._size, self._had = None, 0, self._free_bytes()
        self._deepest = len(self._rungs) - 1 if may_climb else 0

    def __getattr__(self, name: str) -> Any:
        """A bundle may ask its inferer for its window."""
        if name == "inferer":  # not there yet
            raise AttributeError(name)
        return getattr(self.inferer, name)

    @property
    def rung(self) -> Rung:
        """Where it stands."""
        return self._rungs[self._at or 0]

    @property
    def goes_on(self) -> bool:
        """Whether there is a lower one."""
        return (self._at or 0) < self._deepest

    def lower(self) -> None:
        """Stand one rung lower, and give back what no tensor holds any more."""
        assert self.goes_on
        self._at = (self._at or 0) + 1
        gc.collect()
        self.give_back()

    def give_back(self) -> None:
        """Let other processes have what no tensor holds any more."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def done(self) -> None:
        """The volume is finished, ending and all: remember how."""
        if self._at is not None and self._deepest:
            self._experience.note(self._size, self.rung, self._rungs, self._had)

    def __call__(self, inputs: Any, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the network, as the inferer would.

        Args:
            inputs: (1, channel, x, y, z), or without z; of a detector a list of images, (channel, x, y, z) each.

        Raises:
            OutOfMemoryError, MemoryError, RuntimeError: it fits on no rung; or whatever else the network raises.
        """
        images = [one[None] for one in inputs] if isinstance(inputs, list | tuple) else [inputs]
        self._size = max(self._size, *(size_class(image.shape[2:]) for image in images))
        if self._at is None:
            known = self._experience.first(self._size, self._rungs, self._had)
            self._at = min(self._rungs.index(known), self._deepest)
        while True:
            try:
                return self._run(inputs, network, args, kwargs)
            except Unsuited:
                self._rungs = tuple(one for one in self._rungs if one not in (Rung.HALF, Rung.SLABS))
                self._at, self._deepest = min(1, len(self._rungs) - 1), len(self._rungs) - 1
                continue
            except Exception as error:
                if not is_full(error) or not self.goes_on:
                    raise
            self.lower()  # only here are the frames of the failed try gone, and its tensors with them

    def _run(self, inputs: Any, network: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        rung, inferer = self.rung, self.inferer
        if Rung.CPU in self._rungs:
            self._module.to(CPU if rung is Rung.CPU else self._device)
        if rung is Rung.CPU:
            inputs, *args = (_here(one) for one in (inputs, *args))
            kwargs = {name: _here(one) for name, one in kwargs.items()}
        if not isinstance(inferer, SlidingWindowInferer) or rung is Rung.PLAIN:
            return inferer(inputs, network, *args, **kwargs)
        if rung in (Rung.HALF, Rung.SLABS):
            to = self._device if rung is Rung.HALF else CPU
            return slabbed(inferer, to, half=rung is Rung.HALF)(inputs, network, *args, **kwargs)
        alone = copy.copy(inferer)
        alone.device, alone.sw_batch_size = CPU, 1
        alone.sw_device = CPU if rung is Rung.CPU else inferer.sw_device
        alone.buffer_steps = None
        return alone(inputs, network, *args, **kwargs)


def _here(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_here, value))
    return value.to(CPU) if isinstance(value, torch.Tensor) else value
