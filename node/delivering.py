"""Send what waits of one input set to one destination: the `deliver` step. Every object comes to an answer of its own.

A destination that refuses the form of a result gets another form of it, once and for all: a binary segmentation for a
label map, a Comprehensive SR for a Comprehensive 3D SR. The SOP class is what counts: refused when the association is
negotiated, or by a status that says so (of HTTP: 415).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from db import away, deliveries, input_sets, jobs, results, studies
from db.job_states import Claim, JobState

from . import commitment, rejections
from .app import Node
from .attempt import Stages
from .audit.codes import What
from .errors import Failed, Refused, Unavailable
from .failpoints import reach
from .objects import forms, rejection
from .objects.forms import Form
from .objects.rejection import Title
from .outbound import scu, stow
from .outbound.scu import Parcel, Receipt, Unheard
from .outbound.statuses import Answer
from .outbound.target import Target

#: how often a job looks whether a person has released its study
HELD_SECONDS = 30.0
#: by C-STORE; by STOW-RS some servers say it in the range of "cannot understand"
SOP_CLASS_NOT_SUPPORTED = (0x0122, 0xC122)
STATES = {
    Answer.DELIVERED: "delivered",
    Answer.LATER: "waiting",
    Answer.RETRY: "waiting",
    Answer.DEAD: "dead",
}


def deliver(node: Node, job: Claim, stages: Stages) -> None:
    """Send it."""
    assert job.input_set_id is not None
    destination = job.subject.rsplit("/", 1)[0]
    target = node.targets.get(destination)
    if target is None:
        sentence = f"{destination} is no peer with a `destination` in the configuration any more"
        raise Refused("unknown-destination", sentence)
    rejections.prepare(node, job, target)
    with node.database.write() as tx:
        study = studies.find(tx, input_sets.find(tx, job.input_set_id)["study_uid"])
        if input_sets.superseded(tx, job.input_set_id):
            deliveries.outdate(tx, job.input_set_id, destination)
        rows = _may_go(deliveries.waiting(tx, job.input_set_id, destination), study)
        wait, why = away.wait_seconds(tx, destination)
    if rows and wait > 0:
        raise Unavailable("unreachable", why, wait)
    if rows and why:
        with node.database.write() as tx:
            away.try_alone(tx, destination, node.send.timeout_seconds)
    reach("before-send")
    receipts: list[Receipt] = []
    if rows:
        try:
            receipts = _send(node, job, stages, target, rows)
        except Unavailable as error:
            with node.database.write() as tx:
                away.unreachable(tx, destination, error.sentence, node.send.unreachable_retry_seconds)
                deliveries.note(tx, job.input_set_id, destination, error.sentence)
            raise Unavailable(error.code, error.sentence, node.send.unreachable_retry_seconds) from error
    with node.database.write() as tx:
        _note_contact(node, tx, destination, receipts)
        rejections.taken_late(tx, node, job.input_set_id, destination)
        left, dead = deliveries.outcome(tx, job.input_set_id, destination)
        study = studies.find(tx, input_sets.find(tx, job.input_set_id)["study_uid"])
    if left:
        not_held(study)
        raise _why_left(node, left[0], rows, receipts)
    with node.database.write() as tx:
        commitment.ask_for(tx, node, job.input_set_id, job.study_id, destination)
        if dead:
            jobs.finish(tx, job, JobState.DEAD, stages.report("not-deliverable", dead[0]))
        else:
            jobs.finish(tx, job, JobState.DONE, stages.report())
    reach("after-delivery-commit")


def _why_left(node: Node, sentence: str, rows: Sequence[Any], receipts: Sequence[Receipt]) -> Unavailable | Failed:
    """Why objects were not taken: an attempt is used up where it may be the object's fault."""
    no_room = _without_room(receipts)
    # who has no room may well end the association over it
    answers = {one.answer for one in receipts if not (no_room and one.silent)}
    if Answer.LATER not in answers or Answer.RETRY in answers:
        return Failed("not-delivered", sentence)
    tried = 1 + max(row["attempts"] for row in rows)
    code = away.NO_ROOM if no_room else "unreachable"
    return Unavailable(code, sentence, node.send.backoff.seconds(tried, node.random))


def _without_room(receipts: Sequence[Receipt]) -> list[Receipt]:
    """Those by which the destination says that it has no room."""
    return [one for one in receipts if one.answer is Answer.LATER and not one.silent]


def _note_contact(node: Node, tx: Any, destination: str, receipts: Sequence[Receipt]) -> None:
    """Whether the destination is there and takes objects; nothing is known where nothing was sent. Where it takes none,
    not every study tries it."""
    if not receipts:
        return
    full = _without_room(receipts)
    took_any = any(one.answer is Answer.DELIVERED for one in receipts)
    if all(one.silent for one in receipts) or (full and not took_any):
        why = (full or receipts)[0].sentence
        away.unreachable(tx, destination, why, node.send.unreachable_retry_seconds)
    else:
        away.reachable(tx, destination)


def _send(node: Node, job: Claim, stages: Stages, target: Target, rows: Sequence[Any]) -> list[Receipt]:
    """Send what waits, and what is released or asked for meanwhile: that is not what the association was made for.

    Returns:
        What was answered.
    """
    assert job.input_set_id is not None
    receipts: list[Receipt] = []
    tried: set[int] = set()
    while rows:
        tried |= {row["id"] for row in rows}
        receipts += _send_these(node, job, stages, target, rows)
        with node.database.read() as tx:
            study = studies.find(tx, input_sets.find(tx, job.input_set_id)["study_uid"])
            waiting = deliveries.waiting(tx, job.input_set_id, target.name)
        rows = [row for row in _may_go(waiting, study) if row["id"] not in tried]
    return receipts


