"""What the gate is told, and what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

#: of a protocol, by label value
NUMBERED = ("class_margins", "absolute")


class Outcome(StrEnum):
    """What a comparison of candidate and champion came to."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What will count, declared before a training begins and hashed with it.

    Attributes:
        primary_classes: label values; the primary endpoint is the paired per-patient difference of their mean Dice.
        alpha: of the first look, one-sided, for the bootstrap's bound and for the permutation's p.
        margin: a guard's mean difference in Dice may be this much below 0 over all primary classes, at 95 %.
        class_margins: the same per label value; `class_margin` for those that are not named.
        subgroup_margin: the same for subgroups of at least `subgroup_patients`.
        small_subgroup_patients, small_subgroup_drop: subgroups of this many and more, up to `subgroup_patients`, must
            not lose more than this in the mean.
        failure_dice: a patient below it is a failure.
        named_loss: a patient who loses more than this is named.
        fewest_patients: fewer are inconclusive.
        automatic_patients: fewer are never promoted without a person.
        runtime_factor: the candidate may take this much longer.
        absolute: label value -> mean Dice that has to be reached, for a network that has no champion.
        bootstraps, permutations, seed: of the two tests.
    """

    primary_classes: tuple[int, ...]
    alpha: float = 0.025
    margin: float = 0.02
    class_margin: float = 0.05
    class_margins: dict[int, float] = field(default_factory=dict)
    subgroup_margin: float = 0.05
    subgroup_patients: int = 20
    small_subgroup_patients: int = 5
    small_subgroup_drop: float = 0.10
    failure_dice: float = 0.5
    named_loss: float = 0.2
    fewest_patients: int = 12
    automatic_patients: int = 30
    runtime_factor: float = 1.2
    absolute: dict[int, float] = field(default_factory=dict)
    bootstraps: int = 4000
    permutations: int = 10_000
    seed: int = 0

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Protocol:
        """As it was declared and kept as JSON, whose keys are text and whose lists are no tuples."""
        numbered = {name: {int(key): value for key, value in said[name].items()} for name in NUMBERED}
        return cls(**{**said, **numbered, "primary_classes": tuple(said["primary_classes"])})

    def sha256(self) -> str:
        """The hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One locked patient, by both networks; of several cases of a patient, the means.

    Attributes:
        patient: a name that says nothing of the person.
        champion, candidate: label value -> Dice; a class that says nothing of this patient is not there.
        groups: what subgroups the patient belongs to: "scanner" -> "GE Discovery ST".
        champion_seconds, candidate_seconds: of the network.
    """

    patient: str
    champion: dict[int, float]
    candidate: dict[int, float]
    groups: dict[str, str] = field(default_factory=dict)
    champion_seconds: float = 0.0
    candidate_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One thing that has to hold beside the primary endpoint.

    Attributes:
        name: what it is about: "class 2", "scanner GE Discovery ST", "failures", "runtime".
        holds: whether it does; None where it is only reported.
        sentence: with its numbers.
    """

    name: str
    holds: bool | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says.

    Attributes:
        outcome: and why, in `reasons`, the weightiest first.
        patients: that had both numbers.
        look: how often these patients have been looked at, this time included.
        alpha: that this look had.
        mean_difference, lower_bound, p: of the primary endpoint; None where it could not be computed.
        guards: all that were judged.
        losers: patients who lose more than the protocol's `named_loss`, with their difference, the worst first.
        blind_spot: what so few patients cannot show, in words.
        automatic: whether it may be promoted without a person.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    patients: int
    look: int
    alpha: float
    mean_difference: float | None
    lower_bound: float | None
    p: float | None
    guards: tuple[Guard, ...]
    losers: tuple[tuple[str, float], ...]
    blind_spot: str
    automatic: bool
