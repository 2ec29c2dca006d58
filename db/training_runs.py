"""Training runs, and the evaluations that end them: one open run per network, every look at locked patients kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import events, networks
from .database import Clock, insert
from .job_states import JobKind
from .networks import VersionState, WrongState
from .tables import data_set_member, evaluation, patient, training_run


class RunState(StrEnum):
    """Where a training run stands."""

    WAITING = "waiting"
    """for its time, or to go on where it made way for a clinical job"""
    TRAINING = "training"
    TRAINED = "trained"
    """its candidate is there and waits to be evaluated"""
    EVALUATED = "evaluated"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.WAITING: frozenset({RunState.TRAINING, RunState.FAILED, RunState.CANCELLED}),
    RunState.TRAINING: frozenset({RunState.WAITING, RunState.TRAINED, RunState.FAILED, RunState.CANCELLED}),
    RunState.TRAINED: frozenset({RunState.EVALUATED, RunState.FAILED, RunState.CANCELLED}),
    RunState.EVALUATED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}
OPEN = (RunState.WAITING, RunState.TRAINING, RunState.TRAINED)
#: a run changes between these whenever it makes way and goes on; the record has what it came to
UNRECORDED = (RunState.WAITING, RunState.TRAINING)

#: what the gate's answer makes of a candidate; an inconclusive one leaves it what it is
DECIDED = {"pass": VersionState.ELIGIBLE, "fail": VersionState.REJECTED}


def open_run(
    tx: Connection,
    *,
    network: str,
    parent_id: int | None,
    data_set_id: int,
    test_set_id: int,
    protocol: Mapping[str, Any],
    protocol_sha256: str,
    seed: int,
    folder: str,
    who: str,
    facts: Mapping[str, Any] | None = None,
) -> int | None:
    """The id of a new run, which waits; None where the network has an open one.

    Args:
        folder: below the home folder; `note` may give it later, when it bears the id.
        protocol: what will count, declared now; it never changes afterwards.
    """
    values: dict[str, Any] = dict(
        network=network,
        parent_id=parent_id,
        data_set_id=data_set_id,
        test_set_id=test_set_id,
        protocol_sha256=protocol_sha256,
        seed=seed,
    )
    rest = dict(protocol=dict(protocol), folder=folder, who=who, facts=dict(facts or {}))
    made = insert(tx, training_run).values(**values, **rest, state=RunState.WAITING.value, created=Clock())
    run_id = tx.execute(made.on_conflict_do_nothing().returning(training_run.c.id)).scalar()
    if run_id is None:
        return None
    events.append(tx, who, "training", network, {"training_run": run_id, **values})
    return int(run_id)


def find(tx: Connection, run_id: int) -> RowMapping:
    """A run by its id."""
    return tx.execute(sa.select(training_run).where(training_run.c.id == run_id)).mappings().one()


def open_of(tx: Connection, network: str) -> RowMapping | None:
    """The open run of a network, or None."""
    mine = sa.and_(training_run.c.network == network, training_run.c.state.in_([one.value for one in OPEN]))
    return tx.execute(sa.select(training_run).where(mine)).mappings().one_or_none()


def listing(tx: Connection, network: str | None = None) -> Sequence[RowMapping]:
    """The runs (of a network), newest first."""
    query = sa.select(training_run).order_by(training_run.c.id.desc())
    if network is not None:
        query = query.where(training_run.c.network == network)
    return tx.execute(query).mappings().all()


def of_candidate(tx: Connection, model_version_id: int) -> RowMapping | None:
    """The run that made a version, or None."""
    query = sa.select(training_run).where(training_run.c.candidate_id == model_version_id)
    return tx.execute(query.order_by(training_run.c.id.desc()).limit(1)).mappings().one_or_none()


def note(tx: Connection, run_id: int, facts: Mapping[str, Any], folder: str | None = None) -> None:
    """Add to what is known of a run; what has the same key is replaced."""
    before = find(tx, run_id)
    values = {"facts": {**before["facts"], **facts}, "folder": before["folder"] if folder is None else folder}
    tx.execute(sa.update(training_run).where(training_run.c.id == run_id).values(**values))


def change(
    tx: Connection,
    run_id: int,
    state: RunState,
    *,
    who: str = "planimeter",
    reason: str | None = None,
    candidate_id: int | None = None,
) -> None:
    """Bring a run to another state; what it came to is recorded.

    Args:
        candidate_id: of the version that it made, when it is trained.

    Raises:
        WrongState: it cannot go there from where it is: another process was first.
    """
    values: dict[str, Any] = {"state": state.value, "reason": reason}
    if state not in OPEN:
        values["ended"] = Clock()
    if candidate_id is not None:
        values["candidate_id"] = candidate_id
    allowed = [before.value for before, after in TRANSITIONS.items() if state in after]
    mine = sa.and_(training_run.c.id == run_id, training_run.c.state.in_(allowed))
    if not tx.execute(sa.update(training_run).where(mine).values(**values)).rowcount:
        raise WrongState(f"training run {run_id} is {find(tx, run_id)['state']}, which {state} does not follow")
    if state not in UNRECORDED:
        row = find(tx, run_id)
        details = {"training_run": run_id, "candidate": row["candidate_id"], "reason": reason}
        events.append(tx, who, f"run {state}", row["network"], details)


def give_up(tx: Connection, kind: JobKind, subject: str, reason: str) -> None:
    """A job of a run was refused or is dead: the run has failed, and its network may be trained anew.

    Args:
        kind, subject: of the job.
    """
    run = open_of(tx, subject) if kind is JobKind.TRAIN else find(tx, int(subject))
    if run is not None and run["state"] in OPEN:
        change(tx, run["id"], RunState.FAILED, reason=reason)


def evaluate(
    tx: Connection,
    run_id: int,
    *,
    champion_id: int | None,
    look: int,
    outcome: str,
    verdict: Mapping[str, Any],
    report: str,
    who: str = "planimeter",
) -> int:
    """Keep what the gate said of the run's candidate, and all that follows from it: the id of the evaluation.

    Args:
        champion_id: what it was compared with; None where the network has none yet.
        verdict: as plain values of JSON, with `reasons` and `automatic` as in the gate's.
        report: where it lies, below the home folder.

    Raises:
        WrongState: the run has no candidate that waits to be evaluated.
    """
    run = find(tx, run_id)
    change(tx, run_id, RunState.EVALUATED, who=who, reason=outcome)
    values = dict(
        training_run_id=run_id,
        test_set_id=run["test_set_id"],
        champion_id=champion_id,
        candidate_id=run["candidate_id"],
        look=look,
        outcome=outcome,
    )
    made = sa.insert(evaluation).values(**values, verdict=dict(verdict), report=report, at=Clock())
    evaluation_id = int(tx.execute(made.returning(evaluation.c.id)).scalar_one())
    hashed = {"evaluation": evaluation_id, "verdict_sha256": sha256(verdict)}
    events.append(tx, who, "evaluated", run["network"], {**hashed, **values})
    if outcome in DECIDED:
        networks.change_state(tx, run["candidate_id"], DECIDED[outcome], who, "; ".join(verdict.get("reasons", ())))
    return evaluation_id


def sha256(verdict: Mapping[str, Any]) -> str:
    """Of a verdict as the record has it."""
    return hashlib.sha256(json.dumps(verdict, sort_keys=True).encode("ascii")).hexdigest()


def evaluations(tx: Connection, network: str | None = None) -> Sequence[RowMapping]:
    """The evaluations (of a network), oldest first, with the network."""
    query = sa.select(evaluation, training_run.c.network).join(
        training_run, training_run.c.id == evaluation.c.training_run_id
    )
    if network is not None:
        query = query.where(training_run.c.network == network)
    return tx.execute(query.order_by(evaluation.c.id)).mappings().all()


def evaluation_of(tx: Connection, model_version_id: int) -> RowMapping | None:
    """What the gate last said of a version; None where it was not evaluated."""
    query = sa.select(evaluation).where(evaluation.c.candidate_id == model_version_id)
    return tx.execute(query.order_by(evaluation.c.id.desc()).limit(1)).mappings().one_or_none()


def looks(tx: Connection, network: str) -> list[tuple[int, frozenset[str]]]:
    """Every earlier look at locked patients of a network: its number, and the pseudonyms of who was looked at.

    A patient that was found to be another one since counts as that one.
    """
    persons = patient.alias("persons")
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id)  # aliases point at the person directly
    query = (
        sa.select(persons.c.pseudonym)
        .select_from(data_set_member.join(patient, patient.c.id == data_set_member.c.patient_id))
        .join(persons, persons.c.id == person)
        .where(data_set_member.c.role == "test")
    )
    return [
        (
            int(row["look"]),
            frozenset(tx.execute(query.where(data_set_member.c.data_set_id == row["test_set_id"])).scalars()),
        )
        for row in evaluations(tx, network)
    ]
