"""What a generator makes of the maps of patients it was not trained on, beside what they really look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bucket import Prepared
from .likeness import Slices, some, ssim
from .sampling import Sampler
from .volume import Volume


@dataclass(frozen=True)
class Fidelity:
    """Medians of the SSIM of a slice to its own remake.

    Attributes:
        generated: by the generator, from the slice's map, in the style of its case.
        painted: each kind of the map in its mean value over the training cases: what a map gives away without learning.
    """

    generated: float
    painted: float


def fidelity(sampler: Sampler, unseen: Sequence[Volume]) -> Fidelity:
    """Over some slices of each of these cases."""
    bucket = sampler.bucket
    means = _means(bucket.cases, bucket.maps.kinds)
    generated, painted = [], []
    for volume in unseen:
        one = bucket.prepared(volume)
        style, _ = sampler.style_of(one)
        remade = sampler.image(bucket.canvas.cut(one.found, one.volume.label.shape), style)
        wanted = some(bucket.bare(one.volume.values))
        generated.append(ssim(wanted, some(bucket.bare(remade))))
        flat: Slices = np.moveaxis(means[one.found], -1, 1).astype(np.float32)
        painted.append(ssim(wanted, some(flat)))
    return Fidelity(float(np.median(np.concatenate(generated))), float(np.median(np.concatenate(painted))))


def _means(cases: Sequence[Prepared], kinds: int) -> NDArray[np.float64]:
    """(kinds, channels)."""
    found = np.concatenate([one.found.ravel() for one in cases])
    values = np.concatenate([one.scaled.swapaxes(0, 1).reshape(one.scaled.shape[1], -1) for one in cases], axis=1)
    counts = np.maximum(np.bincount(found, minlength=kinds), 1)
    return np.stack([np.bincount(found, weights=one, minlength=kinds) / counts for one in values], axis=1)
