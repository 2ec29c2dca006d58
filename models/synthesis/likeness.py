"""How like the real slices the made-up ones are, and whether some are only training slices come again.

Two images of one size are compared by the structural similarity (SSIM: Wang et al., IEEE Transactions on Image
Processing 13(4), 2004; a Gaussian window of 7 pixels), on the scale of -1 ... 1 that the generator sees. A number alone
says nothing: it stands beside that of real slices of different patients, and of neighbouring slices of one patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics.regression import compute_ssim_and_cs
from numpy.typing import NDArray

WINDOW, SIGMA = 7, 1.5
#: where a window does not fit in
EDGE = WINDOW // 2
#: of a case, evenly
SLICES = 6
#: how many training slices, the nearest by squared difference, are compared by SSIM
NEAREST = 8

#: less is no repetition, also where images are so noisy that neighbouring slices are not alike
LEAST_REPEATED = 0.9

Slices = NDArray[np.float32]
"""(slices, channels, side, side), -1 ... 1, NaN beside the image"""


@dataclass(frozen=True)
class Likeness:
    """What was found, all of it medians.

    Attributes:
        real_to_others: SSIM of a real slice to the nearest one of another training patient: how alike patients are.
        synthetic_to_real: of a made-up slice to the nearest training slice.
        synthetic_to_synthetic: to the nearest one of another made-up case; far above real_to_others: all are alike.
        neighbours: of two neighbouring slices of one patient.
        repeated: the part of the made-up slices that are training slices come again.
    """

    real_to_others: float
    synthetic_to_real: float
    synthetic_to_synthetic: float
    neighbours: float
    repeated: float


def ssim(slices: Slices, others: Slices) -> NDArray[np.float64]:
    """Of each slice with the other in its place: the mean over the windows whose middle lies in both images.

    What is beside both is equal, and would make small images alike.
    """
    inside = np.isfinite(slices + others).all(axis=1, keepdims=True)
    both = inside[:, 0, EDGE:-EDGE, EDGE:-EDGE]
    found, _ = compute_ssim_and_cs(
        *(torch.from_numpy(np.nan_to_num(one, nan=-1.0)) for one in (slices, others)),
        spatial_dims=2,
        kernel_size=(WINDOW, WINDOW),
        kernel_sigma=(SIGMA, SIGMA),
        data_range=2.0,
    )
    windows = np.asarray(found.mean(1).numpy(), np.float64)
    return np.asarray((windows * both).sum((1, 2)) / np.maximum(both.sum((1, 2)), 1))


def nearest(slices: Slices, among: Slices) -> NDArray[np.float64]:
    """Of each slice, the SSIM to the one that is most like it."""
    if not len(among):
        return np.zeros(len(slices))
    flat, others = (np.nan_to_num(one, nan=-1.0).reshape(len(one), -1).astype(np.float64) for one in (slices, among))
    apart = (flat**2).sum(1)[:, None] + (others**2).sum(1) - 2 * flat @ others.T
    chosen = np.argsort(apart, axis=1)[:, :NEAREST]
    found = ssim(np.repeat(slices, chosen.shape[1], 0), among[chosen.ravel()])
    return np.asarray(found.reshape(chosen.shape).max(1))


def some(slices: Slices) -> Slices:
    """Slices of a case, evenly spread, not the first and not the last."""
    places = np.linspace(0, len(slices) - 1, SLICES + 2)[1:-1].round().astype(int)
    return slices[np.unique(places)]


def neighbours(real: Sequence[Slices]) -> float:
    """The median SSIM of a slice and the next one; where no case has two, what is taken for a repetition anyway."""
    found = [ssim(some(one[:-1]), some(one[1:])) for one in real if len(one) > 1]
    return float(np.median(np.concatenate(found))) if found else LEAST_REPEATED


def repeats(made: Slices, real: Slices, as_neighbours: float) -> float:
    """The part of a made-up case's slices that are as like a training slice as its own neighbour is."""
    return float((nearest(some(made), real) >= max(as_neighbours, LEAST_REPEATED)).mean())


def of(real: Sequence[Slices], made: Sequence[Slices]) -> Likeness:
    """Compare all made-up cases with all training cases.

    Args:
        real, made: of each case.
    """
    to_others = _to_others(real)
    everything = np.concatenate(list(real))
    to_real = np.concatenate([nearest(some(one), everything) for one in made])
    as_neighbours = neighbours(real)
    return Likeness(
        real_to_others=to_others,
        synthetic_to_real=float(np.median(to_real)),
        synthetic_to_synthetic=_to_others(made),
        neighbours=as_neighbours,
        repeated=float((to_real >= max(as_neighbours, LEAST_REPEATED)).mean()),
    )


def _to_others(cases: Sequence[Slices]) -> float:
    found = [
        nearest(some(one), np.concatenate([*cases[:number], *cases[number + 1 :]]))
        for number, one in enumerate(cases)
        if len(cases) > 1
    ]
    return float(np.median(np.concatenate(found))) if found else 0.0
