"""Tell a destination which results it should not use any more: an IHE IOCM rejection note goes before what is new."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from db import deliveries, input_sets, rejections, results
from db.job_states import Claim

from .app import Node
from .errors import Refused
from .objects import keep, rejection
from .objects.forms import Form
from .objects.rejection import Rejected, Title
from .objects.results import written
from .outbound.target import Target


def set_aside(tx: Any, node: Node, input_set_id: int, study_id: int) -> None:
    """What was made of an input set counts no more; destinations that may hold it and want to know are told."""
    results.set_aside(tx, input_set_id)
    _tell_holders(tx, node, input_set_id, study_id)


def left_aside(tx: Any, node: Node, input_set_id: int, study_id: int) -> None:
    """What was set aside to be made again is not made: where nothing stands now, destinations are told all the same."""
    if not any(row["state"] == "ready" for row in results.line(tx, input_set_id)):
        _tell_holders(tx, node, input_set_id, study_id)


def _tell_holders(tx: Any, node: Node, input_set_id: int, study_id: int) -> None:
    for destination in rejections.holders(tx, input_set_id):
        target = node.targets.get(destination)
        if target is not None and target.rejection_notes:
            deliveries.ask(tx, destination, input_set_id, study_id, node.send.attempts)


def taken_late(tx: Any, node: Node, input_set_id: int, destination: str) -> None:
    """Ask for the jobs that tell a destination of what it took, or may have taken, though it was withdrawn, discarded
    or replaced on its way there; where it is to be told.

    What another worker is sending at this moment is told by its job, also where that worker dies at its last attempt.
    """
    target = node.targets.get(destination)
    if target is None:
        return
    asked = rejections.under_way(tx, input_set_id, destination, replaced=target.rejection_notes)
    if rejections.due(tx, input_set_id, destination, replaced=target.rejection_notes):
        asked.append(input_set_id)
    study = input_sets.find(tx, input_set_id)["study_id"]
    for one in sorted(asked):
        deliveries.ask(tx, destination, one, study, node.send.attempts)


def prepare(node: Node, job: Claim, target: Target) -> None:
    """Write and queue the notes that a destination is to get before anything else of this input set."""
    assert job.input_set_id is not None
    with node.database.read() as tx:
        due = rejections.due(tx, job.input_set_id, target.name, replaced=target.rejection_notes)
    for _, rows in groupby(sorted(due, key=_together), key=_together):
        _note(node, job, target, list(rows))


def _together(row: Any) -> tuple[Any, ...]:
    """What may stand in one note. A destination may refuse a note of which it lacks an object (dcm4chee-arc: 0xA772):
    what it certainly has and what it perhaps has are told apart."""
    return row["input_set_id"], row["revision"], row["state"], not row["taken"]


def _note(node: Node, job: Claim, target: Target, rejected: list[Any]) -> None:
    assert job.input_set_id is not None
    title = Title.REPLACED if rejected[0]["state"] == "superseded" else Title.WITHDRAWN
    ds = rejection.note(
        _objects(node, rejected),
        title,
        target.name,
        node_version=node.version,
        node_serial=node.serial,
        uid_root=node.uid_root,
        content_time=job.first_claimed,
    )
    run, revision = rejected[0]["run"], rejected[0]["revision"]
    new = keep.write(node.archive, [written(ds, Form(rejection.KIND, title.code))], job.first_claimed, run, revision)
    (made,) = new.values()
    with node.database.write() as tx:
        fresh = rejections.record(tx, job.input_set_id, target.name, made, rejected)
    if not fresh:
        node.archive.discard(made.path)


def _objects(node: Node, rejected: list[Any]) -> list[Rejected]:
    """What is rejected; where its bytes are not kept any more, with the patient of a report of the same study."""
    kept = next((row["path"] for row in rejected if row["path"] is not None), None)
    if kept is None:
        with node.database.read() as tx:
            kept = rejections.any_file(tx, rejected[0]["input_set_id"])
    if kept is None:
        said = "no object of its study is kept from which a rejection note could be made; reject it there by hand"
        raise Refused("result-purged", said)
    names = ("sop_class", "sop_uid", "series_uid")
    return [
        Rejected(node.archive.at(row["path"]))
        if row["path"] is not None
        else Rejected(node.archive.at(kept), *(row[name] for name in names))
        for row in rejected
    ]
