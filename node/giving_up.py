"""What it means that a job is refused, dead or cancelled, however it came to that: what rests on it says so too."""

from __future__ import annotations

from typing import Any

from db import away, deliveries, job_orders, lost_jobs, training_runs, upstreams
from db.job_orders import CANCELLABLE
from db.job_states import Claim, JobKind

from . import commitment, exporting, labelling, notices, rejections
from .app import Node
from .errors import Refused

INSTEAD = "`planimeter pause` stops receiving, work, sending or learning"


def gave_up(tx: Any, node: Node, job: Claim, sentence: str) -> None:
    """A job is refused or dead: what only it could have done says so too."""
    if job.kind is JobKind.SEGMENT and job.input_set_id is not None and job.study_id is not None:
        notices.order(tx, node, job.input_set_id, job.study_id)
        _nothing_comes(tx, node, job.input_set_id, job.study_id)
    if job.kind is JobKind.LABEL:
        labelling.gave_up(tx, job, sentence)
    if job.kind in (JobKind.TRAIN, JobKind.EVALUATE):
        training_runs.give_up(tx, job.kind, job.subject, sentence)
    if job.kind is JobKind.DELIVER and job.input_set_id is not None:
        destination = job.subject.rsplit("/", 1)[0]
        deliveries.bury(tx, job.input_set_id, destination, sentence)
        if destination not in node.targets:
            away.forget(tx, destination)
        commitment.ask_for(tx, node, job.input_set_id, job.study_id, destination)
    if job.kind is JobKind.EXPORT:
        exporting.gave_up(tx, job, sentence)


def _nothing_comes(tx: Any, node: Node, input_set_id: int, study_id: int) -> None:
    """A network makes nothing of an input set: what was made of it before and stands no more, destinations are told."""
    if upstreams.rests_on_sand(tx, input_set_id):
        rejections.set_aside(tx, node, input_set_id, study_id)
    rejections.left_aside(tx, node, input_set_id, study_id)
    labelling.ask_again(tx, node, study_id)
    upstreams.changed(tx, input_set_id, node.work.attempts)


def cancel(node: Node, job_id: int, who: str) -> str:
    """Nobody wants what a network would find, or finds at this moment; what is said of it.

    Raises:
        Refused: `no-such-job`, `not-cancellable`, `job-ended`.
    """
    with node.database.write() as tx:
        found = job_orders.of(tx, job_id)
        if found is None:
            raise Refused("no-such-job", f"there is no job {job_id}; `planimeter jobs` lists them")
        if found["kind"] not in CANCELLABLE:
            raise Refused("not-cancellable", f"job {job_id} runs no network on a study ({found['kind']}); {INSTEAD}")
        if found["kind"] == JobKind.SEGMENT:  # its own row is the last, as where its worker ends it at this moment
            _nothing_comes(tx, node, found["input_set_id"], found["study_id"])
        if not job_orders.cancel(tx, job_id, f"cancelled by {who}"):
            raise Refused("job-ended", f"job {job_id} has ended; `planimeter withdraw` takes back what it made")
    return f"job {job_id} is cancelled; `planimeter retry {job_id}` opens it again"


def end_lost(node: Node) -> int:
    """End the jobs whose workers died until their attempts were used up, each as if its last attempt had failed.

    Returns:
        How many.
    """
    ended = 0
    with node.database.read() as tx:
        if not lost_jobs.any_there(tx):
            return ended
    node = node.fresh()
    while True:
        with node.database.write() as tx:
            lost = lost_jobs.take(tx)
            if lost is None:
                return ended
            gave_up(tx, node, lost, lost_jobs.WORKER_GONE)
        ended += 1
