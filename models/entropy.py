"""How sure a network was: the mean entropy of its probabilities inside each class of the final label map.

Shannon's entropy of the softmax probabilities of a voxel, divided by the logarithm of the number of classes: 0 is sure,
1 is guessing. It is taken before the card's rules mend anything, because a rule writes 0 and 1 where it overrules the
network; the averages are taken afterwards, over what became of each class. Both on the network's own grid.

Where the output is one sigmoid per channel the same two steps do: every channel has two classes, itself and the rest,
and segments that may overlap are averaged each over its own mask.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

#: probabilities that are looked at at a time
SLAB_VALUES = 8_000_000
DIGITS = 4

Entropy = NDArray[np.float16]


def of_softmax(probabilities: torch.Tensor) -> Entropy:
    """The entropy of each voxel in which anything but background is likeliest; NaN elsewhere.

    Args:
        probabilities: (class, x, y, z); class 0 is the background.

    Returns:
        (x, y, z), 0 ... 1; half precision, as it is only averaged.
    """
    entropy = np.full(probabilities.shape[1:], np.nan, np.float16)
    largest = math.log(probabilities.shape[0])
    for slab in _slabs(probabilities):
        part = probabilities[:, slab]
        inside = part[0] < part[1:].amax(0)
        if bool(inside.any()):
            found = torch.special.entr(part[:, inside].float()).sum(0) / largest
            entropy[slab][inside.cpu().numpy()] = found.half().cpu().numpy()
    return entropy


def means(entropy: Entropy, probabilities: torch.Tensor) -> dict[int, float]:
    """The mean entropy of each class, over the voxels that it has now.

    Voxels that the network itself gave to the background, holes that a rule filled, say nothing and do not count. A
    class without any other voxel is left out.

    Args:
        entropy: of the same network output, as it came out of the network.
        probabilities: (class, x, y, z), mended.
    """
    sums, counts = np.zeros(probabilities.shape[0]), np.zeros(probabilities.shape[0], np.int64)
    for slab in _slabs(probabilities):
        known = ~np.isnan(entropy[slab])
        if known.any():
            where = torch.as_tensor(known, device=probabilities.device)
            winner = probabilities[:, slab][:, where].argmax(0).cpu().numpy()
            # on the CPU and in double precision: the same numbers every time, on any device
            sums += np.bincount(winner, entropy[slab][known].astype(np.float64), minlength=len(sums))
            counts += np.bincount(winner, minlength=len(counts))
    return {int(value): round(float(sums[value] / counts[value]), DIGITS) for value in np.flatnonzero(counts) if value}


def _slabs(probabilities: torch.Tensor) -> list[slice]:
    """Ranges of the first axis in space."""
    count = probabilities.shape[1]
    step = max(1, SLAB_VALUES * count // max(1, probabilities.numel()))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]
