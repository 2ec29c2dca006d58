"""What a generator is told of a slice: where the structures lie, and roughly what surrounds them.

A label of one lesion says nothing of the body around it. So the surroundings are parted into a few levels of smoothed
brightness, as if each were a structure. A map holds, for each voxel,

    0 ... LEVELS - 1        the level of what surrounds, from the darkest
    LEVELS ... LEVELS + n   the n label values, in order
    the last                nothing: beside the image
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

LEVELS = 4
SMOOTH_PIXELS = 0.8
#: slices that the generator is shown of the map: this one and both neighbours, so that slices follow from one another
SHOWN = 3


@dataclass(frozen=True)
class Maps:
    """How labels become maps and back.

    Attributes:
        values: the label values, rising.
    """

    values: tuple[int, ...]

    @property
    def kinds(self) -> int:
        return LEVELS + len(self.values) + 1

    @property
    def nothing(self) -> int:
        return self.kinds - 1

    @property
    def channels(self) -> int:
        """Of what `shown` gives."""
        return self.kinds * SHOWN

    def of(self, label: NDArray[np.uint8], scaled: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The map of a case.

        Args:
            label: (slices, rows, columns).
            scaled: the same, first channel, -1 ... 1.
        """
        smooth = ndimage.gaussian_filter(scaled, (0, SMOOTH_PIXELS, SMOOTH_PIXELS))
        found = np.clip((smooth + 1) / 2 * LEVELS, 0, LEVELS - 1).astype(np.uint8)
        for place, value in enumerate(self.values):
            found[label == value] = LEVELS + place
        return found

    def label(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The label values of a map; 0 where there is none."""
        table = np.zeros(self.kinds, np.uint8)
        table[LEVELS : LEVELS + len(self.values)] = self.values
        return table[found]

    def kinds_of(self, values: Sequence[int]) -> list[int]:
        """What these label values are in a map."""
        return [LEVELS + self.values.index(value) for value in values]

    def shown(self, found: NDArray[np.uint8], slices: Sequence[int]) -> torch.Tensor:
        """What the generator is shown of some slices of a padded map: one channel per kind, neighbour by neighbour.

        Returns:
            float32 (slices, `channels`, rows, columns).
        """
        last = len(found) - 1
        around = [[min(max(number + step, 0), last) for step in (-1, 0, 1)] for number in slices]
        chosen = torch.from_numpy(found[np.array(around)]).long()
        one_hot = torch.nn.functional.one_hot(chosen, self.kinds).movedim(-1, 2).float()
        return one_hot.flatten(1, 2)
