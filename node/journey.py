"""The path of a study, from its images to the delivered result. Each step is a job of the kind that bears its name.

arrived   C-STORE  -> file durable, row committed, then Success            receiver, inbound.inbox
settled   schedule -> study complete: closed, its `choose` job queued     db.studies
choose    worker   -> input sets and their jobs, or a refusal              choosing, study.series, routes
segment   worker   -> volume, network, results, checked, kept, queued      prediction, making, objects
explain   worker   -> a notice of what was refused, where it is wanted      notices
deliver   worker   -> C-STORE or STOW-RS, a receipt per object            delivering, outbound
commit    worker   -> storage commitment: the destination takes over       commitment, outbound
fetch     worker   -> a study that is somewhere else, at night             fetching, pull
prior     worker   -> an earlier study, to be compared with                prior_fetching, pull
reconcile worker   -> what a PACS has that never came                        reconciling, pull
label     worker   -> what a person corrected, read as truth to learn from labelling, learning
export    worker   -> a study de-identified, as a person asked for          exporting
watch     worker   -> whether what networks read has drifted, once a week   operations.watch

A step commits what it made together with the end of its job, or raises Refused, Unavailable or Failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from db import (
    appearances,
    input_sets,
    job_orders,
    jobs,
    studies,
    upstreams,
)
from db.job_states import Claim, JobKind, JobState, LostLease
from models.card import Bundle
from models.client import Answer

from . import (
    awaiting,
    choosing,
    commitment,
    delivering,
    evaluating,
    exporting,
    fetching,
    labelling,
    machine,
    making,
    notices,
    prior_fetching,
    proving,
    reconciling,
    rejections,
    shadowing,
    training,
    upstream,
)
from .app import Node
from .attempt import Stages
from .delivering import not_held
from .errors import Failed, Refused, Unavailable
from .failpoints import reach
from .hosts import OUT_OF_MEMORY
from .objects.ahead import Ahead
from .objects.headers import repaired
from .operations import purge as removing
from .operations.at_rest import undisturbed
from .operations.routes import PRIORITIES
from .operations.sweep import sweep_home
from .operations.watch import looking
from .prediction import predict, read
from .progress import Progress
from .study import appearance
from .study.channels import Channels

logger = logging.getLogger(__name__)

CHOOSING_SECONDS = 3.0
#: a training has to have left the device within 45 s of being asked
SHARED_SECONDS = 5.0

# ----------------------------------------------------------------- segment


def segment(node: Node, job: Claim, stages: Stages) -> None:
    """Run a network on an input set, and keep what comes out."""
    assert job.input_set_id is not None
    with node.database.read() as tx:
        input_set = input_sets.find(tx, job.input_set_id)
        members = input_sets.members(tx, job.input_set_id)
        study = studies.find(tx, input_set["study_uid"])
        superseded = input_sets.superseded(tx, job.input_set_id)
        prior_fetching.await_prior(tx, node, job)
        asked_again = job_orders.is_open(tx, JobKind.CHOOSE, input_set["study_uid"], but=awaiting.AWAITED)
    _at_night(node, job)
    if asked_again:
        raise Unavailable("choosing", "what the networks read of its study is being chosen", CHOOSING_SECONDS)
    if why_not := _as_chosen(input_set, members, study, superseded=superseded):
        with node.database.write() as tx:
            jobs.finish(tx, job, JobState.CANCELLED, stages.report("outdated", why_not))
        return
    version, bundle = _pinned(node, job, input_set["network"])
    read_before = upstream.of(node.database, node.networks, bundle.card, job.input_set_id)
    proving.require(node, bundle, stages)
    with stages("volume"):
        built = read(node.archive, node.decoders, bundle, members, read_before)
    try:
        reach("volume-built")
        with stages("objects"):  # before the network runs: headers that cannot stand in a result are refused at once
            ahead = Ahead(repaired(built.first.headers, built.first.geometry))
        looks = appearance.of(built.volumes, bundle.card.input)
        affine = built.first.geometry.affine
        answer = _predicted(node, job, bundle, built, affine, stages)
        reach("predicted")
        with node.database.read() as tx:
            to = input_sets.live_destinations(tx, job.input_set_id)
            routed = _as_routed(node, input_sets.live_objects(tx, job.input_set_id))
        done = making.finish(routed, job, input_set, version, bundle, built, read_before, ahead, answer, to, stages)
    finally:
        built.close()
    reach("before-results-commit")
    try:
        with node.database.write() as tx:
            not_held(studies.find(tx, input_set["study_uid"]))
            outdated = input_sets.superseded(tx, job.input_set_id)
            if not upstreams.was_read(tx, job.input_set_id, {one.channel: one.result["id"] for one in read_before}):
                raise Unavailable("upstream-waiting", "a result that was read was replaced meanwhile", SHARED_SECONDS)
            making.commit(tx, node, job, input_set, version, done, outdated=outdated)
            appearances.record(tx, job.input_set_id, looks)
            labelling.ask_again(tx, node, input_set["study_id"])
            upstreams.changed(tx, job.input_set_id, node.work.attempts)
            if done.fault:
                jobs.finish(tx, job, JobState.REFUSED, stages.report("self-check", done.fault))
                notices.order(tx, node, job.input_set_id, job.study_id)
                rejections.left_aside(tx, node, job.input_set_id, input_set["study_id"])
            else:
                jobs.finish(tx, job, JobState.DONE, stages.report())
                if not outdated:
                    shadowing.ask(tx, node, input_set, version)
    except (LostLease, Unavailable):
        for path in done.written:
            node.archive.discard(path)
        raise
    reach("after-results-commit")


def _at_night(node: Node, job: Claim) -> None:
    """Raises:
    Unavailable: nobody waits for it, and it is to run at other hours.
    """
    if job.priority < PRIORITIES["night"]:
        return
    if wait_seconds := node.work.night_wait(datetime.now().astimezone().time()):
        raise Unavailable("outside-night", "it runs at night, see `night` in [work]", wait_seconds)


def _as_routed(node: Node, objects: Mapping[str, tuple[set[str], bool]]) -> Node:
    """The node as the routes of an input set have it: what they send to a destination goes before what that wants."""
    targets = dict(node.targets)
    for name, (kinds, its_own) in objects.items():
        if kinds and name in targets:
            wanted = frozenset(kinds) | (targets[name].objects if its_own else frozenset())
            targets[name] = replace(targets[name], objects=wanted)
    return replace(node, targets=targets)


def _predicted(node: Node, job: Claim, bundle: Bundle, built: Channels, affine: Any, stages: Stages) -> Answer:
    """The network's answer. Until a training has left the device, too little memory is nobody's failure.

    Nor is it tried with less then: soon there is enough.

    Raises:
        Unavailable, Refused, Failed: as `prediction.predict`.
    """
    with node.database.read() as tx:
        trains = job_orders.trains(tx, machine.name())
    progress, limit_seconds = Progress(node.database, job), node.work.job_seconds
    try:
        answer = predict(
            node.hosts,
            bundle,
            built.arrays,
            affine,
            limit_seconds,
            stages,
            may_climb=not trains,
            on_progress=progress,
        )
    except Failed as failed:
        if failed.code != OUT_OF_MEMORY or not trains:
            raise
        why = "a training leaves the device, and then there is memory"
        raise Unavailable("device-shared", why, SHARED_SECONDS) from failed
    progress.ended()
    return answer


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
    not_held(study)
    if superseded:
        return "newer images took their place before it began"
    if any(row["image_identity"] is None for row in members):
        raise Unavailable("images-changed", "images of it came again, and will be chosen from when the study is quiet")
    if len({row["patient_id"] for row in members}) > 1:
        raise Refused("ambiguous-patient", "its images name different patients")
    if choosing.changed(input_set, members):
        raise Refused("images-changed", "its images were changed, and no network reads them as they are now")
    return ""


# ------------------------------------------------------------ sweep, purge


def sweep(node: Node, job: Claim, stages: Stages) -> None:
    """Tidy the home folder after crashes: leftovers of the spool, files without a row."""
    with stages("sweep"), undisturbed(node.archive.home):
        sweep_home(node.archive, node.database, node.inbox)
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report())


def purge(node: Node, job: Claim, stages: Stages) -> None:
    """Remove what is old enough by the configuration."""
    with stages("purge"):
        said = removing.unasked(node.archive, node.database, node.retention)
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report(sentence=said))


def watch(node: Node, job: Claim, stages: Stages) -> None:
    """Compare what each network read last week with its reference; what has drifted opens a review."""
    with stages("drift"):
        for said in looking.look_at_all(node.database, node.watch):
            logger.warning("%s", said)
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report())


Step = Callable[[Node, Claim, Stages], None]


STEPS: dict[JobKind, Step] = {
    JobKind.CHOOSE: choosing.choose,
    JobKind.SEGMENT: segment,
    JobKind.EXPLAIN: notices.explain,
    JobKind.DELIVER: delivering.deliver,
    JobKind.COMMIT: commitment.commit,
    JobKind.LABEL: labelling.label,
    JobKind.TRAIN: training.train,
    JobKind.EVALUATE: evaluating.evaluate,
    JobKind.SHADOW: shadowing.shadow,
    JobKind.SWEEP: sweep,
    JobKind.PURGE: purge,
    JobKind.FETCH: fetching.fetch,
    JobKind.RECONCILE: reconciling.reconcile,
    JobKind.PRIOR: prior_fetching.prior,
    JobKind.WATCH: watch,
    JobKind.EXPORT: exporting.export,
}
