"""The `label` step: a SEG or RTSTRUCT that came back becomes a label, or is quarantined, or waits for its images.

meant      which images it outlines, and that it is of their patient             learning.meant
read       onto the grid of the first channel                                    learning.outlined
judged     mapped onto the network's classes, compared with the draft            learning.judged, mapping, correction
kept       mask and row; the patient gets a bucket                               learning.masks, people

The newest label of some images is ready, older ones are superseded. What the newest does not annotate it has from the
one before: a radiologist who corrects one lung takes nothing back of what was said about the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db import jobs, label_images, labels, measurements, trials
from db.arrivals import Kind
from db.database import Row
from db.job_states import Claim, JobState
from db.labels import Finding
from models.card import Bundle, Card

from .app import Node
from .attempt import Stages
from .errors import Failed, Refused, Unavailable
from .failpoints import reach
from .learning import drafts, masks, meant, outlined, people
from .learning.buckets import normalised
from .learning.drafts import Draft
from .learning.judged import ACCEPTED, QUARANTINED, READY, Judged, as_rows, judge
from .learning.meant import Meant
from .learning.structures import Outlined
from .learning.traits import Traits
from .prediction import read
from .study.volume import Volume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Object:
    """What came back.

    Attributes:
        rows: its labels so far.
        source: its instance, with its patient.
    """

    rows: Sequence[Row]
    source: Row

    @property
    def sha256(self) -> str:
        return str(self.rows[0]["source_sha256"])

    def given(self, network: str) -> dict[str, int]:
        """What a person said of its structures, for a network."""
        of_it = [row for row in self.rows if row["network"] == network]
        return {f"#{one['number']}": one["given"] for row in of_it for one in row["structures"] if "given" in one}


@dataclass(frozen=True)
class _Found:
    """A finding, and what has to be known when it is written.

    Attributes:
        traits: of the patient of the images; None where nothing is learnt.
        older: SHA-256 of the mask of the older label that it was completed from, or "".
    """

    finding: Finding
    traits: Traits | None = None
    older: str = ""


def label(node: Node, job: Claim, stages: Stages) -> None:
    """Find out what an object teaches, to each network that reads the images it outlines."""
    with node.database.read() as tx:
        rows = labels.of_source(tx, job.subject)
        one = _Object(rows, label_images.source(tx, rows[0]["source_path"]))
    every = _found(node, one, stages)
    reach("label-before-commit")
    with node.database.write() as tx:
        written = [_write(tx, node, one, found) for found in every]
        refused = all(finding.state == QUARANTINED for finding in written)
        report = stages.report(written[0].code, written[0].sentence)
        jobs.finish(tx, job, JobState.REFUSED if refused else JobState.DONE, report)
    reach("label-after-commit")


def _found(node: Node, one: _Object, stages: Stages) -> list[_Found]:
    """What becomes of an object: for each network that it teaches; where it teaches none, why."""
    unknown = Finding(network="", state="", patient_id=one.source["patient_id"], study_id=one.source["study_id"])
    try:
        with stages("meant"):
            subject = outlined.subject(node.archive.at(one.source["path"]))
            every = _no_trials(node, meant.find(node.database, node.archive, subject, one.source))
    except Unavailable as later:
        return [_Found(replace(unknown, state="waiting", code=later.code, sentence=later.sentence))]
    except Refused as refusal:
        return [_Found(replace(unknown, state=QUARANTINED, code=refusal.code, sentence=refusal.sentence))]
    found = [
        _read(node, one, each, network, bundle, stages)
        for each in every
        for network, bundle in _learners(node, each, [other.network for other in every])
    ]
    known = {row["network"] for row in one.rows}
    taught = [each for each in found if each.finding.state != QUARANTINED or each.finding.network in known]
    return taught or found


def _no_trials(node: Node, every: Sequence[Meant]) -> list[Meant]:
    """Nothing is learnt from what somebody brought to try a network."""
    with node.database.read() as tx:
        found = [each for each in every if not trials.is_one(tx, each.input_set["study_id"])]
    if not found:
        raise Refused(
            "label-of-a-trial", "it outlines images that were brought to try a network; nothing is learnt there"
        )
    return found


def _learners(node: Node, each: Meant, named: Sequence[str]) -> Iterator[tuple[str, Bundle]]:
    """The network that read the images, and those that would read the same of them and have not read them."""
    _, bundle = node.networks.known(each.network)
    yield each.network, bundle
    for name in node.networks.names():
        if name not in named:
            try:
                _, other = node.networks.known(name)
            except Failed as failure:
                logger.warning("%s learns nothing from labels: %s", name, failure.sentence)
                continue
            if other.card.input == bundle.card.input:
                yield name, other


def _read(node: Node, one: _Object, each: Meant, network: str, bundle: Bundle, stages: Stages) -> _Found:
    """Read an object onto the images for a network."""
    finding = Finding(
        network=network,
        state=QUARANTINED,
        patient_id=each.patient_id,
        study_id=each.input_set["study_id"],
        input_set_id=each.input_set["id"],
        structures=[known for row in one.rows if row["network"] == network for known in row["structures"]],
    )
    try:
        with stages("volume"):
            built = read(node.archive, node.decoders, bundle, each.members, upstreams=None)
        try:
            with stages("read"):
                file = node.archive.at(one.source["path"])
                found = outlined.read(file, built.first, fraction=node.learning.fraction, decoders=node.decoders)
            finding = replace(finding, author=found.author, tool=found.tool, made=found.made)
            with stages("judge"):
                judged = _judge(node, one, each, found, bundle.card, network, built.first)
            finding = _described(finding, judged, found, one.given(network))
            traits = people.traits([built.first]) if judged.state == READY else None
        finally:
            built.close()
    except Refused as refusal:
        return _Found(replace(finding, code=refusal.code, sentence=refusal.sentence))
    if judged.state != READY or judged.composed is None:
        return _Found(finding)
    with stages("keep"):
        return _kept(
            node, one, replace(finding, annotated=list(judged.composed.annotated)), judged, bundle.card, traits
        )


def _judge(node: Node, one: _Object, each: Meant, found: Outlined, card: Card, network: str, volume: Volume) -> Judged:
    with node.database.read() as tx:
        sent = label_images.drafts(tx, each.input_set["id"], one.source["sop_uid"], one.rows[0]["created"])
    return judge(
        found,
        card,
        volume.geometry.affine,
        volume.geometry.shape,
        _drafts(node, sent, volume, card),
        one.given(network),
        is_ours=one.source["kind"] == Kind.OURS,
    )


def _drafts(node: Node, sent: Sequence[Row], volume: Volume, card: Card) -> Iterator[Draft]:
    for row in sent:
        try:
            yield drafts.read(node.archive.at(row["path"]), row["id"], volume, card, node.decoders)
        except (Refused, FileNotFoundError) as error:
            logger.info("result %s cannot be compared with a label: %s", row["id"], type(error).__name__)


def _described(finding: Finding, judged: Judged, found: Outlined, given: Mapping[str, int]) -> Finding:
    """The finding with all that is shown of it."""
    said = judged.correction.as_json() if judged.correction else {"classes": [], "voxels_changed": None}
    away = judged.composed.given_away if judged.composed else {}
    return replace(
        finding,
        state=judged.state,
        code=judged.why.code if judged.why else None,
        sentence=judged.why.sentence if judged.why else None,
        draft_id=judged.draft.result_id if judged.draft else None,
        structures=as_rows(judged.mapped, given),
        comparison=said | {"given_away": {str(value): n for value, n in away.items()}, "notes": list(found.notes)},
        annotated=list(judged.composed.annotated) if judged.composed and judged.state == ACCEPTED else [],
    )


def _kept(node: Node, one: _Object, finding: Finding, judged: Judged, card: Card, traits: Traits | None) -> _Found:
    """Complete the mask from the label before, and write it."""
    assert judged.composed is not None
    with node.database.read() as tx:
        assert finding.input_set_id is not None
        before = labels.before(tx, finding.network, finding.input_set_id, one.sha256, finding.made)
    mask, older = judged.composed.mask, ""
    if before is not None:
        older = before["mask_sha256"]
        finding = _completed(finding, mask, before, masks.read(node.archive.home, before["mask_path"]), card)
    kept = masks.keep(node.archive.home, mask)
    reach("label-mask-written")
    return _Found(replace(finding, mask_path=kept.path, mask_sha256=kept.sha256), traits, older)


def _completed(finding: Finding, mask: NDArray[np.uint8], before: Row, older: NDArray[np.uint8], card: Card) -> Finding:
    """The finding with what the label before annotates and this one does not; the mask is completed in place."""
    added = masks.complete(mask, finding.annotated, older, before["annotated"], card)
    names = {segment.value: segment.label for segment in card.segment}
    how = f"label {before['id']}"
    structures = [
        {"name": names.get(value, ""), "voxels": voxels, "value": value, "how": how} for value, voxels in added.items()
    ]
    order = {segment.value: n for n, segment in enumerate(card.segment)}
    annotated = sorted([*finding.annotated, *added], key=lambda value: order.get(value, len(order)))
    return replace(finding, structures=[*finding.structures, *structures], annotated=annotated)


# --------------------------------------------------------------------- rows


def _write(tx: Any, node: Node, one: _Object, found: _Found) -> Finding:
    """Write one finding, in line with the other labels of its images."""
    finding = found.finding
    if not finding.network and all(row["network"] for row in one.rows):
        return finding  # it was understood before, and what is known of it stands until it is understood again
    if found.traits is not None and finding.patient_id is not None:
        try:
            person = people.enrol(tx, node.learning.key, node.learning.shares, finding.patient_id, found.traits)
            finding = replace(finding, patient_id=person.patient_row_id)
        except Refused as refusal:
            finding = replace(
                finding,
                state=QUARANTINED,
                code=refusal.code,
                sentence=refusal.sentence,
                annotated=[],
                mask_path=None,
                mask_sha256=None,
            )
    label_id, changed = labels.write(tx, one.sha256, finding)
    if finding.input_set_id is not None:
        _line_up(tx, node, finding.network, finding.input_set_id, label_id, found.older, changed=changed)
    return finding


def _line_up(tx: Any, node: Node, network: str, input_set_id: int, label_id: int, older: str, *, changed: bool) -> None:
    """Put the labels of some images in their order; those that rest on others that changed are made again."""
    rows = labels.line_up(tx, network, input_set_id)
    ids = [row["id"] for row in rows]
    place = ids.index(label_id) if label_id in ids else -1
    if changed:
        for row in rows[place + 1 :][:1]:
            labels.ask(tx, row["source_sha256"], node.work.attempts)
    if place > 0 and rows[place - 1]["mask_sha256"] != older:  # it came while this one was read
        labels.ask(tx, rows[place]["source_sha256"], node.work.attempts)


def ask_again(tx: Any, node: Node, study_id: int) -> None:
    """Something changed about the images of a study: labels that wait for them are read again."""
    mine = normalised(measurements.patient_of(tx, study_id)["patient_id"])
    for sha256, of_study, patient in labels.awaiting(tx, study_id):
        if of_study == study_id or (mine and normalised(patient) == mine):
            labels.ask(tx, sha256, node.work.attempts)


def gave_up(tx: Any, job: Claim, sentence: str) -> None:
    """The step failed for good: its label says so, and is not waited for."""
    labels.quarantine_waiting(tx, job.subject, "label-failed", f"{sentence}; `planimeter retry {job.id}` tries again")
