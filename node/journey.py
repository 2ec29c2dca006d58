"""The path of a study, from its images to the delivered result. Each step is a job of the kind that bears its name.

arrived   C-STORE  -> file durable, row committed, then Success            receiver, inbound.inbox
settled   schedule -> study quiet: closed, its `choose` job queued         db.studies
choose    worker   -> input sets and their jobs, or a refusal              study.candidates, study.series, routes
segment   worker   -> volume, network, SEG + SR, checked, kept, queued     study.volume, prediction, objects
explain   worker   -> a notice of what was refused, where it is wanted      notices
deliver   worker   -> C-STORE to one destination, a receipt per object     outbound

A step commits what it made together with the end of its job, or raises Refused, Unavailable or Failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from db import arrivals, deliveries, input_sets, job_orders, jobs, refusals, results, studies
from db.job_states import Claim, JobKind, JobState, LostLease
from models.card import Bundle

from . import notices
from .app import Node
from .attempt import Stages
from .errors import Failed, Refused, Unavailable
from .failpoints import reach
from .objects import keep
from .objects.headers import fingerprint
from .objects.identity import Provenance
from .objects.results import make, mask_sha256
from .operations.decide import decide
from .operations.sweep import sweep_home
from .outbound import scu
from .outbound.scu import Parcel, Sender
from .outbound.statuses import Answer
from .prediction import predict
from .study import candidates, channels, frames, series, volume
from .study.channels import Channels

#: how often a job looks whether a person has released its study
HELD_SECONDS = 30.0
CHOOSING_SECONDS = 3.0

# ------------------------------------------------------------------ choose


def choose(node: Node, job: Claim, stages: Stages) -> None:
    """Decide which networks read what of a study."""
    assert job.study_id is not None
    with node.database.read() as tx:
        rows = arrivals.images(tx, job.study_id)
    with stages("headers"):
        study = candidates.gather(rows, node.archive, node.decoders)
    with stages("choose"):
        decision = decide(node.routes, node.networks, study)
    with node.database.write() as tx:
        for one in study.identities:
            arrivals.note_identity(tx, one.instance_id, one.sha256, one.image_identity)
        for each in study.series:
            studies.note_facts(tx, study.series_ids[each.series_uid], each.facts())
        chosen = []
        for choice in decision.choices:
            input_set_id, new = input_sets.record(tx, job.study_id, choice)
            chosen.append(input_set_id)
            if new:
                input_sets.ask(tx, input_set_id, job.study_id, node.work.attempts, choice.priority)
            else:
                job_orders.hurry(tx, JobKind.SEGMENT, str(input_set_id))  # it may wait for this very decision
        for before in input_sets.of_study(tx, job.study_id):
            if before["id"] not in chosen and _changed(before, input_sets.members(tx, before["id"])):
                results.set_aside(tx, before["id"])  # nothing reads these images as they are now
        chosen += notices.ask(tx, node, job.study_id, decision.unread)
        input_sets.forget_dispatches(tx, job.study_id, chosen)
        for refusal in decision.refused:
            refusals.record(tx, "study", job.subject, refusal.code, refusal.sentence, job.study_id)
        if decision.choices:
            jobs.finish(tx, job, JobState.DONE, stages.report())
        else:
            sentence = "; ".join(refusal.sentence for refusal in decision.refused)
            jobs.finish(tx, job, JobState.REFUSED, stages.report(decision.refused[0].code, sentence))


# ----------------------------------------------------------------- segment


def segment(node: Node, job: Claim, stages: Stages) -> None:
    """Run a network on an input set, and keep what comes out."""
    assert job.input_set_id is not None
    with node.database.read() as tx:
        input_set = input_sets.find(tx, job.input_set_id)
        members = input_sets.members(tx, job.input_set_id)
        study = studies.find(tx, input_set["study_uid"])
        superseded = input_sets.superseded(tx, job.input_set_id)
        choosing = job_orders.is_open(tx, JobKind.CHOOSE, input_set["study_uid"])
    if choosing:
        raise Unavailable("choosing", "what the networks read of its study is being chosen", CHOOSING_SECONDS)
    if why_not := _as_chosen(input_set, members, study, superseded=superseded):
        with node.database.write() as tx:
            jobs.finish(tx, job, JobState.CANCELLED, stages.report("outdated", why_not))
        return
    version, bundle = _pinned(node, job, input_set["network"])
    with stages("volume"):
        built = _read(node, bundle, members)
    try:
        reach("volume-built")
        with stages("objects"):
            headers_sha256 = fingerprint(built.first.headers, built.first.geometry)
        answer = predict(node.hosts, bundle, built, node.work.job_seconds, stages)
        reach("predicted")
        provenance = Provenance(
            card=bundle.card,
            weights_sha256=bundle.weights_sha256,
            card_sha256=bundle.card_sha256,
            input_set_hash=input_set["members_hash"],
            headers_sha256=headers_sha256,
            mask_sha256=mask_sha256(answer.labels),
            study_uid=input_set["study_uid"],
            content_time=job.first_claimed,
            node_version=node.version,
            node_serial=node.serial,
            uid_root=node.uid_root,
        )
        new = keep.known(node.database, provenance)
        fresh = new is None
        if new is None:
            with stages("objects"):
                made = make(built.first, answer.labels, provenance)
            with stages("write"):
                new = keep.write(node.archive, made, provenance.content_time)
    finally:
        built.close()
    reach("before-results-commit")
    try:
        with node.database.write() as tx:
            _not_held(studies.find(tx, input_set["study_uid"]))
            outdated = input_sets.superseded(tx, job.input_set_id)
            ids = results.record(tx, job.input_set_id, version, new, outdated=outdated)
            if not outdated:
                to = input_sets.live_destinations(tx, job.input_set_id)
                deliveries.queue(tx, job.input_set_id, input_set["study_id"], ids, to, node.send.attempts)
            jobs.finish(tx, job, JobState.DONE, stages.report())
    except (LostLease, Unavailable):
        for one in new if fresh else ():
            node.archive.discard(one.path)
        raise
    reach("after-results-commit")


def _read(node: Node, bundle: Bundle, members: Any) -> Channels:
    """The volumes of every channel, on one grid."""
    volumes: list[volume.Volume] = []
    try:
        for rule in bundle.card.input:
            rows = [row for row in members if row["channel"] == rule.channel]
            files = [node.archive.at(row["path"]) for row in rows]
            of_each = [frames.from_text(row["frames"]) for row in rows]
            volumes.append(volume.build(files, node.decoders, rule, of_each=of_each))
        return channels.assemble(volumes, bundle.card.input)
    except BaseException:
        for one in volumes:
            one.close()
        raise


def _pinned(node: Node, job: Claim, network: str) -> tuple[int, Bundle]:
    """The model version of this job: the one that was live at its first claim."""
    version = job.model_version_id
    if version is None:
        live, _ = node.networks.live(network)
        with node.database.write() as tx:
            version = jobs.pin(tx, job, live)
    return version, node.networks.pinned(version)


def _as_chosen(input_set: Any, members: Any, study: Any, *, superseded: bool) -> str:
    """Why there is nothing to run any more; empty when the images are those that were chosen.

    Raises:
        Unavailable: a person or the next `choose` has to decide first.
        Refused: the images were changed, and nothing was chosen from them since.
    """
    _not_held(study)
    if superseded:
        return "newer images took their place before it began"
    if any(row["image_identity"] is None for row in members):
        raise Unavailable("images-changed", "images of it came again, and will be chosen from when the study is quiet")
    if len({row["patient_id"] for row in members}) > 1:
        raise Refused("ambiguous-patient", "its images name different patients")
    if _changed(input_set, members):
        raise Refused("images-changed", "its images were changed, and no network reads them as they are now")
    return ""


def _changed(input_set: Any, members: Any) -> bool:
    """Whether the images of an input set are others than those that were chosen."""
    found = [(row["channel"], row["sop_uid"], row["image_identity"], row["frames"]) for row in members]
    return series.members_hash(found) != input_set["members_hash"]


def _not_held(study: Any) -> None:
    if study["state"] == "held":
        raise Unavailable("study-held", f"the study is held: {study['held_because']}", HELD_SECONDS)


# ----------------------------------------------------------------- deliver


def deliver(node: Node, job: Claim, stages: Stages) -> None:
    """Send what waits of one input set to one destination; every object comes to an answer of its own."""
    assert job.input_set_id is not None
    destination = job.subject.rsplit("/", 1)[0]
    target = node.targets.get(destination)
    if target is None:
        sentence = f"{destination} is no peer with a `destination` in the configuration any more"
        raise Refused("unknown-destination", sentence)
    with node.database.write() as tx:
        study = studies.find(tx, input_sets.find(tx, job.input_set_id)["study_uid"])
        if input_sets.superseded(tx, job.input_set_id):
            deliveries.outdate(tx, job.input_set_id, destination)
        rows = deliveries.waiting(tx, job.input_set_id, destination)
        wait, why = deliveries.wait_seconds(tx, destination)
    if rows:
        _not_held(study)
    if rows and wait > 0:
        raise Unavailable("unreachable", why, wait)
    parcels = [Parcel(node.archive.at(row["path"]), row["sop_class"]) for row in rows]
    reach("before-send")
    if rows:
        try:
            with stages("send"), scu.connect(target, node.ae_title, parcels, node.send.timeout_seconds) as sender:
                _send_all(node, sender, list(zip(rows, parcels, strict=True)))
        except Unavailable as error:
            with node.database.write() as tx:
                deliveries.unreachable(tx, destination, error.sentence, node.send.unreachable_retry_seconds)
                deliveries.note(tx, job.input_set_id, destination, error.sentence)
            raise Unavailable(error.code, error.sentence, node.send.unreachable_retry_seconds) from error
    with node.database.write() as tx:
        deliveries.reachable(tx, destination)
        left, dead = deliveries.outcome(tx, job.input_set_id, destination)
        study = studies.find(tx, input_sets.find(tx, job.input_set_id)["study_uid"])
    if left:
        _not_held(study)
        raise Failed("not-delivered", left[0])
    with node.database.write() as tx:
        if dead:
            jobs.finish(tx, job, JobState.DEAD, stages.report("not-deliverable", dead[0]))
        else:
            jobs.finish(tx, job, JobState.DONE, stages.report())
    reach("after-delivery-commit")


def _send_all(node: Node, sender: Sender, rows: list[tuple[Any, Parcel]]) -> None:
    states = {Answer.DELIVERED: "delivered", Answer.RETRY: "waiting", Answer.DEAD: "dead"}
    for row, parcel in rows:
        with node.database.read() as tx:
            if not deliveries.is_wanted(tx, row["id"]):
                continue
        receipt = sender.send(parcel)
        reach("sent-before-row")
        with node.database.write() as tx:
            deliveries.settle(tx, row["id"], states[receipt.answer], receipt.status, receipt.sentence or None)


# ------------------------------------------------------------------- sweep


def sweep(node: Node, job: Claim, stages: Stages) -> None:
    """Tidy the home folder after crashes: leftovers of the spool, files without a row."""
    with stages("sweep"):
        sweep_home(node.archive, node.database, node.inbox)
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report())


Step = Callable[[Node, Claim, Stages], None]


def gave_up(tx: Any, node: Node, job: Claim, sentence: str) -> None:
    """A job is refused or dead: what only it could have done says so too."""
    if job.kind is JobKind.SEGMENT and job.input_set_id is not None:
        notices.order(tx, node, job.input_set_id, job.study_id)
    if job.kind is JobKind.DELIVER and job.input_set_id is not None:
        deliveries.bury(tx, job.input_set_id, job.subject.rsplit("/", 1)[0], sentence)


STEPS: dict[JobKind, Step] = {
    JobKind.CHOOSE: choose,
    JobKind.SEGMENT: segment,
    JobKind.EXPLAIN: notices.explain,
    JobKind.DELIVER: deliver,
    JobKind.SWEEP: sweep,
}
