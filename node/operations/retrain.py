"""When a network is trained again: enough new patients have come and the time is right, or somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from typing import Any

from db import events, job_orders, jobs, people, training_due, training_runs
from db.database import Database
from db.job_states import JobKind
from models.finding_rules import Result

from ..errors import Failed, Refused
from ..learning.trainer import must_be_trainable
from ..networks import Networks

#: behind studies and labels
PRIORITY = 60
WHO = "planimeter"
ASKED = "training asked for"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The site's terms: keys of `[learning]`.

    Attributes:
        new_patients: so many make a training due.
        wait_seconds: from a time of the day until one may begin by itself.
        attempts: of its job.
    """

    new_patients: int
    wait_seconds: Callable[[time], float]
    attempts: int


def ask(database: Database, networks: Networks, network: str, attempts: int, who: str, wait_seconds: float = 0) -> str:
    """Ask for a network to be trained, however few are new; a sentence.

    Args:
        wait_seconds: until it may begin.

    Raises:
        Refused: `training-open`: another one is under way; `not-trainable`: a detector or a classifier;
            `training-impossible`: segments that overlap, or are unions.
        Failed: `network-unusable`.
    """
    _, bundle = networks.known(network)
    if bundle.card.result is not Result.SEGMENTS:
        said = f"{network} gives {bundle.card.result}; only networks that give a label map are trained here"
        raise Refused("not-trainable", said)
    must_be_trainable(bundle.card)
    with database.write() as tx:
        people.lock(tx)
        if busy := training_due.under_way(tx):
            raise Refused("training-open", f"run {busy['id']} trains {busy['network']}, and there is one at a time")
        if not _enqueue(tx, network, attempts, who, wait_seconds):
            raise Refused("training-open", "a training was asked for already, and there is one at a time")
    when = f"in {wait_seconds / 3600:.1f} hours, when the window opens (--now does not wait)" if wait_seconds else "now"
    return f"{network} is trained {when}, as soon as no study needs the device"


def stop(database: Database, network: str, who: str, why: str) -> str:
    """Nobody wants the training of a network that was asked for, runs, or waits to be judged.

    What it has learnt so far is kept in its folder and leads to no version. It counts as a training about the patients
    that it had, so that none begins by itself until others have come.

    Raises:
        Refused: `no-reason`, `no-training`.
    """
    if not why.strip():
        raise Refused("no-reason", "stopping a training needs a reason: --reason TEXT")
    because = f"stopped by {who}: {why.strip()}"
    with database.write() as tx:
        run = training_runs.open_of(tx, network)
        asked = [job_orders.cancel_open(tx, JobKind.TRAIN, network, because)]
        if run is not None:
            training_runs.change(tx, run["id"], training_runs.RunState.CANCELLED, who=who, reason=because)
            asked.append(job_orders.cancel_open(tx, JobKind.EVALUATE, str(run["id"]), because))
        elif not any(asked):
            raise Refused("no-training", f"no training of {network} is under way")
        else:
            events.append(tx, who, "training stopped", network, {"why": why.strip()})
    return f"the training of {network} is stopped; the device is free within a minute"


def ask_where_due(database: Database, networks: Networks, terms: Terms, now: time) -> list[str]:
    """Ask for the network to which the most persons have come since its last training, if they are enough.

    Args:
        now: the time of the day.

    Returns:
        The networks that were asked for; one at most.
    """
    if terms.wait_seconds(now):
        return []
    names = networks.names()
    with database.read() as tx:
        if training_due.under_way(tx) is not None:
            return []
        new = {name: training_due.new_patients(tx, name) for name in names}
    due = sorted((name for name in names if new[name] >= terms.new_patients), key=lambda name: (-new[name], name))
    due = [name for name in due if _can_be_trained(networks, name)]
    if not due:
        return []
    with database.write() as tx:
        people.lock(tx)
        if training_due.under_way(tx) is not None:
            return []
        return due[:1] if _enqueue(tx, due[0], terms.attempts, WHO) else []


def _can_be_trained(networks: Networks, name: str) -> bool:
    try:
        must_be_trainable(networks.known(name)[1].card)
    except Refused:
        return False
    except Failed:
        return True  # an unusable network is for its job to say
    return True


def _enqueue(tx: Any, network: str, attempts: int, who: str, wait_seconds: float = 0) -> bool:
    """False where it has been asked for already."""
    if training_due.asked_for(tx):
        return False
    jobs.enqueue(tx, JobKind.TRAIN, network, max_attempts=attempts, priority=PRIORITY, delay_seconds=wait_seconds)
    events.append(tx, who, ASKED, network, {})
    return True


def asked_by(tx: Any, network: str) -> str:
    """Who asked for the training that is about to begin."""
    for event in events.listing(tx, network):
        if event["what"] == ASKED:
            return str(event["who"])
    return WHO
