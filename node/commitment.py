"""Whether a destination keeps for good what it was sent: the `commit` step.

delivered -> N-ACTION -> the report: committed | sent again, once | dead             outbound.commitment, db.commitments
          -> no report before the deadline: asked again, each time with twice as long to answer
          -> asked in vain, or the destination does not do this: C-FIND of every object, whose answer counts instead
          -> that is refused too: the deliveries stay `delivered`, and say why nobody knows more

The job stays open until every object has its answer. A report may come to any receiver of the node, while the job
waits or while it runs: the rows decide, and the report makes the job due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.uid import generate_uid

from db import away, commitments, jobs
from db.job_states import Claim, JobState

from .app import Node
from .attempt import Stages
from .errors import Refused, Unavailable
from .outbound import commitment as service
from .outbound import find
from .outbound.find import Wanted
from .outbound.target import Target

BY_QUERY = "found by C-FIND; the destination did not answer storage commitment"
NOT_FOUND = "not found by C-FIND, and the destination did not answer storage commitment"
POLL_SECONDS = 0.1
#: how long a job waits at least before it looks again; the report makes it due at once
LOOK_SECONDS = 15.0
#: how soon objects that a report did not mention are asked for again
SOON_SECONDS = 1.0


@dataclass(frozen=True)
class Patience:
    """How long answers are waited for.

    Attributes:
        here_seconds: for a report on the association of the request; meanwhile nothing else is sent.
        first_seconds: for the report on the first request, wherever it comes; then twice as long each time.
        tries: requests until the objects are looked for by C-FIND.
    """

    here_seconds: float = 3.0
    first_seconds: float = 300.0
    tries: int = 3


PATIENCE = Patience()


def ask_for(tx: Any, node: Node, input_set_id: int, study_id: int | None, destination: str) -> None:
    """A delivery ended: ask for the `commit` job, where this destination is asked for storage commitment."""
    target = node.targets.get(destination)
    if target is not None and target.commitment:
        commitments.order(tx, destination, input_set_id, study_id, node.send.attempts)


def commit(node: Node, job: Claim, stages: Stages, patience: Patience = PATIENCE) -> None:
    """Have a destination take responsibility for what it was sent of an input set."""
    assert job.input_set_id is not None
    target = _target(node, job.subject.rsplit("/", 1)[0])
    with node.database.write() as tx:
        commitments.expire(tx, job.input_set_id, target.name)
        owed = [row for row in commitments.owed(tx, job.input_set_id, target.name) if not row["asked"]]
        tries = commitments.tries(tx, job.input_set_id, target.name, job.first_claimed)
        wait, why = away.wait_seconds(tx, target.name)
    if owed and wait > 0:
        raise Unavailable("unreachable", why, wait)
    if owed:
        try:
            answers = _settle(node, target, job.input_set_id, owed, tries, patience, stages)
        except Unavailable as error:
            raise _away(node, target, error) from error
        if answers:
            with node.database.write() as tx:
                away.reachable(tx, target.name)
    _end(node, job, target, stages)


def _target(node: Node, destination: str) -> Target:
    target = node.targets.get(destination)
    if target is None:
        sentence = f"{destination} is no peer with a `destination` in the configuration any more"
        raise Refused("unknown-destination", sentence)
    if not target.commitment:
        raise Refused("not-asked", f"{destination} is not asked for storage commitment any more (`commitment = true`)")
    return target


def _settle(
    node: Node, target: Target, input_set_id: int, owed: Sequence[Any], tries: int, patience: Patience, stages: Stages
) -> bool:
    """Ask for commitment; where that is of no use, look for the objects. Whether the destination answered anything."""
    if tries < patience.tries:
        try:
            with stages("commit"):
                return _ask(node, target, input_set_id, owed, tries, patience)
        except Refused as refusal:
            why = refusal.sentence
    else:
        why = f"{target.name} did not answer {tries} requests for storage commitment"
    with stages("find"):
        _look(node, target, input_set_id, owed, why)
    return True


def _ask(node: Node, target: Target, input_set_id: int, owed: Sequence[Any], tries: int, patience: Patience) -> bool:
    """One request, and a short wait for its report, wherever it comes. Whether either was answered."""
    seconds = node.send.timeout_seconds
    with service.connect(target, node.ae_title, node.database, seconds) as requester:
        transaction_uid = generate_uid(prefix=None)
        with node.database.write() as tx:
            commitments.ask(tx, transaction_uid, target.name, input_set_id, patience.first_seconds * 2.0**tries)
        try:
            answered = requester.ask(transaction_uid, [(row["sop_class"], row["sop_uid"]) for row in owed])
        except (Refused, Unavailable):
            with node.database.write() as tx:
                commitments.refuse(tx, transaction_uid)
            raise
        until = time.monotonic() + patience.here_seconds
        pause = threading.Event()
        while time.monotonic() < until and requester.is_there:
            with node.database.read() as tx:
                if commitments.is_answered(tx, transaction_uid):
                    return True
            pause.wait(POLL_SECONDS)
        return answered


def _look(node: Node, target: Target, input_set_id: int, owed: Sequence[Any], why: str) -> None:
    """C-FIND takes the place of a report.

    Raises:
        Refused: `not-committed`: nobody knows; the deliveries say so.
    """
    wanted = [Wanted(row["study_uid"], row["series_uid"], row["sop_uid"]) for row in owed]
    try:
        there = find.found(target, node.ae_title, wanted, node.send.timeout_seconds, node.trail)
    except Refused as refusal:
        sentence = f"{why}; {refusal.sentence}: nobody knows whether it keeps them"
        with node.database.write() as tx:
            commitments.note(tx, owed, sentence)
        raise Refused("not-committed", sentence) from refusal
    failed = {one.sop_uid: NOT_FOUND for one in wanted if one.sop_uid not in there}
    transaction_uid = generate_uid(prefix=None)
    with node.database.write() as tx:
        commitments.ask(tx, transaction_uid, target.name, input_set_id, 0)
        commitments.settle(tx, transaction_uid, (target.name,), there, failed, BY_QUERY)


def _away(node: Node, target: Target, error: Unavailable) -> Unavailable:
    """Nobody tries a destination for a while that could not be reached; other reasons are this job's own."""
    seconds = node.send.unreachable_retry_seconds
    if error.code in ("unreachable", "rejected"):
        with node.database.write() as tx:
            away.unreachable(tx, target.name, error.sentence, seconds)
    return Unavailable(error.code, error.sentence, seconds)


def _end(node: Node, job: Claim, target: Target, stages: Stages) -> None:
    """The job is done when nothing is owed; else it waits for the report, or for the time to ask again."""
    assert job.input_set_id is not None
    with node.database.write() as tx:
        owed = commitments.owed(tx, job.input_set_id, target.name)
        pending = commitments.pending(tx, job.input_set_id, target.name)
        if not owed:
            jobs.finish(tx, job, JobState.DONE, stages.report())
            return
    if pending is None:
        sentence = f"{target.name} has said nothing of {len(owed)} objects in its report; it is asked again"
        raise Unavailable("awaiting-commitment", sentence, SOON_SECONDS)
    waited, left = pending
    sentence = (
        f"{target.name} has not reported yet whether it keeps {len(owed)} objects; it is asked again if it does not"
    )
    raise Unavailable("awaiting-commitment", sentence, min(left, max(LOOK_SECONDS, waited)))
