"""What speaks against a result, each with how much, from 0 to 1, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.database import Row

#: a volume that differs from the prior one by less than a tenth is no reason
LEAST_CHANGE = 0.1
OF_A_FLAG = 0.4
#: every segment has some entropy at its surface
LEAST_UNSURE = 0.05

Segments = Sequence[Mapping[str, Any]]
Doubt = tuple[float, str]


@dataclass(frozen=True)
class Called:
    """What a label value is called."""

    names: Mapping[int, str]

    def __call__(self, value: int) -> str:
        return self.names.get(value, f"class {value}")


def of(
    segments: Segments,
    flags: Sequence[Mapping[str, Any]],
    agreement: Mapping[str, Any],
    before: Row | None,
    called: Called,
) -> list[Doubt]:
    """Everything that speaks against a result, the strongest first.

    Args:
        segments, flags: as `db.measurements` has them.
        agreement: of a candidate in the shadow with it; empty where there is none.
        before: `study_date` and `segments` of the patient's last study, or None.
    """
    prior = _of_prior(segments, before, called) if before is not None else []
    flagged = [(OF_A_FLAG, str(one["sentence"])) for one in flags]
    return sorted(
        [*_of_candidate(agreement, called), *_of_the_network(segments, called), *flagged, *prior], reverse=True
    )


def together(doubts: Sequence[Doubt]) -> float:
    """All of them as one: as independent doubts add up."""
    return round(1 - math.prod(1 - min(part, 1.0) for part, _ in doubts), 4)


def _of_candidate(agreement: Mapping[str, Any], called: Called) -> list[Doubt]:
    """The class on which a candidate in the shadow agrees least."""
    dices = [(one["dice"], value) for value, one in agreement.items() if one["dice"] is not None]
    if not dices or min(dices)[0] > 0.999:
        return []
    dice, value = min(dices)
    return [(1 - dice, f"a candidate disagrees on {called(int(value))}: Dice {dice:.2f}")]


def _of_the_network(segments: Sequence[Mapping[str, Any]], called: Called) -> list[Doubt]:
    """The segment of which the network was least sure: by its mean entropy, and by how its passes disagree."""
    found = []
    for measure, words in (("entropy", "mean entropy"), ("disagreement", "its passes disagree by")):
        sure = [(one[measure], one["value"]) for one in segments if one.get(measure, 0) >= LEAST_UNSURE]
        if sure:
            worst, value = max(sure)
            found.append((worst, f"unsure of {called(value)}: {words} {worst:.2f}"))
    judged = [abs(one["probability"] - 0.5) for one in segments if one.get("probability") is not None]
    if judged:
        found.append((1 - 2 * min(judged), f"a probability {min(judged):.2f} away from one half"))
    return found


def _of_prior(segments: Segments, before: Row, called: Called) -> list[Doubt]:
    """The segment whose volume changed most since the last study of the patient."""
    then = {one["value"]: one["volume_ml"] for one in before["segments"] if one.get("volume_ml") is not None}
    changes = [
        (abs(now - then[one["value"]]) / max(now, then[one["value"]]), one["value"], then[one["value"]], now)
        for one in segments
        if (now := one.get("volume_ml")) is not None and one["value"] in then and max(now, then[one["value"]]) > 0
    ]
    if not changes or max(changes)[0] < LEAST_CHANGE:
        return []
    part, value, old, new = max(changes)
    return [(part, f"{called(value)} changed since {before['study_date'][:8]}: {old:.0f} to {new:.0f} ml")]
