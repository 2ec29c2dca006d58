"""What was not processed is told to the destinations that want to know: the `explain` step.

A refusal is an outcome of its own, kept and shown without this (promise 5). It is sent only to a peer whose destination
says `refusals = true`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from db import deliveries, input_sets, job_orders, jobs, results
from db.input_sets import Choice
from db.job_states import Claim, JobKind, JobState

from . import rejections
from .app import Node
from .attempt import Stages
from .errors import Refused
from .objects import keep, notice
from .objects.headers import fingerprint, repaired
from .objects.identity import Provenance
from .objects.results import written
from .study import facts
from .study.geometry import Geometry


def wanted(node: Node, destinations: Sequence[str]) -> list[str]:
    """Those of the destinations that want to be told of refusals."""
    return [name for name in destinations if name in node.targets and node.targets[name].refusals]


def ask(tx: Any, node: Node, study_id: int, refused: Sequence[Choice]) -> list[int]:
    """Ask for a notice of each choice that was refused, where anybody wants one, and take back those that are outdated.

    Returns:
        The input sets that stand for the refusals.
    """
    made = []
    for choice in refused:
        if wanted(node, [one.destination for one in choice.dispatches if one.mode == "live"]):
            input_set_id, new = input_sets.record(tx, study_id, choice)
            made.append(input_set_id)
            if new:
                order(tx, node, input_set_id, study_id)
    for before in input_sets.of_study(tx, study_id, unread=True):
        if before["id"] not in made:
            rejections.set_aside(tx, node, before["id"], study_id)
    return made


def order(tx: Any, node: Node, input_set_id: int, study_id: int | None) -> None:
    """Ask for the notice of one input set, where a destination of its routes wants one."""
    if wanted(node, input_sets.live_destinations(tx, input_set_id)):
        jobs.enqueue(
            tx,
            JobKind.EXPLAIN,
            str(input_set_id),
            max_attempts=node.work.attempts,
            priority=deliveries.PRIORITY,
            study_id=study_id,
            input_set_id=input_set_id,
        )


def explain(node: Node, job: Claim, stages: Stages) -> None:
    """Write the notice of an input set, and queue it."""
    assert job.input_set_id is not None
    with node.database.read() as tx:
        input_set = input_sets.find(tx, job.input_set_id)
        members = input_sets.members(tx, job.input_set_id)
        sentence = job_orders.refused_because(tx, JobKind.SEGMENT, str(job.input_set_id)) or input_set["because"]
        to = wanted(node, input_sets.live_destinations(tx, job.input_set_id))
    version, bundle = node.networks.live(input_set["network"])
    if not members:
        raise Refused("no-series", "none of its images is held any more")
    with stages("objects"):
        header = facts.read(node.archive.at(members[0]["path"]), whole=True)
        (source,) = repaired([header], Geometry(np.eye(4), (1, 1, 1), in_patient=False, is_calibrated=False))
        provenance = Provenance(
            card=bundle.card,
            weights_sha256=bundle.weights_sha256,
            card_sha256=bundle.card_sha256,
            input_set_hash=input_set["members_hash"],
            headers_sha256=fingerprint([source]),
            mask_sha256=hashlib.sha256(sentence.encode()).hexdigest(),
            study_uid=input_set["study_uid"],
            content_time=job.first_claimed,
            node_version=node.version,
            node_serial=node.serial,
            uid_root=node.uid_root,
        )
        known, _ = keep.known(node.database, provenance, [notice.FORM])
    new = list(known.values())
    if not new:
        made = written(notice.notice(source, sentence, provenance), notice.FORM)
        with stages("write"):
            new = list(keep.write(node.archive, [made], provenance.content_time, provenance.run).values())
    with node.database.write() as tx:
        outdated = input_sets.superseded(tx, job.input_set_id)
        ids = results.record(tx, job.input_set_id, version, new, outdated=outdated)
        if not outdated:
            deliveries.queue(tx, job.input_set_id, input_set["study_id"], ids, to, node.send.attempts)
        jobs.finish(tx, job, JobState.DONE, stages.report())
