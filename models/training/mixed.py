"""A data set in which a part of what is drawn is made up."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Items(Protocol):
    """What MONAI's data sets are to us."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class Mixed:
    """As long as the real data set; now and then a made-up item stands where a real one would have been.

    So an epoch has as many steps as without, and the share is that of the batches on average. Which items these are
    follows from numpy's random numbers, which `Batches` sets for each step.

    Args:
        real, synthetic: data sets of the same items, each with the bundle's transforms.
        share: of the made-up ones.

    Raises:
        ValueError: there is nothing made up.
    """

    def __init__(self, real: Items, synthetic: Items, share: float) -> None:
        if not len(synthetic):
            raise ValueError("there is no made-up case to be mixed in")
        self.real, self.synthetic, self.share = real, synthetic, share

    def __len__(self) -> int:
        return len(self.real)

    def __getitem__(self, index: int) -> Any:
        if np.random.random() < self.share:
            return self.synthetic[int(np.random.randint(len(self.synthetic)))]
        return self.real[index]
