"""From what a network gave to results that are kept: measured, compared, written, read back, in line with others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import deliveries, measurements, results
from db.job_states import Claim
from db.results import NewResult
from models import membership
from models.card import Bundle
from models.client import Answer

from . import priors
from .app import Node
from .attempt import Stages
from .learning.regrid import seen_onto
from .measurements import findings
from .measurements.findings import Findings
from .measurements.measure import measure
from .measurements.quality import Sureness, flags
from .measurements.values import Change, Flag
from .objects import forms, keep, parametric
from .objects.ahead import Ahead
from .objects.checks.whole import faults
from .objects.forms import SR, Form, Wish
from .objects.identity import Predecessor, Provenance, Source
from .objects.outlines import rtstruct, stl
from .objects.pictures.choice import number_of_key_images
from .objects.results import make, mask_sha256
from .objects.run import Run
from .outbound.target import Target
from .study.channels import Channels
from .upstream import Upstream

logger = logging.getLogger(__name__)

NEVER_AGAIN = ("withdrawn", "discarded")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The results of one run, their files in the archive.

    Attributes:
        new: form -> result.
        written: paths that no row names yet.
        fault: what the self-check found; then nothing of it may be sent.
        for_destination: name -> the forms that go there, and why a person has to release them first, or "".
        flags, segments, study_date: to be kept with it.
    """

    new: dict[Form, NewResult]
    written: tuple[str, ...]
    fault: str
    for_destination: dict[str, tuple[list[Form], str]]
    flags: tuple[Flag, ...]
    segments: list[dict[str, Any]]
    study_date: str


def finish(
    node: Node,
    job: Claim,
    input_set: Any,
    version: int,
    bundle: Bundle,
    built: Channels,
    upstreams: Sequence[Upstream],
    ahead: Ahead,
    answer: Answer,
    destinations: Sequence[str],
    stages: Stages,
) -> Finished:
    """Make, or find again, everything that comes of what the network gave.

    Args:
        upstreams: the results of other networks that were read.
        ahead: what was made of the first channel's repaired headers meanwhile.
        destinations: those that its results go to.

    Raises:
        Unavailable: the prior images could not be measured now.
    """
    assert job.input_set_id is not None
    volume, card = built.first, bundle.card
    found: Findings | None = None
    with stages("measure"):
        sureness = Sureness(answer.entropy, answer.confidence, answer.disagreement)
        if answer.found is None:
            measured = measure(volume, answer.labels, card.segment)
            doubts = flags(measured, card, volume.headers[0], volume.geometry, sureness)
            segments = [one | sureness.record(one["value"]) for one in priors.records(measured, volume)]
        else:
            measured, found = (), findings.findings(answer.found, card, volume.geometry)
            doubts = findings.doubts(found, card, volume.headers[0], volume.geometry)
            segments = findings.records(found)
        doubts += tuple(doubt for one in upstreams if (doubt := _inherited(one)))
        entropy = _map_of(node, destinations, built, answer)
    date, changes = priors.study_date(volume), tuple[Change, ...]()
    if found is None:
        with stages("prior"):
            changes = priors.compare(node, job.input_set_id, version, bundle, upstreams, segments, date, stages)
    with node.database.read() as tx:
        patient = measurements.patient_of(tx, input_set["study_id"])
        older = results.line(tx, job.input_set_id)
    provenance = Provenance(
        card=card,
        weights_sha256=bundle.weights_sha256,
        card_sha256=bundle.card_sha256,
        input_set_hash=input_set["members_hash"],
        headers_sha256=ahead.fingerprint(),
        mask_sha256=answer.found.sha256 if answer.found is not None else mask_sha256(answer.labels),
        study_uid=input_set["study_uid"],
        content_time=job.first_claimed,
        node_version=node.version,
        node_serial=node.serial,
        uid_root=node.uid_root,
        patient_key=_patient_key(patient),
        map_sha256="" if entropy is None else parametric.map_sha256(entropy),
        read=tuple(_source(one) for one in upstreams),
    )
    provenance = in_line(provenance, older, doubts, changes)
    run = Run(
        volume=volume,
        sources=ahead.sources,
        labels=answer.labels,
        measured=measured,
        flags=doubts,
        changes=changes,
        entropy=entropy,
        provenance=provenance,
        found=found,
    )
    per_destination = {name: _for(node.targets.get(name), run) for name in destinations}
    plain = forms.OF_RESULT[card.result]
    asked = forms.with_what_may_take_their_place((form for some, _ in per_destination.values() for form in some), plain)
    new, written, fault = _kept(node, run, asked, stages)
    return Finished(
        new=new,
        written=written,
        fault=fault,
        for_destination=per_destination,
        flags=doubts,
        segments=segments,
        study_date=date,
    )


def _inherited(one: Upstream) -> Flag | None:
    """What is made from a doubtful result is doubtful."""
    if not one.flags:
        return None
    said = f"It was made from the result of {one.card.name}, which is doubtful: {' '.join(one.flags)}"
    return Flag(code="upstream-flagged", segment=None, sentence=said)


def _source(one: Upstream) -> Source:
    return Source(
        channel=one.channel,
        network=one.card.name,
        version=one.card.version,
        sop_class_uid=one.result["sop_class"],
        sop_instance_uid=one.result["sop_uid"],
        series_uid=one.result["series_uid"],
    )


def _map_of(node: Node, destinations: Sequence[str], built: Channels, answer: Answer) -> NDArray[np.uint16] | None:
    """The map of uncertainty on the grid of the images, where a destination wants it and there is one."""
    wanted = any(forms.PM in node.targets[name].objects for name in destinations if name in node.targets)
    if not wanted or answer.maps is None:
        return None
    geometry = built.first.geometry
    return parametric.stored(seen_onto(answer.maps[0], answer.maps_affine, geometry.shape, geometry.affine))


