"""What it means that a job is refused or dead, however it came to that: what rests on it says so too."""

from __future__ import annotations

from typing import Any

from db import away, deliveries, lost_jobs, training_runs, upstreams
from db.job_states import Claim, JobKind

from . import commitment, exporting, labelling, notices, rejections
from .app import Node


def gave_up(tx: Any, node: Node, job: Claim, sentence: str) -> None:
    """A job is refused or dead: what only it could have done says so too."""
    if job.kind is JobKind.SEGMENT and job.input_set_id is not None and job.study_id is not None:
        notices.order(tx, node, job.input_set_id, job.study_id)
        labelling.ask_again(tx, node, job.study_id)
        if upstreams.rests_on_sand(tx, job.input_set_id):
            rejections.set_aside(tx, node, job.input_set_id, job.study_id)
        rejections.left_aside(tx, node, job.input_set_id, job.study_id)
        upstreams.changed(tx, job.input_set_id, node.work.attempts)
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
