"""A candidate and the live network on the same locked patients, and what the gate says of it.

Both run as they run on studies: in their model hosts, with the card's rules behind them. What a case gave is kept until
the end, so that a worker that dies, or that makes way for a study, does not begin anew. The verdict, the state of the
candidate and the record of this look are one transaction: a look that nobody has seen the result of is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import jobs, networks, training_runs
from db.job_states import Claim, JobState
from db.networks import VersionState
from models.card import Bundle, Card
from models.client import Answer
from models.scores import case as scoring
from models.scores.curves import ranked
from models.scores.values import CaseScores
from models.wire import SharedArray

from . import case_files
from .app import Node
from .attempt import Stages
from .failpoints import reach
from .learning import cases, data_set, trial
from .learning.cases import Case
from .learning.gate import looks, pairs, words
from .learning.gate.judge import judge
from .learning.gate.values import Protocol, Verdict
from .learning.regrid import onto
from .learning.trial import Compared, Trial
from .prediction import predict
from .training import make_way

WHO = "planimeter"
#: below this the time of a run is mostly what else the machine did
QUICK_SECONDS, QUICK_RUNS = 5.0, 3


def evaluate(node: Node, job: Claim, stages: Stages) -> None:
    """Judge the candidate of a training run."""
    with node.database.read() as tx:
        run = training_runs.find(tx, int(job.subject))
        earlier = training_runs.looks(tx, run["network"])
    if run["state"] != "trained":
        with node.database.write() as tx:
            jobs.finish(tx, job, JobState.CANCELLED, stages.report("no-candidate", f"the run is {run['state']}"))
        return
    candidate = node.networks.pinned(run["candidate_id"])
    case_files.make_again(node, candidate, run["test_set_id"], stages)
    with node.database.read() as tx:
        paths, gone = data_set.paths_for_evaluation(tx, node.archive.home, run["test_set_id"])
    locked = [cases.read(path) for path in paths]
    compared = _compared(node, run, candidate, locked, stages)
    with stages("gate"):
        protocol = _protocol(run["protocol"])
        champion, challenger = (_scores(one) for one in (compared.champion, compared.candidate))
        verdict = judge(
            protocol,
            pairs.pairs(champion, challenger, protocol),
            look=looks.look(earlier, frozenset(case.patient for case in locked)),
            faults=[*_faults(challenger, candidate.card), *gone],
        )
    from . import evaluation_report  # brings what draws and writes documents, which other steps do without

    with stages("report"):
        report = evaluation_report.write(node, run, compared, protocol, verdict)
    reach("before-verdict-commit")
    _commit(node, job, run, verdict, report, stages)


def _compared(node: Node, run: Any, candidate: Bundle, locked: Sequence[Case], stages: Stages) -> Compared:
    champion = node.networks.pinned(run["parent_id"]) if run["parent_id"] is not None else None
    folder = node.archive.home / run["folder"] / "evaluation"
    bundles = [candidate] if champion is None else [champion, candidate]
    found: list[list[Trial]] = []
    for case in locked:
        found.append(_by_networks(node, bundles, case, folder, stages))
        reach("case-evaluated")
    by_threshold = [_by_threshold(case, candidate.card) for case in locked] if candidate.card.gate.baseline else []
    return Compared(
        bundle=candidate,
        cases=tuple(locked),
        baseline=tuple(by_threshold),
        champion=tuple(trials[0] for trials in found) if champion is not None else (),
        candidate=tuple(trials[-1] for trials in found),
    )


def _scores(trials: Sequence[Trial]) -> list[CaseScores]:
    return [one.scores for one in trials]


def _protocol(said: dict[str, Any]) -> Protocol:
    """As it was declared; JSON's keys are text, and its lists are no tuples."""
    numbered = {name: {int(key): value for key, value in said[name].items()} for name in ("class_margins", "absolute")}
    return Protocol(**said | numbered | {"primary_classes": tuple(said["primary_classes"])})


def _commit(node: Node, job: Claim, run: Any, verdict: Verdict, report: str, stages: Stages) -> None:
    with node.database.write() as tx:
        training_runs.evaluate(
            tx,
            run["id"],
            champion_id=run["parent_id"],
            look=verdict.look,
            outcome=verdict.outcome.value,
            verdict=words.to_json(verdict),
            report=report,
        )
        row = networks.find(tx, run["candidate_id"])
        if row["state"] == VersionState.ELIGIBLE and node.learning.shadow_studies and run["parent_id"] is not None:
            why = f"runs beside the live version on {node.learning.shadow_studies} studies, unseen"
            networks.change_state(tx, row["id"], VersionState.SHADOW, WHO, why)
        jobs.finish(tx, job, JobState.DONE, stages.report())


def _faults(candidate: Sequence[CaseScores], card: Card) -> list[str]:
    """What no score may outweigh: a class that is found nowhere."""
    faults = []
    for segment in card.segment:
        of_class = [one for case in candidate for one in case.classes if one.value == segment.value]
        if any(one.truth_ml for one in of_class) and not any(one.predicted_ml for one in of_class):
            faults.append(f"the candidate finds {segment.label} in none of the locked patients")
    return faults


# ------------------------------------------------------------------ scores


def _by_networks(node: Node, bundles: Sequence[Bundle], case: Case, folder: Path, stages: Stages) -> list[Trial]:
    """What each network makes of a case, as it was kept before, or now.

    Where that is quick they run again, in turns, and the fastest run of each counts: what else the machine does at that
    moment says nothing of a network.
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
    quick = max(one.scores.seconds for one in made) < QUICK_SECONDS
    for _ in range(QUICK_RUNS - 1 if quick else 0):
        for n, bundle in enumerate(bundles):
            made[n] = made[n].as_fast_as(_seconds(_asked(node, bundle, case, stages)))
    for one, place in zip(made, places, strict=True):
        one.keep(place)
    return made


def _asked(node: Node, bundle: Bundle, case: Case, stages: Stages, *, probabilities: bool = False) -> Answer:
    make_way(node)
    arrays = [_shared(channel) for channel in case.channels]
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
    if answer.probabilities is not None:
        found = {
            value: onto(answer.probabilities[value], answer.probabilities_affine, case.label.shape, case.affine)
            for value in case.annotated
            if value < len(answer.probabilities)
        }
    return Trial(
        scores=_scored(case, answer.labels, card, _seconds(answer), found),
        labels=answer.labels,
        ranked={value: ranked(case.label == value, probability) for value, probability in found.items()},
    )


def _by_threshold(case: Case, card: Card) -> Trial:
    """What the card's classical method makes of a case: the voxels of the first channel above a value."""
    labels = np.zeros(case.label.shape, np.uint8)
    for one in card.gate.baseline:
        labels[case.channels[0] > one.above] = one.value
    wanted = {one.value for one in card.gate.baseline}
    scored = _scored(case, labels, card, 0.0, {})
    kept = tuple(one for one in scored.classes if one.value in wanted)
    return Trial(scores=dataclasses.replace(scored, classes=kept), labels=labels)


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
    )
    return CaseScores(case=case.name, patient=case.patient, classes=classes, seconds=seconds, groups=case.groups)


def _shared(channel: NDArray[np.float32]) -> SharedArray:
    made = SharedArray.make(channel.shape, np.float32)
    made.array[...] = channel
    return made