def _patient_key(patient: Any) -> str:
    """Which patient, without saying who; empty for images that name nobody."""
    if not patient["patient_id"]:
        return ""
    return hashlib.sha256(f"{patient['issuer']}\n{patient['patient_id']}".encode()).hexdigest()


def in_line(
    provenance: Provenance, older: Sequence[Any], doubts: Sequence[Flag], changes: Sequence[Change]
) -> Provenance:
    """The same with its revision, the reports whose place it takes, and the hash of all that it says beside the mask.

    A run that says what the newest results say is that run again, with their UIDs; unless these were withdrawn,
    discarded, or rejected at a destination: what comes then is new.

    Args:
        older: the results of the same line of input sets, the newest revision first.
    """
    newest = max((row["revision"] for row in older), default=0)
    latest = [row for row in older if row["revision"] == newest]
    if latest and not any(row["rejected"] or row["state"] in NEVER_AGAIN for row in latest):
        again = _as_revision(provenance, newest, older, doubts, changes)
        if again.result_uid(*forms.OF_RESULT[again.card.result][0]) in {row["sop_uid"] for row in latest}:
            return again
    return _as_revision(provenance, newest + 1, older, doubts, changes)


def _as_revision(
    provenance: Provenance, revision: int, older: Sequence[Any], doubts: Sequence[Flag], changes: Sequence[Change]
) -> Provenance:
    before = max((row["revision"] for row in older if row["revision"] < revision), default=0)
    predecessors = tuple(
        Predecessor(Form(SR, row["options"]).base, row["sop_class"], row["sop_uid"], row["series_uid"])
        for row in older
        if row["kind"] == SR and row["revision"] == before and row["state"] not in ("held", "discarded")
    )
    said = [revision, *([dataclasses.asdict(one) for one in some] for some in (predecessors, doubts, changes))]
    context = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return dataclasses.replace(provenance, revision=revision, predecessors=predecessors, context_sha256=context)


def _for(target: Target | None, run: Run) -> tuple[list[Form], str]:
    """What a destination gets of a run, and why it is held back there, or ""."""
    card, wish, held = run.provenance.card, Wish(), ""
    if target is not None:
        wish = Wish(
            objects=target.objects,
            label_map=target.label_map and not membership.overlap(card),
            marked=target.flagged == "mark" and bool(run.flags),
            surfaces=() if run.found is not None else _surfaces(target, run),
        )
        held = "; ".join(flag.sentence for flag in run.flags) if target.flagged == "hold" else ""
    if run.found is not None:
        wanted, left_out = forms.wanted_without_mask(wish, card.result)
        if target is not None and left_out:
            logger.info("%s gets no %s of %s, which gives no label map", target.name, ", ".join(left_out), card.name)
        return wanted, held
    pictures = number_of_key_images(run.labels, card) if forms.SC in wish.objects else 0
    has_map = parametric.can_have(run)
    return forms.wanted(wish, pictures, has_contours=rtstruct.can_have(run), has_map=has_map), held


def _surfaces(target: Target, run: Run) -> tuple[int, ...]:
    """The segments that a destination gets as surfaces: those it names, where there is anything of them."""
    return tuple(
        number
        for number, segment in enumerate(run.provenance.card.segment, 1)
        if (not target.stl_segments or segment.label in target.stl_segments) and stl.has_surface(run, number)
    )


def _kept(
    node: Node, run: Run, asked: Sequence[Form], stages: Stages
) -> tuple[dict[Form, NewResult], tuple[str, ...], str]:
    """The results of a run as files and rows-to-be, the paths that were written for it, and its fault."""
    known, fault = keep.known(node.database, run.provenance, asked)
    missing = [form for form in asked if form not in known]
    if not missing:
        return known, (), fault
    first = keep.first_time(node.database, run.provenance, asked)
    if (
        first is not None
    ):  # more of it is wanted than before, or its bytes went: the times are those of the first attempt
        run = dataclasses.replace(run, provenance=dataclasses.replace(run.provenance, content_time=first))
    with stages("objects"):
        made = make(run, asked)
    with stages("self-check"):
        fault = "; ".join(faults(made, run))
    unwritten = [one for one in made if one.form in missing]
    with stages("write"):
        new = keep.write(
            node.archive, unwritten, run.provenance.content_time, run.provenance.run, run.provenance.revision
        )
        keep.require_same(node.archive, node.database, new.values())
    return known | new, tuple(one.path for one in new.values()), fault


def commit(tx: Any, node: Node, job: Claim, input_set: Any, version: int, done: Finished, *, outdated: bool) -> None:
    """Write the rows of a run: results, what was measured, and what is to be sent where."""
    assert job.input_set_id is not None
    order = list(done.new)
    new = [done.new[form] for form in order]
    ids = results.record(tx, job.input_set_id, version, new, outdated=outdated, fault=done.fault)
    if done.fault:
        return
    doubts = [dataclasses.asdict(flag) for flag in done.flags]
    measurements.record(tx, job.input_set_id, version, done.study_date, done.segments, doubts)
    if outdated:
        return
    id_of = dict(zip(order, ids, strict=True))
    for name, (wanted, held) in done.for_destination.items():
        to_send = [id_of[form] for form in wanted]
        attempts = node.send.attempts
        deliveries.queue(tx, job.input_set_id, input_set["study_id"], to_send, [name], attempts, held_because=held)
