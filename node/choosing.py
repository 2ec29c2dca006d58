"""The choose job: what the networks read of a study that has settled, by which route, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from db import arrivals, by_hand, input_sets, jobs, refusals, route_decisions, studies, upstreams
from db.input_sets import Choice
from db.job_states import Claim, JobState

from . import fetching, labelling, notices, rejections
from .app import Node
from .attempt import Stages
from .operations import by_hand as asked
from .operations import routes
from .operations.decide import decide
from .study import candidates, series


def choose(node: Node, job: Claim, stages: Stages) -> None:
    """Decide which networks read what of a study."""
    assert job.study_id is not None
    with node.database.read() as tx:
        rows = arrivals.images(tx, job.study_id)
        every = (*node.routes, *asked.routes_of(by_hand.asked_networks(tx, job.study_id)))
    with stages("headers"):
        also = routes.keywords(node.routes)
        study = candidates.gather(rows, node.archive, node.decoders, also)
    with stages("choose"):
        judged = routes.judge(every, study.series, datetime.now().astimezone().time())
        decision = decide(judged, node.networks, study)
    with node.database.write() as tx:
        for one in study.identities:
            arrivals.note_identity(tx, one.instance_id, one.sha256, one.image_identity)
        for each in study.series:
            studies.note_facts(tx, study.series_ids[each.series_uid], each.facts(also))
        for each, verdicts in judged:
            route_decisions.record(tx, study.series_ids[each.series_uid], [one.record() for one in verdicts])
        chosen = _record(tx, node, job.study_id, decision.choices)
        _set_aside(tx, node, job.study_id, chosen)
        chosen += notices.ask(tx, node, job.study_id, decision.unread)
        input_sets.forget_dispatches(tx, job.study_id, chosen)
        for refusal in decision.refused:
            refusals.record(tx, "study", job.subject, refusal.code, refusal.sentence, job.study_id)
        labelling.ask_again(tx, node, job.study_id)
        if decision.choices:
            jobs.finish(tx, job, JobState.DONE, stages.report())
        else:
            sentence = "; ".join(refusal.sentence for refusal in decision.refused)
            jobs.finish(tx, job, JobState.REFUSED, stages.report(decision.refused[0].code, sentence))


def _record(tx: Any, node: Node, study_id: int, choices: Sequence[Choice]) -> list[int]:
    """Write the choices, and ask for what is new; the ids of the input sets."""
    made: dict[tuple[str, str], int] = {}
    least = fetching.priority(tx, node, study_id)
    for choice in choices:
        input_set_id, new = input_sets.record(tx, study_id, choice)
        made[choice.network, choice.slot] = input_set_id
        links = {one.channel: made[one.network, one.slot] for one in choice.reads}
        if upstreams.note(tx, input_set_id, links) or new:
            input_sets.ask(tx, input_set_id, study_id, node.work.attempts, max(choice.priority, least))
        else:
            upstreams.hurry(tx, input_set_id, max(choice.priority, least))  # it may wait for this very decision
    return list(made.values())


def _set_aside(tx: Any, node: Node, study_id: int, chosen: Sequence[int]) -> None:
    """What was made of images that nothing reads as they are now counts no more, nor does what was made from that."""
    gone: set[int] = set()
    before = [one for one in input_sets.of_study(tx, study_id) if one["id"] not in chosen]
    for one in before:
        if changed(one, input_sets.members(tx, one["id"])):
            gone.add(one["id"])
    while (
        more := {one["id"] for one in before if any(row["upstream_id"] in gone for row in upstreams.of(tx, one["id"]))}
        - gone
    ):
        gone |= more
    for input_set_id in sorted(gone):
        rejections.set_aside(tx, node, input_set_id, study_id)


def changed(input_set: Any, members: Any) -> bool:
    """Whether the images of an input set are others than those that were chosen."""
    found = [(row["channel"], row["sop_uid"], row["image_identity"], row["frames"]) for row in members]
    return series.members_hash(found) != input_set["members_hash"]
