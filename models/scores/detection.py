"""How well boxes or probabilities agree with the truth: ROC with DeLong's interval, FROC, sensitivity.

The unit is the study. A lesion is found by a box of its kind whose centre lies inside the lesion's own box; more boxes
in a lesion that is found already count neither way, as in LUNA16 (Setio et al., Medical Image Analysis 42, 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Interval = tuple[float, float]
Point = tuple[float, float, float]

#: of fewer studies with, or without, no interval is given: it would be too narrow
FEWEST_FOR_INTERVAL = 5
LEVEL = 0.95
BOOTSTRAPS = 2000
#: false positives per study at which the sensitivity is read; their mean is LUNA16's CPM
PER_STUDY = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Roc:
    """How a score tells studies with a finding from those without.

    Attributes:
        positive, negative: the scores of either.
    """

    positive: tuple[float, ...]
    negative: tuple[float, ...]

    def auc(self) -> float | None:
        """The chance that a study with it has the greater score, equal ones counted half (Mann and Whitney); None
        where there are none of either kind."""
        return float(self._against().mean()) if self.positive and self.negative else None

    def interval(self) -> Interval | None:
        """95 % of the area, by DeLong's variance (Biometrics 44, 1988) on the logit, so that it stays within 0 and 1.

        None for fewer than 5 studies of either kind, and where all are told apart: that variance is 0, and would say
        that nothing is left to doubt.
        """
        auc = self.auc()
        few = min(len(self.positive), len(self.negative)) < FEWEST_FOR_INTERVAL
        if auc is None or few or not 0 < auc < 1:
            return None
        against = self._against()
        variance = against.mean(1).var(ddof=1) / len(self.positive) + against.mean(0).var(ddof=1) / len(self.negative)
        wide = _z() * math.sqrt(variance) / (auc * (1 - auc))
        middle = math.log(auc / (1 - auc))
        return _expit(middle - wide), _expit(middle + wide)

    def points(self) -> list[tuple[float, float]]:
        """False and true positive rate as the threshold falls."""
        if not self.positive or not self.negative:
            return []
        thresholds = sorted({*self.positive, *self.negative}, reverse=True)
        return [(0.0, 0.0), *((_rate(self.negative, one), _rate(self.positive, one)) for one in thresholds)]

    def _against(self) -> Numbers:
        """(positive, negative): 1 where the first is greater, a half where they are equal."""
        first, second = np.array(self.positive)[:, None], np.array(self.negative)[None]
        return (first > second) + 0.5 * (first == second)


def _rate(scores: Sequence[float], threshold: float) -> float:
    return sum(score >= threshold for score in scores) / len(scores)


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _z() -> float:
    return NormalDist().inv_cdf((1 + LEVEL) / 2)


def of_parts(found: int, of: int) -> Interval | None:
    """95 % of a part, after Wilson (1927); None of none."""
    if not of:
        return None
    z, part = _z(), found / of
    middle = (part + z**2 / (2 * of)) / (1 + z**2 / of)
    wide = z / (1 + z**2 / of) * math.sqrt(part * (1 - part) / of + z**2 / (4 * of**2))
    return max(0.0, middle - wide), min(1.0, middle + wide)


@dataclass(frozen=True)
class Lesion:
    """A box of the truth along the patient's axes: centre and sizes, mm LPS."""

    centre_mm: Point
    size_mm: Point

    def holds(self, point_mm: Point) -> bool:
        return all(
            abs(at - middle) <= size / 2
            for at, middle, size in zip(point_mm, self.centre_mm, self.size_mm, strict=True)
        )


@dataclass(frozen=True)
class Candidate:
    """A box of the network: its score and its centre, mm LPS."""

    score: float
    centre_mm: Point


@dataclass(frozen=True)
class Study:
    """What came of one finding in one study.

    Attributes:
        hits: for each lesion that was found, the score of the surest box in it.
        false: the scores of the boxes that are in no lesion.
        lesions: that there are.
    """

    hits: tuple[float, ...]
    false: tuple[float, ...]
    lesions: int

    @property
    def score(self) -> float:
        """How sure the network is that there is one at all; 0 without a box."""
        return max((*self.hits, *self.false), default=0.0)


def matched(lesions: Sequence[Lesion], candidates: Sequence[Candidate]) -> Study:
    """Boxes against the truth. A box whose centre lies in several lesions is of the one whose middle is nearest."""
    best: dict[int, float] = {}
    false = []
    for one in candidates:
        holding = [n for n, lesion in enumerate(lesions) if lesion.holds(one.centre_mm)]
        if not holding:
            false.append(one.score)
            continue
        nearest = min(holding, key=lambda n: math.dist(lesions[n].centre_mm, one.centre_mm))
        best[nearest] = max(best.get(nearest, 0.0), one.score)
    return Study(tuple(best[n] for n in sorted(best)), tuple(false), len(lesions))


@dataclass(frozen=True)
class Froc:
    """Sensitivity beside false positives per study, over several studies."""

    studies: tuple[Study, ...]

    @property
    def lesions(self) -> int:
        return sum(one.lesions for one in self.studies)

    def at(self, threshold: float) -> tuple[float, float | None]:
        """False positives per study, and the sensitivity; None without lesions."""
        false = sum(score >= threshold for one in self.studies for score in one.false)
        hits = sum(score >= threshold for one in self.studies for score in one.hits)
        return false / len(self.studies), hits / self.lesions if self.lesions else None

    def points(self) -> list[tuple[float, float]]:
        """As the threshold falls; none without lesions."""
        scores = sorted({score for one in self.studies for score in (*one.hits, *one.false)}, reverse=True)
        found = [(0.0, 0.0), *((per, part) for per, part in map(self.at, scores) if part is not None)]
        return found if self.lesions else []

    def sensitivity(self, per_study: float) -> float | None:
        """The greatest at no more false positives per study than this. None without lesions."""
        return max((part for per, part in self.points() if per <= per_study), default=None)

    def mean_sensitivity(self) -> float | None:
        """Over `PER_STUDY` (LUNA16's CPM)."""
        found = [part for per in PER_STUDY if (part := self.sensitivity(per)) is not None]
        return sum(found) / len(found) if found else None

    def interval(self, threshold: float, *, bootstraps: int = BOOTSTRAPS, seed: int = 0) -> Interval | None:
        """95 % of the sensitivity at a threshold, by the percentile bootstrap over studies: lesions of one are alike.

        None for fewer than 5 studies with lesions.
        """
        pairs = np.array(
            [(sum(score >= threshold for score in one.hits), one.lesions) for one in self.studies if one.lesions]
        )
        if len(pairs) < FEWEST_FOR_INTERVAL:
            return None
        drawn = np.random.default_rng(seed).integers(len(pairs), size=(bootstraps, len(pairs)))
        hits, lesions = pairs[drawn].sum(1).T
        low, high = np.percentile(hits / lesions, (50 - 50 * LEVEL, 50 + 50 * LEVEL)).tolist()
        return low, high

    def roc(self) -> Roc:
        """Of the studies as a whole: is there any lesion?"""
        with_any = tuple(one.score for one in self.studies if one.lesions)
        return Roc(with_any, tuple(one.score for one in self.studies if not one.lesions))
