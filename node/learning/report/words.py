"""Numbers as they are printed, and what is said where there is none. Nothing prints "nan"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.scores.summary import ClassSummary, Spread

from ..gate.values import Outcome
from .blocks import BAD, DOUBT, GOOD, Cell

NONE = "–"
RESEARCH = "Research use. Not a medical device."
#: letters of a pseudonym that are shown where there is little room, at least
SHORT = 8
VERDICT = {
    Outcome.PASS: ("✓ PASS", "the candidate may take the champion's place", GOOD),
    Outcome.FAIL: ("✕ FAIL", "the candidate must not go live", BAD),
    Outcome.INCONCLUSIVE: ("? INCONCLUSIVE", "the candidate has not been proven better, and does not go live", DOUBT),
}


@dataclass(frozen=True)
class Metric:
    """One of the numbers of `models.scores.summary`.

    Attributes:
        name: there.
        title: for people.
        digits: after the point.
        missing: why no patient has it.
    """

    name: str
    title: str
    digits: int
    missing: str


NO_OVERLAP = "no patient has it both in the truth and in the prediction"
NO_PROBABILITY = "its probabilities were not kept"
ABSENT = "nobody has it, and none was predicted"
METRICS = (
    Metric("dice", "Dice (= F1 of the voxels)", 3, ABSENT),
    Metric("nsd", "Surface Dice (NSD)", 3, ABSENT),
    Metric("hd95_mm", "Hausdorff distance 95 %, mm", 1, NO_OVERLAP),
    Metric("volume_error_ml", "Volume error, ml, signed", 2, ABSENT),
    Metric("absolute_volume_error_ml", "Volume error, ml, absolute", 2, ABSENT),
    Metric("accuracy", "Accuracy of the voxels", 4, ABSENT),
    Metric("precision", "Precision of the voxels", 3, ABSENT),
    Metric("recall", "Recall of the voxels", 3, ABSENT),
    Metric("lesion_f1", "Lesion detection F1", 3, "its parts are not lesions by the card, or nobody has one"),
    Metric("roc_auc", "ROC AUC of the voxels", 4, NO_PROBABILITY),
    Metric("pr_auc", "PR AUC of the voxels", 3, NO_PROBABILITY),
    Metric("calibration_error", "Calibration error (ECE)", 3, NO_PROBABILITY),
)


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """With thousands apart and a true minus; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    said = f"{value:{'+' if signed else ''},.{digits}f}"
    if float(said.replace(",", "")) == 0:
        said = said.lstrip("+-")
    return said.replace(",", "\u202f").replace("-", "\u2212")


def spread(found: Spread | None, digits: int, expected: int | None = None, *, signed: bool = False) -> Cell:
    """Mean, and its interval below; and of how many patients, where these are not all that were expected."""
    if found is None:
        return Cell(NONE)
    said = number(found.mean, digits, signed=signed)
    below = _range(*found.interval, digits, signed=signed) if found.interval else ""
    if expected not in (None, found.count):
        below = ", ".join(part for part in (below, f"n {found.count}") if part)
    return Cell(said, below)


def quartiles(found: Spread | None, digits: int) -> Cell:
    """Median, and quartiles below."""
    if found is None:
        return Cell(NONE)
    return Cell(number(found.median, digits), _range(found.lower_quartile, found.upper_quartile, digits))


def _range(low: float, high: float, digits: int, *, signed: bool = False) -> str:
    return f"{number(low, digits, signed=signed)} to {number(high, digits, signed=signed)}"


def count(value: int | None) -> str:
    """A dash where nothing was counted."""
    return NONE if value is None else f"{value:,}".replace(",", "\u202f")


def of_patients(value: int) -> str:
    """So many patients."""
    return f"{value} patient{'' if value == 1 else 's'}"


def lesions(of: ClassSummary) -> Cell:
    """Found, and missed and false below."""
    if of.lesions_found is None:
        return Cell(NONE)
    return Cell(f"{of.lesions_found} found", f"{of.lesions_missed} missed, {of.lesions_false} false")


def without(missing: Mapping[tuple[str, str], Sequence[str]]) -> tuple[str, ...]:
    """Why numbers do not exist: number and reason -> who lacks it, as sentences."""
    return tuple(f"{title}, {' and '.join(roles)}: {reason}." for (title, reason), roles in missing.items())


def shortened(names: Iterable[str]) -> dict[str, str]:
    """Long name -> the shortest beginning of it, of 8 letters at least, that no other one has."""
    everyone = sorted(set(names))
    length = SHORT
    while len({name[:length] for name in everyone}) < len(everyone):
        length += 1
    return {name: name[:length] for name in everyone}
