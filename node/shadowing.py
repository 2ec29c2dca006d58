"""A candidate that was proven better runs beside the live network, on the studies that come: seen by nobody, kept.

What is compared is what the live network found and sent, read back from its segmentation.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import input_sets, jobs, networks, results, shadows, training_runs, trials
from db.job_states import Claim, JobKind, JobState
from db.networks import VersionState
from models import membership
from models.card import Card

from . import upstream
from .app import Node
from .attempt import Stages
from .errors import Refused
from .failpoints import reach
from .learning import masks, outlined
from .learning.shadowing import agreement
from .operations import versions
from .prediction import predict, read
from .study.volume import Volume
from .training import PRIORITY
from .trying import make_way

logger = logging.getLogger(__name__)

WHO = "planimeter"


def ask(tx: Any, node: Node, input_set: Any, champion: int) -> None:
    """Where a version of its network is in the shadow, it is to read this input set too, unless that is a trial."""
    if trials.is_one(tx, input_set["study_id"]):
        return
    for row in networks.versions(tx, input_set["network"], VersionState.SHADOW):
        if row["id"] != champion:
            jobs.enqueue(
                tx,
                JobKind.SHADOW,
                f"{input_set['id']}/{row['id']}",
                max_attempts=node.work.attempts,
                priority=PRIORITY,
                study_id=input_set["study_id"],
                input_set_id=input_set["id"],
            )


def shadow(node: Node, job: Claim, stages: Stages) -> None:
    """Run a candidate on an input set, and keep how it agrees with the live version."""
    assert job.input_set_id is not None
    version = int(job.subject.rsplit("/", 1)[1])
    with node.database.read() as tx:
        row = networks.find(tx, version)
        sent = results.segmentation(tx, job.input_set_id)
        members = input_sets.members(tx, job.input_set_id)
        known = shadows.has(tx, job.input_set_id, version)
    if row["state"] != VersionState.SHADOW or sent is None or known:
        why = "its result is there" if known else "the version is in the shadow no more, or there is nothing to compare"
        with node.database.write() as tx:
            jobs.finish(tx, job, JobState.CANCELLED, stages.report("no-shadow", why))
        return
    make_way(node)
    bundle = node.networks.pinned(version)
    upstreams = upstream.of(node.database, node.networks, bundle.card, job.input_set_id)
    with stages("volume"):
        built = read(node.archive, node.decoders, bundle, members, upstreams)
    try:
        affine = built.first.geometry.affine
        champion = _found(node, sent, built.first, bundle.card)
        answer = predict(node.hosts, bundle, built.arrays, affine, node.work.job_seconds, stages)
        agreed = agreement(champion, answer.labels, affine, membership.parts(bundle.card))
    finally:
        built.close()
    mask = masks.keep(node.archive.home, answer.labels, masks.SHADOWS)
    reach("shadow-before-row")
    with node.database.write() as tx:
        shadows.record(
            tx,
            input_set_id=job.input_set_id,
            model_version_id=version,
            champion_id=sent["model_version_id"],
            mask_path=mask.path,
            agreement=agreed,
            seconds=answer.seconds.get("forward", 0.0),
        )
        jobs.finish(tx, job, JobState.DONE, stages.report())
    _promote_by_itself(node, row)


def _found(node: Node, sent: Any, volume: Volume, card: Card) -> NDArray[np.uint8]:
    """The label map of a segmentation of ours: its segments are numbered by their places in the card."""
    read_back = outlined.read(node.archive.at(sent["path"]), volume)
    masks_of: dict[int, NDArray[np.bool_]] = {}
    for structure in read_back.structures:
        if not 1 <= structure.number <= len(card.segment):
            raise Refused("other-segments", "the candidate's card has other segments than the live version had")
        masks_of[card.segment[structure.number - 1].value] = structure.mask
    if not masks_of:
        return np.zeros(volume.geometry.shape, np.uint8)
    labels, misfits = membership.united(masks_of, card)
    if misfits:
        raise Refused("other-segments", "the candidate's card has no label values for the segments of the live version")
    return labels


def _promote_by_itself(node: Node, row: Any) -> None:
    """Where the site wants that: a candidate that the gate lets go live without a person, after its studies."""
    if not node.learning.auto_promote:
        return
    with node.database.read() as tx:
        judged, studies = training_runs.evaluation_of(tx, row["id"]), shadows.summary(tx, row["id"])
    if (
        not judged
        or not judged["verdict"]["automatic"]
        or not studies
        or studies.studies < node.learning.shadow_studies
    ):
        return
    why = f"proven better, and beside the live version on {studies.studies} studies"
    try:
        logger.info(versions.promote(node.networks, row["network"], row["version"], WHO, why, automatic=True))
    except Refused as refusal:  # decided by somebody meanwhile
        logger.info("%s is not promoted: %s", row["network"], refusal.sentence)
