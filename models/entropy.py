"""How sure a network was: the mean entropy of its probabilities inside each class of the final label map.

Shannon's entropy of the softmax probabilities of a voxel, divided by the logarithm of the number of classes: 0 is sure,
1 is guessing. It is taken before the card's rules mend anything, because a rule writes 0 and 1 where it overrules the
network; the averages are taken afterwards, over what became of each class. Both on the network's own grid.

Where the output is one sigmoid per channel every channel has two classes, itself and the rest, whose entropy in bits
goes from 0 to 1 as well; segments that may overlap are averaged each over its own mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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


def means(
    entropy: Entropy, probabilities: torch.Tensor, parts: Mapping[int, Sequence[int]] | None = None
) -> dict[int, float]:
    """The mean entropy of each segment, over the voxels that it has now.

    Voxels that the network itself gave to the background, holes that a rule filled, say nothing and do not count. A
    class without any other voxel is left out.

    Args:
        entropy: of the same network output, as it came out of the network.
        probabilities: (class, x, y, z), mended.
        parts: a segment's value -> the classes whose union it is; each class for itself where there are none.
    """
    parts = {value: (value,) for value in range(1, len(probabilities))} if parts is None else parts
    sums, counts = np.zeros(probabilities.shape[0]), np.zeros(probabilities.shape[0], np.int64)
    for slab in _slabs(probabilities):
        known = ~np.isnan(entropy[slab])
        if known.any():
            where = torch.as_tensor(known, device=probabilities.device)
            winner = probabilities[:, slab][:, where].argmax(0).cpu().numpy()
            # on the CPU and in double precision: the same numbers every time, on any device
            sums += np.bincount(winner, entropy[slab][known].astype(np.float64), minlength=len(sums))
            counts += np.bincount(winner, minlength=len(counts))
    found = {}
    for value, classes in parts.items():
        of_it = [one for one in classes if one < len(counts)]
        if count := int(counts[of_it].sum()):
            found[value] = round(float(sums[of_it].sum() / count), DIGITS)
    return found


def of_sigmoid(probability: torch.Tensor, threshold: float) -> Entropy:
    """The entropy of each voxel of one channel that its segment has; NaN elsewhere.

    Args:
        probability: (x, y, z), 0 ... 1.
        threshold: from here on a voxel is of the segment.

    Returns:
        (x, y, z), 0 ... 1.
    """
    entropy = np.full(probability.shape, np.nan, np.float16)
    inside = probability >= threshold
    part = probability[inside]
    found = (torch.special.entr(part) + torch.special.entr(1 - part)) / math.log(2)
    entropy[inside.cpu().numpy()] = found.half().cpu().numpy()
    return entropy


def mean_inside(entropy: Entropy, mask: NDArray[np.bool_]) -> float | None:
    """The mean over those voxels of a mask of which there is one; None where there is none."""
    known = entropy[mask]
    known = known[~np.isnan(known)].astype(np.float64)
    return round(float(known.mean()), DIGITS) if known.size else None


def _slabs(probabilities: torch.Tensor) -> list[slice]:
    """Ranges of the first axis in space."""
    count = probabilities.shape[1]
    step = max(1, SLAB_VALUES * count // max(1, probabilities.numel()))
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]
