"""How often chance alone would favour the candidate as much: the paired sign-flip permutation test.

If candidate and champion were alike, each patient's difference would be as likely with the other sign (Fisher, The
Design of Experiments, 1935, chapter 3).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from .bounds import BLOCK, EQUAL, Draws, Values


def sign_flip_p(differences: Values, draws: Draws) -> float:
    """The one-sided p: how likely a mean is at least this great where the signs are by chance.

    All patterns of signs are counted where there are no more of them than draws; else as many are drawn, and the one
    that was seen counts as one of them (Phipson and Smyth 2010), so that p is never 0.

    Args:
        differences: candidate - champion, one per patient; at least one.
    """
    differences = np.sort(differences)
    patients = len(differences)
    least = float(differences.sum()) - EQUAL
    if 2**patients <= draws.permutations:
        return float((_every_sign(patients) @ differences >= least).mean())
    blocks = math.ceil(draws.permutations / BLOCK)
    sums = np.concatenate([_signs(draws.seed, patients, block) @ differences for block in range(blocks)])
    return (1 + int((sums[: draws.permutations] >= least).sum())) / (1 + draws.permutations)


def smallest_p(patients: int, draws: Draws) -> float:
    """The least p that this many patients can give, whatever the candidate does."""
    return 2.0**-patients if 2**patients <= draws.permutations else 1 / (1 + draws.permutations)


@lru_cache(maxsize=4)
def _every_sign(patients: int) -> Values:
    """(2 ** patients, patients): every pattern of +1 and -1."""
    bits = np.arange(2**patients)[:, None] >> np.arange(patients) & 1
    return 1.0 - 2.0 * bits.astype(np.float64)


@lru_cache(maxsize=32)
def _signs(seed: int, patients: int, block: int) -> Values:
    """(BLOCK, patients): +1 and -1 by chance."""
    # the bootstrap of as many patients has draws of its own
    random = np.random.default_rng([seed, patients, block, 1])
    return 1.0 - 2.0 * random.integers(0, 2, size=(BLOCK, patients)).astype(np.float64)
