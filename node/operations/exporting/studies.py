"""Studies with their results and labels, de-identified (PS3.15 Annex E), each object proven before it leaves."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from rich.progress import Progress

from db import exports, people
from db import studies as rows
from db.database import Database

from ...deidentify import leaving
from ...deidentify.identifiers import Identifiers
from ...deidentify.instance import Person, Profile, deidentified, written
from ...deidentify.options import Option, dates_are
from ...deidentify.proof import Proof
from ...errors import Refused
from ...learning.buckets import Key
from ...objects.characters import UNREADABLE_ELEMENT, texts
from .folder import Kept, Made, made, publish

UNREADABLE = (*UNREADABLE_ELEMENT, InvalidDicomError, EOFError, RecursionError)
UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
FACE = "slices of a head: a face can be made of them, and nothing was taken away"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to leave, and how.

    Attributes:
        study_uids: those that were named.
        networks: whose results leave too; empty: of all.
        results: whether any do.
        with_burned_in: a person answers for the pixels.
    """

    study_uids: Sequence[str]
    profile: Profile
    networks: Collection[str] = ()
    results: bool = True
    with_burned_in: bool = False


@dataclass
class _Patient:
    """Somebody whose studies leave.

    Attributes:
        pseudonym: how the record names the person.
        objects: SOP Instance UID and file, below the home folder.
    """

    pseudonym: str
    identifiers: Identifiers = field(default_factory=Identifiers)
    objects: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def export(
    database: Database, home: Path, key: Key, wish: Wish, to: Path, who: str, progress: Progress | None = None
) -> Made:
    """Export studies into a folder that is not there yet; what left and what stayed.

    Args:
        key: that names patients in the record.

    Raises:
        Refused: `no-such-study`, `study-held`, `study-not-settled`, `export-exists`,
            `nothing-to-export`.
    """
    patients = _patients(database, key, wish)
    shown = progress or Progress(disable=True)
    with made(to) as export:
        count = sum(len(one.objects) for one in patients)
        reading = shown.add_task("looking for identifiers", total=count)
        writing = shown.add_task("exporting", total=count)
        for one in patients:
            for _, path in one.objects:
                _gather(one, home / path, wish.profile)
                shown.advance(reading)
            _export(export, home, one, wish, lambda: shown.advance(writing))
        said = {
            "options": sorted(wish.profile.options),
            "key": wish.profile.keys.name,
            "dates": dates_are(wish.profile.options),
            "with_burned_in": wish.with_burned_in,
            "studies": len(wish.study_uids),
        }
        publish(export, to, database, who, "studies", said)
    return export


def _patients(database: Database, key: Key, wish: Wish) -> list[_Patient]:
    found: dict[str, _Patient] = {}
    with database.read() as tx:
        for uid in dict.fromkeys(wish.study_uids):
            row = rows.find(tx, uid)
            if row is None:
                raise Refused("no-such-study", f"there is no study {uid}")
            if row["state"] == "held":
                raise Refused("study-held", f"study {uid} is held: {row['held_because']}; a person has to release it")
            if row["state"] != "closed":
                raise Refused("study-not-settled", f"study {uid} is still coming in; `planimeter close` ends that")
            person = people.find(tx, row["patient_id"])
            assert person is not None
            pseudonym = person["pseudonym"] or key.pseudonym(person["issuer"], person["patient_id"])
            one = found.setdefault(pseudonym, _Patient(pseudonym))
            for alias in people.rows_of(tx, [person["id"]]):
                one.identifiers.note(people.row(tx, alias)["patient_id"], "PatientID")
            listed = exports.objects(tx, row["id"])
            one.gone += [each["sop_uid"] for each in listed if each["purged"] is not None]
            one.objects += [(each["sop_uid"], each["path"]) for each in listed if each["purged"] is None]
            if wish.results:
                made_of_it = exports.results(tx, row["id"], wish.networks)
                one.objects += [(each["sop_uid"], each["path"]) for each in made_of_it]
    return list(found.values())


def _gather(one: _Patient, file: Path, profile: Profile) -> None:
    """The identifiers of an object; one that cannot be read is refused when it is to be written."""
    try:
        ds = dcmread(file, stop_before_pixels=True)
        one.identifiers.gather(ds, profile.options)
    except UNREADABLE:
        return


def _export(export: Made, home: Path, one: _Patient, wish: Wish, step: Any) -> None:
    profile = wish.profile
    person = profile.person(one.pseudonym, one.identifiers)
    proof = Proof(one.identifiers)
    for uid in one.gone:
        export.kept.append(Kept(_new_uid(profile, uid), "images-purged", "it is not kept any more (retention)"))
    for uid, path in one.objects:
        try:
            _leave(export, home / path, person, proof, wish)
            export.patients.add(one.pseudonym)
        except Refused as refusal:
            export.kept.append(Kept(_new_uid(profile, uid), refusal.code, refusal.sentence))
        step()


def _leave(export: Made, file: Path, person: Person, proof: Proof, wish: Wish) -> None:
    try:
        ds = dcmread(file)
        leaving.require(ds, wish.profile.options, with_burned_in=wish.with_burned_in)
        face, study_uid = leaving.shows_face(ds), next(iter(texts(ds, "StudyInstanceUID")), "")
        ds = deidentified(ds, wish.profile, person)
    except UNREADABLE as error:
        raise Refused("unreadable-object", f"it cannot be read ({type(error).__name__})") from None
    data = written(ds)
    require_proven(proof, data)
    export.studies.add(study_uid)
    if face:
        export.notes.append(FACE)
    export.write(_path(ds, person), data, **_said(ds, person), note=FACE if face else "")


def require_proven(proof: Proof, data: bytes) -> None:
    """The bytes name nobody.

    Raises:
        Refused: `identifier-left`: says of what kind it is and where, never what.
    """
    if leaks := proof.leaks(data):
        said = "; ".join(f"{leak.kind} in {leak.where}" for leak in leaks[:5])
        raise Refused("identifier-left", f"an original identifier is still in it: {said}")


def _path(ds: Dataset, person: Person) -> str:
    uids = [_uid(ds, f"{level}InstanceUID") for level in ("Study", "Series", "SOP")]
    return f"{'/'.join([person.pseudonym, *uids])}.dcm"


def _uid(ds: Dataset, keyword: str) -> str:
    """As a name of a file or a folder: of a peer it may be anything.

    Raises:
        Refused: `uid-illegal`.
    """
    said = next(iter(texts(ds, keyword)), "")
    if len(said) > 64 or not UID.fullmatch(said):
        raise Refused("uid-illegal", f"{keyword} is no UID")
    return said


def _said(ds: Dataset, person: Person) -> dict[str, str]:
    keywords = ("Modality", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return {"patient": person.pseudonym, **{word: next(iter(texts(ds, word)), "") for word in keywords}}


def _new_uid(profile: Profile, uid: str) -> str:
    return uid if Option.RETAIN_UIDS in profile.options else profile.keys.uid(uid)


def sentences(export: Made) -> Iterable[str]:
    """For the person who exports."""
    yield f"{len(export.files)} files of {len(export.patients)} patients, export {export.name}"
    for code, count in export.refused.items():
        example = next(one.sentence for one in export.kept if one.code == code)
        yield f"  {count} stayed here, {code}: {example}"
    yield from (f"  note: {note}" for note in sorted(set(export.notes)))
