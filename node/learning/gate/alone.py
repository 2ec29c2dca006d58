"""A network for new structures has no champion: it has to reach what its card asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from .bounds import EQUAL, Draws, Values, cautious
from .guards import Judged, judged, subgroups
from .pairs import mean_dice
from .values import Pair, Protocol
from .words import patients, percent


def dices(pairs: Sequence[Pair], protocol: Protocol) -> dict[str, float]:
    """Patient -> the candidate's mean Dice over the primary classes; without those who have none of these classes."""
    found = {one.patient: mean_dice(one.candidate, protocol.primary_classes) for one in pairs}
    return {patient: dice for patient, dice in found.items() if dice is not None}


def thresholds(protocol: Protocol, pairs: Sequence[Pair], alpha: float, draws: Draws) -> tuple[Judged, ...]:
    """For each class of the card, whether the lower bound of its mean Dice, one-sided at 1 - alpha, lies above it.

    All of them have to, so that their number takes no correction. A primary class without a threshold can reach none.
    Subgroups and failures are reported; the card declares nothing for them.
    """
    found = []
    for value in sorted({*protocol.absolute, *protocol.primary_classes}):
        of_class = np.array([one.candidate[value] for one in pairs if value in one.candidate])
        found.append(_threshold(f"class {value}", of_class, protocol.absolute.get(value), alpha, draws))
    of_patients = dices(pairs, protocol)
    for name, theirs in subgroups(pairs, of_patients).items():
        said = f"mean Dice {fmean(theirs.values()):.4f} over {patients(len(theirs))}."
        found.append(judged(name, None, said))
    failed = sorted(patient for patient, dice in of_patients.items() if dice < protocol.failure_dice)
    who = f": {', '.join(failed)}" if failed else ""
    found.append(
        judged("failures", None, f"{patients(len(failed))} with a mean Dice below {protocol.failure_dice:g}{who}.")
    )
    return tuple(found)


def _threshold(name: str, of_class: Values, threshold: float | None, alpha: float, draws: Draws) -> Judged:
    if threshold is None:
        return judged(name, False, "the card declares no threshold for it.")
    if not len(of_class):
        return judged(name, False, "no patient has it, so nothing is known of it.")
    mean = float(of_class.mean())
    lower = cautious(of_class, alpha, draws)
    at_worst = f"not below {lower:.4f}" if math.isfinite(lower) else "without a lower bound"
    said = (
        f"mean Dice {mean:.4f} over {patients(len(of_class))}, at one-sided {percent(1 - alpha)} {at_worst}; "
        f"the card asks for more than {threshold:g}."
    )
    if lower > threshold + EQUAL:
        return judged(name, True, said)
    if mean < threshold - EQUAL:
        return judged(name, False, f"too low: {said}", harm=True)
    return judged(name, False, f"not shown to be high enough: {said}")
