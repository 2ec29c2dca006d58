"""A network on a case whose truth is known: in its model host, with the card's rules behind it, as it runs on studies.

Every run makes way for a study that needs the device. What a case gave is kept, so that a worker that dies, or that
makes way, does not begin anew.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db import job_orders
from models import golden, membership
from models.card import Bundle, Card, CardError
from models.client import Answer
from models.golden import Golden
from models.membership import inside
from models.scores import case as scoring
from models.scores.curves import ranked
from models.scores.values import CaseScores
from models.wire import SharedArray

from . import machine
from .app import Node
from .attempt import Stages
from .errors import Unavailable
from .learning import trial
from .learning.cases import Case
from .learning.regrid import onto
from .learning.trial import Trial
from .prediction import predict

#: below this the time of one run is mostly what else the machine did
QUICK_SECONDS = 5.0
#: so often do quick networks run in turns: for a second, but thrice at least
FEWEST_TURNS, MOST_TURNS, TURNS_SECONDS = 3, 25, 1.0


def make_way(node: Node) -> None:
    """Raises:
    Unavailable: a study needs its network now, and what is learnt can wait.
    """
    if why := study_waits(node):
        raise Unavailable("made-way", why, node.learning.quiet_seconds)


def study_waits(node: Node) -> str:
    """Why what is learnt has to leave the device; "" where no study needs it."""
    with node.database.read() as tx:
        wanted = job_orders.network_wanted(tx, machine.name())
    return "a study needs the device; this goes on afterwards" if wanted else ""


def by_networks(node: Node, bundles: Sequence[Bundle], case: Case, folder: Path, stages: Stages) -> list[Trial]:
    """What each network makes of a case, as it was kept before, or now.

    Where that is quick they run again, in turns, and the fastest run of each counts: what else the machine does at that
    moment says nothing of a network.

    Args:
        folder: where trials are kept, in one folder for each network's weights.

    Raises:
        Unavailable, Refused, Failed: as `make_way` and `prediction.predict`.
    """
    places = [folder / bundle.weights_sha256[:16] for bundle in bundles]
    before = [trial.kept(place, case.name) for place in places]
    if all(before):
        return [one for one in before if one is not None]
    made = []
    for bundle in bundles:
        answer = _asked(node, bundle, case, stages, probabilities=True)
        with stages("scores"):
            made.append(_trial(case, bundle.card, answer))
    if len(bundles) > 1 and max(one.scores.seconds for one in made) < QUICK_SECONDS:
        made = _timed_in_turns(node, bundles, case, made, stages)
    for one, place in zip(made, places, strict=True):
        one.keep(place)
    return made


def _timed_in_turns(
    node: Node, bundles: Sequence[Bundle], case: Case, made: Sequence[Trial], stages: Stages
) -> list[Trial]:
    """How often they run depends on the clock alone, never on which one is ahead."""
    fastest, begun = list(made), time.monotonic()
    for turn in range(1, MOST_TURNS):
        if turn >= FEWEST_TURNS and time.monotonic() - begun > TURNS_SECONDS:
            break
        for n, bundle in enumerate(bundles):
            fastest[n] = fastest[n].as_fast_as(_seconds(_asked(node, bundle, case, stages)))
    return fastest


def by_threshold(case: Case, card: Card) -> Trial:
    """What the card's classical method makes of a case: the voxels of the first channel above a value."""
    labels = np.zeros(case.label.shape, np.uint8)
    for one in card.gate.baseline:
        labels[case.channels[0] > one.above] = one.value
    wanted = {one.value for one in card.gate.baseline}
    scored = _scored(case, labels, card, 0.0, {})
    kept = tuple(one for one in scored.classes if one.value in wanted)
    return Trial(scores=dataclasses.replace(scored, classes=kept), labels=labels)


def golden_faults(node: Node, bundle: Bundle, stages: Stages, *, makes_way: bool = True) -> list[str]:
    """The golden cases of a bundle that do not hold, each as a sentence.

    Args:
        makes_way: for studies, as all that is learnt does; not where a study waits for this very answer.

    Raises:
        Unavailable, Refused, Failed: as `by_networks`.
    """
    try:
        found = [
            golden.deviation(bundle, one, _asked(node, bundle, one, stages, makes_way=makes_way).labels)
            for one in golden.cases(bundle)
        ]
    except CardError as error:
        return [str(error)]
    return [sentence for sentence in found if sentence]


def _asked(
    node: Node,
    bundle: Bundle,
    case: Case | Golden,
    stages: Stages,
    *,
    probabilities: bool = False,
    makes_way: bool = True,
) -> Answer:
    if makes_way:
        make_way(node)
    arrays = [SharedArray.of(channel) for channel in case.channels]
    try:
        limit_seconds = node.work.job_seconds
        return predict(node.hosts, bundle, arrays, case.affine, limit_seconds, stages, probabilities=probabilities)
    finally:
        for one in arrays:
            one.close()


def _seconds(answer: Answer) -> float:
    """What the network takes; what is done with what it found takes the longer the more that is."""
    return answer.seconds["preprocess"] + answer.seconds["forward"]


def _trial(case: Case, card: Card, answer: Answer) -> Trial:
    found: dict[int, NDArray[np.float16]] = {}
    parts = membership.parts(card)
    if answer.probabilities is not None:
        found = {
            segment.value: onto(
                _union(answer.probabilities, channels),
                answer.probabilities_affine,
                case.label.shape,
                case.affine,
            )
            for segment in card.segment
            if segment.value in case.annotated
            and max(channels := membership.channels_of(card, segment)) < len(answer.probabilities)
        }
    return Trial(
        scores=_scored(case, answer.labels, card, _seconds(answer), found),
        labels=answer.labels,
        ranked={value: ranked(inside(case.label, parts[value]), probability) for value, probability in found.items()},
    )


def _union(probabilities: NDArray[np.float16], channels: Sequence[int]) -> NDArray[np.float16]:
    """The probability of a segment; half precision may sum to a little more than 1."""
    if len(channels) == 1:
        return probabilities[channels[0]]
    return np.minimum(probabilities[list(channels)].sum(0, dtype=np.float32), 1).astype(np.float16)


def _scored(
    case: Case,
    labels: NDArray[np.uint8],
    card: Card,
    seconds: float,
    probabilities: dict[int, NDArray[np.float16]],
) -> CaseScores:
    classes = scoring.score(
        case.label,
        labels,
        case.affine,
        case.annotated,
        lesions=[segment.value for segment in card.segment if segment.lesions],
        tolerance_mm=card.gate.tolerance_mm,
        probabilities=probabilities,
        parts=membership.parts(card),
    )
    return CaseScores(case=case.name, patient=case.patient, classes=classes, seconds=seconds, groups=case.groups)
