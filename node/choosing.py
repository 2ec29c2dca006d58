"""The choose job: what the networks read of a study that has settled, by which route, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from db import (
    arrivals,
    by_hand,
    deadlines,
    firing,
    input_sets,
    jobs,
    refusals,
    route_decisions,
    studies,
    trials,
    upstreams,
)
from db.database import Row
from db.input_sets import Choice
from db.job_states import Claim, JobState

from . import awaiting, fetching, labelling, notices, prior_fetching, rejections
from .app import Node
from .attempt import Stages
from .operations import by_hand as asked
from .operations import routes
from .operations.decide import decide
from .operations.routes import Judged
from .study import candidates, series
from .study.candidates import Candidates


def choose(node: Node, job: Claim, stages: Stages) -> None:
    """Decide which networks read what of a study; of one that is still arriving, what of it need not wait."""
    assert job.study_id is not None
    with node.database.read() as tx:
        row = studies.by_id(tx, job.study_id)
        arriving = studies.is_arriving(row, waits=awaiting.anything(node))
        quiet = firing.quiet(tx, job.study_id) if arriving else None
        rows = [one for one in arrivals.images(tx, job.study_id) if quiet is None or one["series_uid"] in quiet]
        tried = trials.of_study(tx, job.subject)
        every = (*node.routes, *asked.routes_of(by_hand.asked_networks(tx, job.study_id)))
    with stages("headers"):
        by = every if tried is None else (routes.of_trial(tried["network"]),)
        also = routes.keywords(by, node.expected.values())
        study = candidates.gather(rows, node.archive, node.decoders, also)
    with stages("choose"):
        at = datetime.now().astimezone().time()
        judged = routes.judge(by, study.series, at)
        if quiet is None and tried is None:
            awaiting.whole(node, row, judged, at)
        decision = decide(judged, node.networks, study, quiet, although_off=tried is not None)
    with node.database.write() as tx:
        _note(tx, node, study, judged, also)
        choices = prior_fetching.unsent(tx, row, decision.choices)
        chosen = _record(tx, node, row, rows if arriving else (), choices)
        if tried is None:
            prior_fetching.ask(tx, node, row, choices)
        if quiet is not None:
            said = f"{len(quiet)} series were quiet; the study is still arriving"
            jobs.finish(tx, job, JobState.DONE, stages.report("fired", said))
            return
        studies.note_chosen(tx, job.study_id, row["generation"])
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


def _note(tx: Any, node: Node, study: Candidates, judged: Sequence[Judged], also: Sequence[str]) -> None:
    """Keep what was found out about the images, and what the routes say of them."""
    for one in study.identities:
        arrivals.note_identity(tx, one.instance_id, one.sha256, one.image_identity)
    for each in study.series:
        studies.note_facts(tx, study.series_ids[each.series_uid], each.facts(also))
    for each, verdicts in judged:
        said = [one.record() for one in verdicts]
        route_decisions.record(tx, study.series_ids[each.series_uid], said, node.config_version)


def _record(tx: Any, node: Node, study: Row, rows: Sequence[Row], choices: Sequence[Choice]) -> list[int]:
    """Write the choices, and ask for what is new; the ids of the input sets.

    Args:
        study: its row.
        rows: of the images whose last one a deadline counts from; none: from the last one of the study.
    """
    made: dict[tuple[str, str], int] = {}
    least = fetching.priority(tx, node, study["id"])
    arrived = {one["sop_uid"]: one["arrived"] for one in rows}
    for choice in choices:
        before = input_sets.went_to(tx, study["id"], choice) if node.quiets else None
        input_set_id, new = input_sets.record(tx, study["id"], choice)
        made[choice.network, choice.slot] = input_set_id
        links = {one.channel: made[one.network, one.slot] for one in choice.reads}
        # what was chosen early may go to more destinations by now: run again, it gives the same objects for these
        elsewhere = before is not None and bool(set(input_sets.live_destinations(tx, input_set_id)) - before)
        if upstreams.note(tx, input_set_id, links) or new or elsewhere:
            input_sets.ask(tx, input_set_id, study["id"], node.work.attempts, max(choice.priority, least))
        else:
            upstreams.hurry(tx, input_set_id, max(choice.priority, least))  # it may wait for this very decision
        last = max(arrived[one.sop_uid] for one in choice.members) if rows else study["last_image"]
        seconds = choice.deadline_seconds
        deadlines.note(tx, input_set_id, last + seconds if seconds is not None else None, new=new)
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
