"""What has to hold beside the primary endpoint, so that a better mean hides no harm.

A guard may be broken in two ways: a harm was seen, or it was not seen and could not be ruled out either. The first
speaks against the candidate, the second asks for more patients; neither lets it pass.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from .bounds import EQUAL, Draws, cautious
from .pairs import mean_dice
from .values import Guard, Pair, Protocol
from .words import patients, percent, signed

#: one-sided, of every guard that has a margin
ALPHA = 0.05
Differences = Mapping[str, float]
"""patient -> candidate - champion"""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A guard, and whether it saw something that speaks against the candidate, not only could not rule it out."""

    guard: Guard
    harm: bool = False

    @property
    def broken(self) -> bool:
        return self.guard.holds is False


def differences(pairs: Sequence[Pair], protocol: Protocol) -> dict[str, float]:
    """Patient -> difference in mean Dice over the primary classes; without those who have none of these classes."""
    both = {
        one.patient: (
            mean_dice(one.champion, protocol.primary_classes),
            mean_dice(one.candidate, protocol.primary_classes),
        )
        for one in pairs
    }
    return {patient: new - old for patient, (old, new) in both.items() if old is not None and new is not None}


def guards(protocol: Protocol, pairs: Sequence[Pair], draws: Draws) -> tuple[Judged, ...]:
    """All guards: over all, class by class, subgroup by subgroup, failures, runtime."""
    primary = differences(pairs, protocol)
    return (
        _margin("all primary classes", primary, protocol.margin, draws),
        *_classes(protocol, pairs, draws),
        *_subgroups(protocol, pairs, primary, draws),
        _failures(protocol, pairs),
        _runtime(protocol, pairs),
        *_left_out(pairs, primary),
    )


def subgroups(pairs: Sequence[Pair], of: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Kind and name of a subgroup -> its patients' numbers."""
    members: dict[str, dict[str, float]] = defaultdict(dict)
    for one in pairs:
        for kind, group in one.groups.items():
            if one.patient in of:
                members[f"{kind} {group}"][one.patient] = of[one.patient]
    return dict(sorted(members.items()))


def _classes(protocol: Protocol, pairs: Sequence[Pair], draws: Draws) -> list[Judged]:
    """A class that the protocol names keeps its margin, however few have it; others are judged as subgroups are."""
    named = {*protocol.primary_classes, *protocol.class_margins}
    found = []
    for value in sorted(named.union(*(one.candidate.keys() & one.champion.keys() for one in pairs))):
        of_class = {
            one.patient: one.candidate[value] - one.champion[value]
            for one in pairs
            if value in one.candidate and value in one.champion
        }
        margin = protocol.class_margins.get(value, protocol.class_margin)
        if value in named or len(of_class) >= protocol.subgroup_patients:
            found.append(_margin(f"class {value}", of_class, margin, draws))
        else:
            found.append(_small(f"class {value}", of_class, protocol))
    return found


def _subgroups(protocol: Protocol, pairs: Sequence[Pair], primary: Differences, draws: Draws) -> list[Judged]:
    found = []
    for name, theirs in subgroups(pairs, primary).items():
        if len(theirs) >= protocol.subgroup_patients:
            found.append(_margin(name, theirs, protocol.subgroup_margin, draws))
        else:
            found.append(_small(name, theirs, protocol))
    return found


def _margin(name: str, of: Differences, margin: float, draws: Draws) -> Judged:
    """The mean difference is not below -margin, at one-sided 95 %."""
    if not of:
        return judged(name, False, "no patient has it, so a harm to it could not be seen.")
    values = np.array(list(of.values()))
    mean = float(values.mean())
    lower = cautious(values, ALPHA, draws)
    holds = lower > -margin - EQUAL
    at_worst = f"not below {signed(lower)}" if math.isfinite(lower) else "without a lower bound"
    said = f"mean Dice differs by {signed(mean)} over {patients(len(of))}, at one-sided {percent(1 - ALPHA)} {at_worst}"
    if holds:
        return judged(name, True, f"{said}; the margin is {margin:g}.")
    if mean < -margin - EQUAL:
        return judged(name, False, f"harm: {said}; the margin is {margin:g}. {_worst(of)}", harm=True)
    return judged(name, False, f"harm not ruled out: {said}; the margin is {margin:g}. {_worst(of)}")


def _small(name: str, of: Differences, protocol: Protocol) -> Judged:
    """So few that a bound would say little: a great drop blocks, and of the fewest nothing does."""
    mean = fmean(of.values())
    said = f"mean Dice differs by {signed(mean)} over {patients(len(of))}"
    if len(of) < protocol.small_subgroup_patients:
        return judged(name, None, f"{said}, too few to judge.")
    drop = protocol.small_subgroup_drop
    if mean < -drop - EQUAL:
        return judged(name, False, f"harm: {said}; a drop of more than {drop:g} is too much. {_worst(of)}", harm=True)
    return judged(name, True, f"{said}; a drop of up to {drop:g} is let pass, for they are few.")


def _worst(of: Differences) -> str:
    patient, difference = min(of.items(), key=lambda item: (item[1], item[0]))
    return f"The worst of them is patient {patient} with {signed(difference)}."


def _failures(protocol: Protocol, pairs: Sequence[Pair]) -> Judged:
    before, after = (
        {
            one.patient
            for one, dices in zip(pairs, of_all, strict=True)
            if (dice := mean_dice(dices, protocol.primary_classes)) is not None and dice < protocol.failure_dice
        }
        for of_all in ([one.champion for one in pairs], [one.candidate for one in pairs])
    )
    said = f"{patients(len(after))} with a mean Dice below {protocol.failure_dice:g}; the champion has {len(before)}"
    if len(after) <= len(before):
        return judged("failures", True, f"{said}.")
    new = ", ".join(sorted(after - before))
    return judged("failures", False, f"harm: {said}. Those that only the candidate fails: {new}.", harm=True)


def _runtime(protocol: Protocol, pairs: Sequence[Pair]) -> Judged:
    """The median over patients of candidate's by champion's seconds."""
    ratios = [
        one.candidate_seconds / one.champion_seconds
        for one in pairs
        if one.champion_seconds > 0 and one.candidate_seconds > 0
    ]
    if not ratios:
        return judged("runtime", None, "was not measured.")
    middle = median(ratios)
    said = f"the candidate takes {middle:.2f} times as long; up to {protocol.runtime_factor:g} times is let pass."
    if middle <= protocol.runtime_factor + EQUAL:
        return judged("runtime", True, said)
    return judged("runtime", False, f"too slow: {said}", harm=True)


def _left_out(pairs: Sequence[Pair], primary: Differences) -> list[Judged]:
    who = sorted(one.patient for one in pairs if one.patient not in primary)
    return [judged("left out", None, f"{patients(len(who))} without a primary class: {', '.join(who)}.")] if who else []


def judged(name: str, holds: bool | None, said: str, *, harm: bool = False) -> Judged:
    """A guard of this name, whose sentence begins with it."""
    return Judged(guard=Guard(name=name, holds=holds, sentence=f"{name[:1].upper()}{name[1:]}: {said}"), harm=harm)
