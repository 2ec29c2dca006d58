"""Which images an object outlines: the input sets that it may teach about.

By the images that it names; else, for many name images that never were, by their series; else by the frame of
reference, among its own study and the studies of its patient. What it names, if it is here, is what it means: outlines
of one series do not become labels of another one in the same frame of reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db import input_sets, job_orders, label_images, studies
from db.database import Database, Row
from db.job_states import JobKind

from ..errors import Refused, Unavailable
from ..study import facts, series
from ..study.archive import Archive
from .buckets import normalised, normalised_issuer
from .structures import Subject

#: enough of the images that an object names to find the others by
NAMED_AT_MOST = 500


@dataclass(frozen=True)
class Meant:
    """An input set that an object is about.

    Attributes:
        input_set: its row, with the study's UID and state.
        members: its images (`db.input_sets.members`).
    """

    input_set: Row
    members: Sequence[Row]

    @property
    def network(self) -> str:
        return str(self.input_set["network"])

    @property
    def patient_id(self) -> int:
        """The row of its images' patient."""
        return int(self.members[0]["patient_id"])


@dataclass(frozen=True)
class _Known:
    """What the database knows of what an object names.

    Attributes:
        every: the input sets that it may mean.
        series_ids: rows of the series that it names.
        is_here: whether images are here that it names by themselves or by their series.
        is_settling: whether images of its study are still coming, or are being chosen from.
    """

    every: tuple[Meant, ...]
    series_ids: frozenset[int]
    is_here: bool
    is_settling: bool


def find(database: Database, archive: Archive, subject: Subject, source: Row) -> tuple[Meant, ...]:
    """The input sets that an object is about, one per network at most.

    Args:
        source: the object's instance, with its patient (`db.label_images.source`).

    Raises:
        Refused: `label-no-network`, `label-which-images`.
        Unavailable: `label-images-missing`, `label-images-settling`, `label-draft-pending`: later it may be known.
    """
    known = _known(database, subject, source)
    found = _by_images(known.every, subject.images) or _by_series(known.every, known.series_ids)
    if not found and not known.is_here:
        found = _by_place(known.every, subject, lambda path: facts.text(facts.read(archive.at(path)), PLACE))
    if not found:
        raise _not_found(subject, known)
    for one in found:
        _of_their_patient(database, one, source)
        _must_be_done(database, one)
    return found


PLACE = "FrameOfReferenceUID"


def _known(database: Database, subject: Subject, source: Row) -> _Known:
    named = sorted(subject.images)[:NAMED_AT_MOST]
    persons = [source["patient_id"], *([source["alias_of"]] if source["alias_of"] else [])]
    with database.read() as tx:
        rows = label_images.candidates(tx, subject.study_uid, persons, named)
        study = studies.find(tx, subject.study_uid)
        return _Known(
            tuple(one for row in rows if (one := Meant(row, input_sets.members(tx, row["id"]))).members),
            frozenset(label_images.series_ids(tx, sorted(subject.series)[:NAMED_AT_MOST])),
            label_images.holds(tx, named, sorted(subject.series)[:NAMED_AT_MOST]),
            study is not None
            and (study["state"] == "open" or job_orders.is_open(tx, JobKind.CHOOSE, subject.study_uid)),
        )


def _by_images(every: Sequence[Meant], images: frozenset[str]) -> tuple[Meant, ...]:
    """Of each network the input set that has most of the images that are named."""
    shared = [(one, len(images & {row["sop_uid"] for row in one.members})) for one in every]
    best: dict[str, tuple[Meant, int]] = {}
    for one, count in shared:
        if count > best.get(one.network, (one, 0))[1]:
            best[one.network] = (one, count)
    for one, count in shared:
        if count and count == best[one.network][1] and one is not best[one.network][0]:
            raise _which(one.network)
    return tuple(one for one, _ in best.values())


def _by_series(every: Sequence[Meant], series_ids: frozenset[int]) -> tuple[Meant, ...]:
    return _one_each([one for one in every if series_ids & {row["series_id"] for row in one.members}])


def _by_place(every: Sequence[Meant], subject: Subject, place_of: Callable[[str], str]) -> tuple[Meant, ...]:
    """By the frame of reference of the first image of each input set."""
    if not subject.frames_of_reference:
        return ()
    return _one_each([one for one in every if place_of(one.members[0]["path"]) in subject.frames_of_reference])


def _one_each(found: Sequence[Meant]) -> tuple[Meant, ...]:
    networks = [one.network for one in found]
    for network in networks:
        if networks.count(network) > 1:
            raise _which(network)
    return tuple(found)


def _which(network: str) -> Refused:
    return Refused(
        "label-which-images",
        f"it may mean several readings of {network}, and names no image that tells which",
    )


def _not_found(subject: Subject, known: _Known) -> Refused | Unavailable:
    if known.is_settling:
        return Unavailable(
            "label-images-settling", "the images of its study are still coming, or are being chosen from"
        )
    if known.is_here:
        return Refused(
            "label-no-network",
            "no network has read the images that it outlines; add a [[route]] that offers them to a network "
            f'(mode = "silent" sends nothing), then `planimeter reprocess {subject.study_uid}`',
        )
    return Unavailable(
        "label-images-missing",
        "the images that it outlines are not here, or no network has read them; it waits for them",
    )


def _must_be_done(database: Database, one: Meant) -> None:
    """A label is compared with what the network said of the same images: not before it has said it."""
    row = one.input_set
    found = [(each["channel"], each["sop_uid"], each["image_identity"] or "", each["frames"]) for each in one.members]
    changed = series.members_hash(found) != row["members_hash"]
    if row["study_state"] in ("open", "held") or changed:
        why = (
            row["held_because"]
            if row["study_state"] == "held"
            else "images of its study came, and were not chosen from"
        )
        raise Unavailable("label-images-settling", f"{why}; it waits until that is settled")
    with database.read() as tx:
        if job_orders.is_open(tx, JobKind.CHOOSE, row["study_uid"]):
            raise Unavailable("label-images-settling", "what the networks read of its study is being chosen")
        if job_orders.is_open(tx, JobKind.SEGMENT, str(row["id"])):
            raise Unavailable("label-draft-pending", f"{one.network} has not read these images yet; it waits for that")


def _of_their_patient(database: Database, one: Meant, source: Row) -> None:
    """The object is of the patient of the images, by PatientID, and by issuer where both name one.

    Raises:
        Refused: `ambiguous-patient`, `label-other-patient`.
    """
    if len({row["patient_id"] for row in one.members}) > 1:
        raise Refused("ambiguous-patient", "the images that it outlines name different patients")
    with database.read() as tx:
        theirs = label_images.patient(tx, one.patient_id)
    same_row = source["patient_id"] in (theirs["id"], theirs["alias_of"]) or source["alias_of"] == theirs["id"]
    issuers = {normalised_issuer(row["issuer"]) for row in (source, theirs)} - {""}
    same_name = normalised(source["patient"]) == normalised(theirs["patient_id"]) and len(issuers) < 2
    if not (same_row or same_name):
        raise Refused("label-other-patient", "its PatientID is not that of the images that it outlines")
