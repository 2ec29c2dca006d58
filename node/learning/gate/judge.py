"""The gate: whether a candidate may take the champion's place.

pass          better, and no guard is broken
fail          something speaks against it: a fault, a harm that was seen, or it is shown to be worse
inconclusive  nothing speaks against it and not enough speaks for it, or there are too few patients to say either
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import Refused
from . import alone
from .bounds import EQUAL, Draws
from .guards import Judged, differences, guards
from .looks import alpha_of
from .power import blind_spot
from .primary import Endpoint, endpoint
from .values import Guard, Outcome, Pair, Protocol, Verdict
from .words import patients, signed


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found, before it is weighed.

    Attributes:
        patients: that had what the primary endpoint needs.
        primary: None where nobody was compared.
        compared: whether there is a champion.
    """

    patients: int
    primary: Endpoint | None
    judged: tuple[Judged, ...]
    losers: tuple[tuple[str, float], ...]
    compared: bool


def judge(protocol: Protocol, pairs: Sequence[Pair], *, look: int, faults: Sequence[str] = ()) -> Verdict:
    """Judge a candidate on locked patients.

    Without a champion's score in any pair, and with absolute thresholds in the protocol, the candidate is judged by
    these. The same protocol, pairs and look give the same verdict, whatever the order of the pairs.

    Args:
        look: at these patients, counted from 1 (`looks.look`).
        faults: whatever must not be, each as a sentence: golden cases that do not hold, empty outputs. One is enough.

    Raises:
        Refused: the look is not counted from 1, or no primary class was declared.
    """
    if look < 1:
        raise Refused("no-look", f"looks are counted from 1; this one is said to be {look}")
    if not protocol.primary_classes:
        raise Refused("no-primary-class", "the protocol declares no primary class")
    pairs = sorted(pairs, key=lambda one: one.patient)
    by_itself = bool(protocol.absolute) and not any(one.champion for one in pairs)
    wrong = _wrong(pairs, by_itself=by_itself)
    sound = [one for one in pairs if one.patient not in wrong]
    alpha = alpha_of(look, protocol.alpha)
    draws = Draws.of(protocol, look)
    found = _alone(protocol, sound, alpha, draws) if by_itself else _compared(protocol, sound, alpha, draws)
    return _verdict(protocol, found, look, alpha, (*faults, *wrong.values()))


def _compared(protocol: Protocol, pairs: Sequence[Pair], alpha: float, draws: Draws) -> Findings:
    by_patient = differences(pairs, protocol)
    lost = [(patient, difference) for patient, difference in by_patient.items() if _loses(difference, protocol)]
    values = np.array(list(by_patient.values()))
    return Findings(
        patients=len(values),
        primary=endpoint(values, alpha, draws) if len(values) else None,
        # a guard has the same error at every look, so the draws of the first
        judged=guards(protocol, pairs, Draws.of(protocol)),
        losers=tuple(sorted(lost, key=lambda loser: (loser[1], loser[0]))),
        compared=True,
    )


def _alone(protocol: Protocol, pairs: Sequence[Pair], alpha: float, draws: Draws) -> Findings:
    return Findings(
        patients=len(alone.dices(pairs, protocol)),
        primary=None,
        judged=alone.thresholds(protocol, pairs, alpha, draws),
        losers=(),
        compared=False,
    )


def _loses(difference: float, protocol: Protocol) -> bool:
    return difference < -protocol.named_loss - EQUAL


def _wrong(pairs: Sequence[Pair], *, by_itself: bool) -> dict[str, str]:
    """Patient -> why the pair cannot be used. One is enough to stop: who is left out may be who is harmed."""
    wrong = {
        patient: f"Patient {patient} is there {times} times."
        for patient, times in Counter(one.patient for one in pairs).items()
        if times > 1
    }
    for one in pairs:
        dices = [*one.champion.values(), *one.candidate.values()]
        if not all(math.isfinite(dice) for dice in dices):
            wrong[one.patient] = f"Patient {one.patient} has a Dice that is no number."
        elif not by_itself and (classes := sorted(one.champion.keys() ^ one.candidate.keys())):
            missing = "; ".join(
                f"class {value} by the {'candidate' if value in one.champion else 'champion'}" for value in classes
            )
            wrong[one.patient] = f"Patient {one.patient} was not scored by both networks; missing is {missing}."
    return wrong


def _verdict(protocol: Protocol, found: Findings, look: int, alpha: float, faults: Sequence[str]) -> Verdict:
    outcome = _outcome(protocol, found, faults)
    primary = found.primary
    return Verdict(
        outcome=outcome,
        reasons=_reasons(protocol, found, outcome, faults),
        patients=found.patients,
        look=look,
        alpha=alpha,
        mean_difference=primary.mean if primary else None,
        lower_bound=primary.lower if primary else None,
        p=primary.p if primary else None,
        guards=(
            *(Guard(name="fault", holds=False, sentence=fault) for fault in faults),
            *(one.guard for one in found.judged),
        ),
        losers=found.losers,
        blind_spot=blind_spot(found.patients),
        automatic=outcome is Outcome.PASS and not _needs_person(protocol, found),
    )


def _outcome(protocol: Protocol, found: Findings, faults: Sequence[str]) -> Outcome:
    if faults:
        return Outcome.FAIL
    if found.patients < protocol.fewest_patients:
        return Outcome.INCONCLUSIVE
    if any(one.harm for one in found.judged) or (found.primary and found.primary.worse):
        return Outcome.FAIL
    better = found.primary.superior if found.primary else not found.compared
    if better and not any(one.broken for one in found.judged):
        return Outcome.PASS
    return Outcome.INCONCLUSIVE


def _reasons(protocol: Protocol, found: Findings, outcome: Outcome, faults: Sequence[str]) -> tuple[str, ...]:
    reasons = list(faults)
    if found.patients < protocol.fewest_patients:
        reasons.append(
            f"{patients(found.patients)} could be judged; fewer than {protocol.fewest_patients} decide nothing."
        )
    reasons += [one.guard.sentence for one in found.judged if one.harm]
    if found.primary:
        reasons.append(found.primary.sentence)
        if found.primary.exhausted:
            reasons.append("So few patients, looked at so often, let no candidate pass, whatever it does.")
    reasons += [one.guard.sentence for one in found.judged if one.broken and not one.harm]
    if found.losers:
        named = ", ".join(f"{patient} ({signed(difference)})" for patient, difference in found.losers)
        reasons.append(f"{patients(len(found.losers))} with a loss of more than {protocol.named_loss:g}: {named}.")
    if outcome is Outcome.PASS:
        reasons += _needs_person(protocol, found)
    return tuple(reasons)


def _needs_person(protocol: Protocol, found: Findings) -> list[str]:
    """Why nobody but a person may promote what passes."""
    why = []
    if found.patients < protocol.automatic_patients:
        why.append(f"it was judged on fewer than {protocol.automatic_patients} patients")
    if found.losers:
        why.append("a patient loses much")
    if not found.compared:
        why.append("it is the first network for its structures")
    return [f"Only a person may promote it: {' and '.join(why)}."] if why else []
