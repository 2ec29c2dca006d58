"""A verdict in plain sentences, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .bounds import EQUAL
from .values import Guard, Outcome, Verdict

HEADLINES = {
    Outcome.PASS: "The candidate passes: it may be promoted.",
    Outcome.FAIL: "The candidate fails: it is not promoted, for something speaks against it.",
    Outcome.INCONCLUSIVE: "Inconclusive: the candidate is not promoted, for these patients prove too little.",
}


def sentences(verdict: Verdict) -> tuple[str, ...]:
    """All of it: what follows, why, what else was judged, and what it cannot see."""
    guards = tuple(one.sentence for one in verdict.guards if one.sentence not in verdict.reasons)
    return (HEADLINES[verdict.outcome], *verdict.reasons, *guards, verdict.blind_spot)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Plain values, for a JSON column; `from_json` makes the same verdict of it."""
    found = asdict(verdict)
    return found | {
        "outcome": verdict.outcome.value,
        "reasons": list(verdict.reasons),
        "guards": [asdict(guard) for guard in verdict.guards],
        "losers": [list(loser) for loser in verdict.losers],
    }


def from_json(found: Mapping[str, Any]) -> Verdict:
    """The verdict that `to_json` wrote."""
    return Verdict(
        **{
            **found,
            "outcome": Outcome(found["outcome"]),
            "reasons": tuple(found["reasons"]),
            "guards": tuple(Guard(**guard) for guard in found["guards"]),
            "losers": tuple((str(patient), float(difference)) for patient, difference in found["losers"]),
        }
    )


def signed(difference: float) -> str:
    """A difference in Dice, with its sign; what is not 0 is not printed as 0."""
    if abs(difference) < EQUAL:
        return "0"
    return f"{difference:+.4f}" if abs(difference) >= 0.0001 else f"{difference:+.1g}"


def percent(part: float) -> str:
    return f"{100 * part:.6g} %"


def probability(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.1g}"


def patients(number: int) -> str:
    return f"{number} patient" if number == 1 else f"{number} patients"
