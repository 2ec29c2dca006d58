"""Values as a generator sees them: -1 ... 1, every range that is often met equally wide.

Uptake, counts and Hounsfield units have long tails; taken linearly, nearly everything would lie near -1. The scale is
fitted to the training cases alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: closer together where structures are few and bright
QUANTILES = (0, 0.02, 0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1)


@dataclass(frozen=True)
class Scale:
    """Of all channels.

    Attributes:
        knots: of each channel, rising: values that lie equally far apart on the scale.
    """

    knots: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, volumes: Iterable[NDArray[np.float32]]) -> Scale:
        """Fitted to arrays of (channels, ...): the mean of their quantiles, but for the least and the most of all."""
        found = [np.quantile(one.reshape(len(one), -1).astype(np.float64), QUANTILES, axis=1) for one in volumes]
        knots = np.mean(found, axis=0)
        knots[0], knots[-1] = np.min(found, axis=0)[0], np.max(found, axis=0)[-1]
        return cls(tuple(_rising(channel) for channel in knots.T))

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """To (channels, ...); what lies beyond the training cases is cut off."""
        scaled = [
            np.interp(one, knots, np.linspace(-1, 1, len(knots))) for one, knots in zip(values, self.knots, strict=True)
        ]
        return np.asarray(scaled, np.float32)

    def undo(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """From (channels, ...) back to the channels' units."""
        values = [
            np.interp(one, np.linspace(-1, 1, len(knots)), knots) for one, knots in zip(scaled, self.knots, strict=True)
        ]
        return np.asarray(values, np.float32)


def _rising(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value once: where most voxels are air, several quantiles are equal."""
    knots = np.unique(quantiles)
    return knots if len(knots) > 1 else np.array([knots[0], knots[0] + 1])
