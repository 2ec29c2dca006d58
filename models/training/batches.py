"""The batches of a run, in an order and with random numbers that follow from seed and step alone.

So nothing of the random generators has to be kept: a run that was interrupted, wherever it was, goes on exactly as it
would have gone on by itself. The bundle's DataLoader says what a batch is; drawing it is done here, in this process.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import set_rnd
from torch.utils.data import DataLoader

from .mixed import Items, Mixed
from .run import Untrainable

ORDER, STEP = 0, 1


def _alike(items: list[Any]) -> list[Any]:
    """Some transforms give a MetaTensor where they did something and a plain one where they did not: plain ones then,
    because MONAI does not collate both together. (RandSimulateLowResolutiond, RandGridDistortiond)
    """
    if not all(isinstance(item, dict) for item in items):
        return items
    for key in items[0]:
        kinds = {isinstance(item.get(key), MetaTensor) for item in items}
        if len(kinds) > 1:
            for item in items:
                if isinstance(item.get(key), MetaTensor):
                    item[key] = item[key].as_tensor()
    return items


def number_from(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class Batches:
    """Yields batches for ever; one pass over the data after the other.

    Args:
        loader: the bundle's.
        seed: of the run.
        done: steps that were done before.
        rank, world: of the processes that train together each takes every world-th batch.
        synthetic: made-up items, and their share; they stand in for some of the loader's.

    Raises:
        Untrainable: the loader's batches cannot be drawn one by one, or there are none.
    """

    def __init__(
        self,
        loader: object,
        seed: int,
        done: int = 0,
        rank: int = 0,
        world: int = 1,
        synthetic: tuple[Items, float] | None = None,
    ) -> None:
        if not isinstance(loader, DataLoader) or loader.batch_sampler is None or not hasattr(loader.dataset, "__len__"):
            raise Untrainable("train#trainer: train_data_loader is not a DataLoader that makes batches of a data set")
        try:
            batches = len(loader)
        except ValueError as error:  # RandomSampler, of no cases
            raise Untrainable(f"train#dataloader: {error}") from None
        if not batches:
            raise Untrainable(f"train#dataloader: {len(loader.dataset)} cases do not fill one batch")
        self.loader: DataLoader[Any] = loader
        self.items: Items = Mixed(loader.dataset, *synthetic) if synthetic else loader.dataset
        self._drawing = [loader.dataset, *([synthetic[0]] if synthetic else [])]
        self.seed = seed
        self.done = done
        self.rank, self.world = rank, world
        self.length = -(-batches // world)

    def __len__(self) -> int:
        """Steps of one pass."""
        return self.length

    def __iter__(self) -> Iterator[Any]:
        step = self.done
        while True:
            number, first = divmod(step, self.length)
            for batch in self._order(number)[first:]:
                self._draw_from(STEP, self.rank, step)
                yield self.loader.collate_fn(_alike([self.items[index] for index in batch]))
                step += 1

    def _order(self, number: int) -> list[list[int]]:
        """The indices of this process's batches in one pass; some come twice where not all would have as many."""
        self._draw_from(ORDER, number)
        if self.loader.generator is not None:
            self.loader.generator.manual_seed(number_from(self.seed, ORDER, number))
        order = [list(batch) for batch in self.loader.batch_sampler or ()]
        return list(islice(cycle(order), self.length * self.world))[self.rank :: self.world]

    def _draw_from(self, *what: int) -> None:
        seed = number_from(self.seed, *what)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        for items in self._drawing:
            set_rnd(getattr(items, "transform", None), seed)
