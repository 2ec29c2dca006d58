"""What the scores of many cases come to. The unit is the patient: several cases of one are averaged first.

Nothing is guessed: a number that a patient lacks is left out of its mean, and how many had it is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from .values import CaseScores, ClassScores

FAILURE_DICE = 0.5
#: of fewer patients no interval is given: the bootstrap's would be too narrow
FEWEST_FOR_INTERVAL = 5
BOOTSTRAPS = 2000

Number = Callable[[ClassScores], float | None]


def _unless_empty(number: Number) -> Number:
    return lambda one: None if one.both_empty else number(one)


#: what is averaged; a class that neither truth nor prediction has is in none of them
NUMBERS: dict[str, Number] = {
    "dice": lambda one: one.dice,
    "nsd": lambda one: one.nsd,
    "hd95_mm": lambda one: one.hd95_mm,
    "volume_error_ml": _unless_empty(lambda one: one.volume_error_ml),
    "absolute_volume_error_ml": _unless_empty(lambda one: abs(one.volume_error_ml)),
    "accuracy": lambda one: one.accuracy,
    "precision": lambda one: one.precision,
    "recall": lambda one: one.recall,
    "lesion_f1": lambda one: one.lesion_f1,
    "roc_auc": lambda one: one.roc_auc,
    "pr_auc": lambda one: one.pr_auc,
    "calibration_error": lambda one: one.calibration_error,
}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Some numbers, one of each patient.

    Attributes:
        count: of patients.
        lower_quartile, upper_quartile: linear between neighbours.
        interval: 95 %, of the mean, by the percentile bootstrap over patients; None for fewer than 5.
    """

    count: int
    mean: float
    median: float
    lower_quartile: float
    upper_quartile: float
    least: float
    most: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """One class over all patients.

    Attributes:
        value: its label value.
        patients: for whom it was annotated.
        both_empty: of these, who do not have it, and none was predicted: in no mean.
        failures: whose Dice is below the limit.
        lesions_found, lesions_missed, lesions_false: over all cases; None where lesions are not counted.
        spreads: for each of NUMBERS; None where no patient has it.
    """

    value: int
    patients: int
    both_empty: int
    failures: int
    lesions_found: int | None
    lesions_missed: int | None
    lesions_false: int | None
    spreads: dict[str, Spread | None]


def spread(values: Sequence[float], *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Spread | None:
    """Of numbers, one of each patient; None of none.

    Raises:
        ValueError: one is not finite.
    """
    if not values:
        return None
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a score that is not finite: what does not exist has to be None")
    found = np.sort(
        np.asarray(values, float)
    )  # in this order, so that the interval does not depend on that of the cases
    least, lower, median, upper, most = np.percentile(found, (0, 25, 50, 75, 100)).tolist()
    interval = None
    if len(found) >= FEWEST_FOR_INTERVAL:
        drawn = np.random.default_rng(seed).integers(len(found), size=(bootstraps, len(found)))
        low, high = np.percentile(found[drawn].mean(axis=1), (2.5, 97.5)).tolist()
        interval = (low, high)
    return Spread(
        count=len(found),
        mean=float(found.mean()),
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
        least=least,
        most=most,
        interval=interval,
    )


def by_patient(cases: Sequence[CaseScores], number: Callable[[CaseScores], float | None]) -> dict[str, float]:
    """Patient -> the mean of a number over the cases that have it; patients without any are not there."""
    found: dict[str, list[float]] = {}
    for case in cases:
        if (value := number(case)) is not None:
            found.setdefault(case.patient, []).append(value)
    return {patient: sum(values) / len(values) for patient, values in found.items()}


def of_class(value: int, number: Number) -> Callable[[CaseScores], float | None]:
    """A number of one class, for `by_patient`; None where the class was not annotated."""

    def of_case(case: CaseScores) -> float | None:
        return next((number(one) for one in case.classes if one.value == value), None)

    return of_case


def summarise(
    cases: Sequence[CaseScores],
    value: int,
    *,
    failure_dice: float = FAILURE_DICE,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> ClassSummary:
    """One class over all cases in which it was annotated."""
    annotated = [(case.patient, one) for case in cases for one in case.classes if one.value == value]
    patients = {patient for patient, _ in annotated}
    seen = {patient for patient, one in annotated if not one.both_empty}
    dices = by_patient(cases, of_class(value, NUMBERS["dice"]))
    return ClassSummary(
        value=value,
        patients=len(patients),
        both_empty=len(patients - seen),
        failures=sum(dice < failure_dice for dice in dices.values()),
        lesions_found=_total([one.lesions_found for _, one in annotated]),
        lesions_missed=_total([one.lesions_missed for _, one in annotated]),
        lesions_false=_total([one.lesions_false for _, one in annotated]),
        spreads={
            name: spread(list(by_patient(cases, of_class(value, number)).values()), bootstraps=bootstraps, seed=seed)
            for name, number in NUMBERS.items()
        },
    )


def seconds(cases: Sequence[CaseScores]) -> Spread | None:
    """What the network took, per patient; None of a threshold, which is not timed."""
    return spread(list(by_patient(cases, lambda case: case.seconds or None).values()))


def mean_dice(cases: Sequence[CaseScores], values: Collection[int]) -> dict[str, float]:
    """Patient -> Dice over these classes: of each class over the cases first, then of the classes."""
    of_each = [by_patient(cases, of_class(value, NUMBERS["dice"])) for value in values]
    patients = sorted({patient for dices in of_each for patient in dices})
    found = {}
    for patient in patients:
        there = [dices[patient] for dices in of_each if patient in dices]
        found[patient] = sum(there) / len(there)
    return found


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