def _send_these(node: Node, job: Claim, stages: Stages, target: Target, rows: Sequence[Any]) -> list[Receipt]:
    """Send these on an association of their own; the audit trail is told before and after. What was answered."""
    assert job.input_set_id is not None
    sent: Counter[str] = Counter()
    told = {"destination": target.name, "ae": target.ae_title, "address": target.machine}
    with stages("send"), _connected(node, target, [_parcel(node, row) for row in rows]) as sender:
        with node.database.read() as tx:
            study_uid = input_sets.find(tx, job.input_set_id)["study_uid"]
        node.trail.note(What.SENDING, study_uid, **told, classes=dict(Counter(row["sop_class"] for row in rows)))
        try:
            return _send_all(node, job.input_set_id, target.name, sender, sent, {row["id"] for row in rows})
        finally:
            failed = sent.pop("", 0)
            node.trail.note(What.TRANSFER_OUT, study_uid, **told, classes=dict(sent), failed=failed)


def _may_go(rows: Sequence[Any], study: Any) -> list[Any]:
    """While a person has to decide about a study, destinations are still told what was taken back."""
    held = study is not None and study["state"] == "held"
    return [row for row in rows if not held or _takes_back(row)]


def _takes_back(row: Any) -> bool:
    return (row["kind"], row["options"]) == (rejection.KIND, Title.WITHDRAWN.code)


def not_held(study: Any) -> None:
    """Raises:
    Unavailable: a person has to decide about the study first.
    """
    if study is not None and study["state"] == "held":
        raise Unavailable("study-held", f"the study is held: {study['held_because']}", HELD_SECONDS)


def _parcel(node: Node, row: Any) -> Parcel:
    return Parcel(node.archive.at(row["path"]), row["sop_class"], Form(row["kind"], row["options"]).transfer_syntax)


@contextlib.contextmanager
def _connected(node: Node, target: Target, parcels: list[Parcel]) -> Iterator[Any]:
    """A sender to the destination, by C-STORE or STOW-RS, that can send what waits and what may take its place."""
    if target.web is not None:
        with stow.connect(target, node.ae_title, parcels, node.send.timeout_seconds) as sender:
            yield sender
        return
    classes = [parcel.sop_class for parcel in parcels]
    others = [Parcel(parcels[0].file, sop_class) for sop_class in forms.classes_in_place_of(classes)]
    with scu.connect(target, node.ae_title, [*parcels, *others], node.send.timeout_seconds) as sender:
        yield sender


def _send_all(
    node: Node, input_set_id: int, destination: str, sender: Any, sent: Counter[str], these: set[int]
) -> list[Receipt]:
    """Send what waits, each row once; a row whose form is refused comes once more in the form that takes its place.

    Args:
        sent: SOP class -> how many were taken; "" for those that were not.
        these: the rows.

    Returns:
        What was answered.
    """
    tried: set[tuple[int, int]] = set()
    receipts: list[Receipt] = []
    while True:
        with node.database.read() as tx:
            waiting = [one for one in deliveries.waiting(tx, input_set_id, destination) if one["id"] in these]
        row = next((row for row in waiting if (row["id"], row["result_id"]) not in tried), None)
        if row is None:
            return receipts
        tried.add((row["id"], row["result_id"]))
        with node.database.write() as tx:
            if not deliveries.begin(tx, row["id"], held_too=_takes_back(row)):
                continue
        receipt = _sent(node, sender, row)
        receipts.append(receipt)
        sent[row["sop_class"] if receipt.answer is Answer.DELIVERED else ""] += 1
        reach("sent-before-row")
        with node.database.write() as tx:
            if _class_refused(receipt) and _fell_back(tx, row, waiting, receipt):
                continue
            said = STATES[receipt.answer], receipt.status, receipt.sentence or None
            deliveries.settle(tx, row["id"], *said, perhaps=receipt.perhaps)


def _sent(node: Node, sender: Any, row: Any) -> Receipt:
    """Send an object; unless the destination says that it has not stored it, it may have."""
    try:
        receipt: Receipt = sender.send(_parcel(node, row))
    except Unheard:
        raise
    except Unavailable:
        with node.database.write() as tx:
            deliveries.not_taken(tx, row["id"])
        raise
    return receipt


def _class_refused(receipt: Receipt) -> bool:
    return receipt.class_refused or (receipt.answer is Answer.DEAD and receipt.status in SOP_CLASS_NOT_SUPPORTED)


def _fell_back(tx: Any, refused: Any, waiting: Any, receipt: Receipt) -> bool:
    """Give every delivery that the refusal concerns the form that takes its place; False where there is none for it."""
    fell = False
    for row in waiting:
        other = forms.in_place_of(Form(row["kind"], row["options"]), Form(refused["kind"], refused["options"]))
        if other is None:
            continue
        instead = results.of_run(tx, row["result_id"], *other)
        if instead is not None:
            deliveries.fall_back(tx, row["id"], instead, f"as {other.options}: {receipt.sentence}")
            fell = fell or row["id"] == refused["id"]
    return fell
