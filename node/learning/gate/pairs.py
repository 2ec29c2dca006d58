"""The scores of both networks, patient by patient.

What is compared, class by class of a case:

- both have a Dice: these.
- the truth lacks the class and neither found any: it says nothing, and is left out.
- the truth lacks the class and one found none, the other some: 1 for the one that was right, and the other's 0.
  Nothing else would count against a network that it sees what is not there.
- the class was not annotated: it says nothing, and is left out.

Several cases of a patient are averaged, for the patient is what is drawn by chance. Nobody is dropped in silence: where
one network was not scored on a case or a class that the other was scored on, the pair lacks that class on its side, and
the gate names the patient and stops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

from models.scores.values import CaseScores, ClassScores

from ...errors import Refused
from .values import Pair, Protocol

Cases = Mapping[str, CaseScores]


def pairs(champion: Sequence[CaseScores], candidate: Sequence[CaseScores], protocol: Protocol) -> tuple[Pair, ...]:
    """One pair per patient, sorted by patient.

    Args:
        champion: of all locked cases; empty where the candidate is the first network for its structures.
        candidate: of the same cases.

    Raises:
        Refused: there is nothing to compare the candidate with; a network scored a case twice; a case is of another
            patient for the other network; a Dice is missing or not between 0 and 1.
    """
    if not champion and not protocol.absolute:
        raise Refused("no-champion", "the champion was not scored, and no thresholds were declared to do without it")
    by_case = (_by_case(champion), _by_case(candidate))
    cases: dict[str, list[str]] = defaultdict(list)
    for case in sorted({*by_case[0], *by_case[1]}):
        patients = {scores[case].patient for scores in by_case if case in scores}
        if len(patients) > 1:
            raise Refused("two-patients", f"case {case} is of one patient for the champion and of another here")
        cases[patients.pop()].append(case)
    return tuple(_pair(patient, theirs, *by_case) for patient, theirs in sorted(cases.items()))


def mean_dice(dices: Mapping[int, float], classes: Collection[int]) -> float | None:
    """Over those of the classes that say something of the patient; None where none does."""
    found = [dices[value] for value in classes if value in dices]
    return sum(found) / len(found) if found else None


def _by_case(scores: Sequence[CaseScores]) -> dict[str, CaseScores]:
    found = {one.case: one for one in scores}
    if len(found) < len(scores):
        raise Refused("case-twice", "a network was scored twice on one case")
    return found


def _pair(patient: str, cases: Sequence[str], champion: Cases, candidate: Cases) -> Pair:
    dices: tuple[dict[int, float], dict[int, float]] = ({}, {})
    of_patient = [scores[case] for case in cases for scores in (champion, candidate) if case in scores]
    for value in sorted({of_class.value for one in of_patient for of_class in one.classes}):
        compared = [
            _compared(_class(champion, case, value), _class(candidate, case, value), alone=not champion)
            for case in cases
        ]
        for side, mine in enumerate(dices):
            said = [both[side] for both in compared if both is not None]
            known = [dice for dice in said if dice is not None]
            if known and len(known) == len(said):
                mine[value] = fmean(known)
    return Pair(
        patient=patient,
        champion=dices[0],
        candidate=dices[1],
        groups=_groups(of_patient),
        champion_seconds=_seconds(cases, champion),
        candidate_seconds=_seconds(cases, candidate),
    )


def _class(scores: Cases, case: str, value: int) -> ClassScores | None:
    found = scores[case].classes if case in scores else ()
    return next((one for one in found if one.value == value), None)


def _compared(
    champion: ClassScores | None, candidate: ClassScores | None, *, alone: bool
) -> tuple[float | None, float | None] | None:
    """Both Dices of a class of a case, None for a network that was not scored on it; None where it says nothing."""
    there = [one for one in (champion, candidate) if one is not None]
    if all(one.both_empty for one in there) and (alone or len(there) != 1):
        return None
    return _dice(champion), _dice(candidate)


def _dice(scores: ClassScores | None) -> float | None:
    if scores is None:
        return None
    if scores.both_empty:
        return 1.0
    if scores.dice is None or not 0 <= scores.dice <= 1:
        raise Refused("no-dice", f"class {scores.value} of a case has the Dice {scores.dice}")
    return scores.dice


def _groups(cases: Sequence[CaseScores]) -> dict[str, str]:
    """What a patient belongs to; those who were seen by the same two scanners are a group."""
    kinds = sorted({kind for one in cases for kind in one.groups})
    return {kind: " and ".join(sorted({one.groups[kind] for one in cases if kind in one.groups})) for kind in kinds}


def _seconds(cases: Sequence[str], scores: Cases) -> float:
    return fmean([scores[case].seconds for case in cases if case in scores] or [0.0])
