"""A candidate and the live network on the same locked patients, and what the gate says of it.

The verdict, the state of the candidate and the record of this look are one transaction: a look that nobody has seen
the result of is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import jobs, networks, training_runs
from db.job_states import Claim, JobState
from db.networks import VersionState
from models.card import Bundle, Card
from models.scores.values import CaseScores

from . import case_files, trying
from .app import Node
from .attempt import Stages
from .failpoints import reach
from .learning import cases, data_set
from .learning.cases import Case
from .learning.gate import looks, pairs, words
from .learning.gate.judge import judge
from .learning.gate.values import Protocol, Verdict
from .learning.trial import Compared, Trial

WHO = "planimeter"


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
    golden = trying.golden_faults(node, candidate, stages)
    with stages("gate"):
        protocol = Protocol.of(run["protocol"])
        champion, challenger = (_scores(one) for one in (compared.champion, compared.candidate))
        verdict = judge(
            protocol,
            pairs.pairs(champion, challenger, protocol),
            look=looks.look(earlier, frozenset(case.patient for case in locked)),
            faults=[*_faults(challenger, candidate.card), *golden, *gone],
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
        found.append(trying.by_networks(node, bundles, case, folder, stages))
        reach("case-evaluated")
    by_threshold = (
        [trying.by_threshold(case, candidate.card) for case in locked] if candidate.card.gate.baseline else []
    )
    return Compared(
        bundle=candidate,
        cases=tuple(locked),
        baseline=tuple(by_threshold),
        champion=tuple(trials[0] for trials in found) if champion is not None else (),
        candidate=tuple(trials[-1] for trials in found),
    )


def _scores(trials: Sequence[Trial]) -> list[CaseScores]:
    return [one.scores for one in trials]


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
