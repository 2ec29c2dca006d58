"""The result against the prior one of the same patient.

Only results of one model version are compared. Where the prior was made by another one, the network runs again on the
prior images, if they are held, and what it measures there is kept for the next time; nothing of it is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from db import input_sets, measurements
from db.upstreams import versions_read
from models.card import Bundle

from . import upstream
from .app import Node
from .attempt import Stages
from .errors import NodeError, Unavailable
from .measurements import change, quality
from .measurements.measure import measure
from .measurements.values import Change, Measured
from .prediction import predict, read
from .study.series import members_hash
from .study.volume import Volume
from .upstream import Upstream

logger = logging.getLogger(__name__)


def study_date(volume: Volume) -> str:
    """StudyDate and StudyTime of the images, one behind the other; empty without a date."""
    header = volume.headers[0]
    date, time = (str(header.get(keyword) or "").strip() for keyword in ("StudyDate", "StudyTime"))
    return date + time if len(date) == 8 and date.isdigit() else ""


def records(measured: Sequence[Measured], volume: Volume) -> list[dict[str, Any]]:
    """What is kept of a run for comparison."""
    thickness_mm = quality.slice_thickness_mm(volume.headers[0])
    return [change.record(one, volume.geometry, thickness_mm) for one in measured]


def compare(
    node: Node,
    input_set_id: int,
    version: int,
    bundle: Bundle,
    upstreams: Sequence[Upstream],
    now: list[dict[str, Any]],
    date: str,
    stages: Stages,
) -> tuple[Change, ...]:
    """The changes since the prior result; none where there is no prior.

    Args:
        version: the model version of the present result.
        upstreams: the results of other networks that it was made from; the prior has to rest on the same versions.
        now: what `records` made of it.
        date: of the present study (`study_date`).
    """
    with node.database.read() as tx:
        prior = measurements.prior(tx, input_set_id, date)
        if prior is None:
            return ()
        same = measurements.find(tx, prior["input_set_id"], version)
        read_then = versions_read(tx, prior["input_set_id"])
    if read_then != {one.channel: one.model_version_id for one in upstreams}:
        before = None
    else:
        before = same["segments"] if same is not None else _measured_again(node, prior, version, bundle, stages)
    return change.changes(
        now,
        before,
        prior_study_uid=prior["study_uid"],
        prior_date=prior["study_date"][:8],
        other_version=before is None,
    )


def _measured_again(
    node: Node, prior: Any, version: int, bundle: Bundle, stages: Stages
) -> list[dict[str, Any]] | None:
    """What this model version measures of the prior images; None where it cannot."""
    with node.database.read() as tx:
        input_set = input_sets.find(tx, prior["input_set_id"])
        members = input_sets.members(tx, prior["input_set_id"])
    found = [(row["channel"], row["sop_uid"], row["image_identity"], row["frames"]) for row in members]
    if any(row["image_identity"] is None for row in members) or members_hash(found) != input_set["members_hash"]:
        return None
    try:
        upstreams = upstream.of(node.database, node.networks, bundle.card, prior["input_set_id"])
        built = read(node.archive, node.decoders, bundle, members, upstreams)
        try:
            affine = built.first.geometry.affine
            answer = predict(node.hosts, bundle, built.arrays, affine, node.work.job_seconds, stages)
            measured = records(measure(built.first, answer.labels, bundle.card.segment), built.first)
            date = study_date(built.first)
        finally:
            built.close()
    except Unavailable:
        raise  # nobody's fault, and the present result is not there either: the job comes again
    except (NodeError, OSError) as error:  # its images cannot be used, or are not there any more
        logger.warning("the prior study cannot be measured again: %s", getattr(error, "code", type(error).__name__))
        return None
    with node.database.write() as tx:
        measurements.record(tx, prior["input_set_id"], version, date, measured, [])
    return measured
