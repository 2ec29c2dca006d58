"""The primary endpoint: is the candidate better?

One question is asked, so that one answer can be trusted: whether the mean over patients of the difference in mean Dice
over the primary classes lies above 0. Two tests have to agree. The studentised bootstrap is not misled by many small
gains and a few great losses, the sign-flip permutation not by heavy tails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .bounds import EQUAL, Draws, Values, studentised
from .permutation import sign_flip_p, smallest_p
from .words import patients, percent, probability, signed


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """What became of the primary endpoint.

    Attributes:
        mean: difference, candidate - champion.
        lower: bound of it, one-sided at 1 - alpha; None where the patients do not bound it.
        p: of the sign-flip permutation, one-sided.
        superior: both tests say so.
        worse: the upper bound at 1 - alpha lies below 0.
        exhausted: no differences whatever could have shown more, with so many patients at this look.
        sentence: with its numbers.
    """

    mean: float
    lower: float | None
    p: float
    superior: bool
    worse: bool
    exhausted: bool
    sentence: str


def endpoint(differences: Values, alpha: float, draws: Draws) -> Endpoint:
    """Judge the primary endpoint.

    Args:
        differences: in mean Dice over the primary classes, candidate - champion, one per patient; at least one.
        alpha: one-sided, for the bound and for p.
    """
    mean = float(differences.mean())
    lower = studentised(differences, alpha, draws)
    upper = -studentised(-differences, alpha, draws)
    p = sign_flip_p(differences, draws)
    superior = lower > EQUAL and p <= alpha
    worse = upper < -EQUAL
    said = "better" if superior else "worse" if worse else "not shown to be better"
    exhausted = smallest_p(len(differences), draws) > alpha or alpha * (draws.bootstraps + 1) < 1
    return Endpoint(
        mean=mean,
        lower=lower if math.isfinite(lower) else None,
        p=p,
        superior=superior,
        worse=worse,
        exhausted=exhausted,
        sentence=f"The candidate is {said}: {_numbers(differences, mean, lower, p, alpha)}",
    )


def _numbers(differences: Values, mean: float, lower: float, p: float, alpha: float) -> str:
    level = percent(1 - alpha)
    if len(differences) > 1 and float(np.ptp(differences)) < EQUAL:
        bound = f"every patient has the same difference, so it is its own bound at one-sided {level}"
    elif math.isfinite(lower):
        bound = f"at one-sided {level} it is not below {signed(lower)}"
    else:
        bound = f"at one-sided {level} these patients set it no lower bound"
    return (
        f"its mean Dice differs by {signed(mean)} over {patients(len(differences))}; {bound}; "
        f"by chance alone it would be as great with p = {probability(p)} (at most {alpha:.4g} counts)."
    )
