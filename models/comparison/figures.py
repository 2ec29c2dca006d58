"""Numbers of the comparison: how good, how sure, how different from the shipped recipe on the same patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .trial import Outcome

#: a patient whose Dice is below was not segmented
FAILED_BELOW = 0.5
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Figures:
    """Of one contender over patients.

    Attributes:
        sd: of the patients' Dice (n - 1).
        failures: patients with a Dice below 0.5.
        seconds: mean of one inference.
    """

    patients: int
    mean: float
    sd: float
    median: float
    failures: int
    seconds: float


@dataclass(frozen=True)
class Difference:
    """Of the Dice of the same patients: mean, and the 95 % interval of Student's t (n - 1 degrees of freedom)."""

    mean: float
    low: float
    high: float

    @property
    def is_distinct(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def figures(outcomes: Sequence[Outcome]) -> Figures:
    dice = np.array([one.dice for one in outcomes])
    return Figures(
        len(dice),
        float(dice.mean()),
        float(dice.std(ddof=1)),
        float(np.median(dice)),
        int((dice < FAILED_BELOW).sum()),
        float(np.mean([one.seconds for one in outcomes])),
    )


def difference(contender: Sequence[Outcome], reference: Sequence[Outcome]) -> Difference:
    """Contender less reference, patient by patient.

    Raises:
        ValueError: they are not of the same patients.
    """
    of_reference = {one.patient: one.dice for one in reference}
    if {one.patient for one in contender} != set(of_reference):
        raise ValueError("the two were not judged on the same patients")
    differences = np.array([one.dice - of_reference[one.patient] for one in contender])
    mean = float(differences.mean())
    half = float(
        stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    )
    return Difference(mean, mean - half, mean + half)
