"""Persons: each gets a bucket once, and whoever may be two of them is kept out until somebody decides.

Labels of people who may be one person and lie in different buckets are not used: the network would be tested on whom it
was trained on. That holds for everyone who hangs together by open suspicions, through others too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db import data_sets, events
from db import people as rows
from db.database import Row

from ..errors import Refused
from .buckets import TEST, TRAIN, VALIDATION, Key, Shares, bucket, is_nobody, normalised_issuer
from .traits import Traits, traits

__all__ = ["Enrolled", "Merged", "Traits", "apart", "enrol", "merge", "quarantined", "quarantines", "traits"]

#: kinds of traits, for people
WORDS = {
    "patient_id": "PatientID",
    "name": "name, birth date and sex",
    "study": "study",
    "frame_of_reference": "frame of reference",
    "pixels": "images",
}


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """A person, as far as learning is concerned.

    Attributes:
        bucket: train, validation or test.
        pseudonym: names the person in data sets.
        patient_row_id: of the person, aliases followed.
        suspects: persons who may be this one, and about whom nobody has decided.
    """

    bucket: str
    pseudonym: str
    patient_row_id: int
    suspects: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What two persons are as one.

    Attributes:
        patient_row_id, bucket, pseudonym: of the person; the latter None where neither had any.
        trained_on: whether a data set had labels of either for training or validation.
        tested_on: test data sets (network and number) that had either.
        pseudonyms: that either had, so that what lies on disk under them is found.
    """

    patient_row_id: int
    bucket: str | None
    pseudonym: str | None
    trained_on: bool
    tested_on: tuple[str, ...]
    pseudonyms: frozenset[str]


def enrol(tx: Any, key: Key, shares: Shares, patient_row_id: int, found: Traits) -> Enrolled:
    """Give the person of a row of patients a bucket, unless it has one, and compare it with all others.

    The bucket is that of the keyed hash of issuer and normalised PatientID; a row that spells the identity of another
    one gets what that one has, whatever the key says by now.

    Args:
        patient_row_id: the row; an alias is followed.
        found: of the images and the object that came.

    Raises:
        Refused: `no-patient-id`.
    """
    rows.lock(tx)
    row = rows.row(tx, patient_row_id)
    if is_nobody(row["patient_id"]):
        raise Refused(
            "no-patient-id",
            "its PatientID names nobody, so it cannot be told whether this person is among those that networks are "
            "tested on",
        )
    _rehash(tx, key)
    mine = found.kept(key, row["patient_id"])
    rows.note_traits(tx, ((patient_row_id, kind, value) for kind, value in mine))
    sharing = rows.sharing(tx, patient_row_id)
    person = rows.find(tx, patient_row_id)
    assert person is not None
    if person["bucket"] is None:
        person = _assign(tx, key, shares, person, sharing)
    for other, kinds in sharing.items():
        rows.suspect(tx, patient_row_id, other, kinds)
    return Enrolled(
        bucket=person["bucket"],
        pseudonym=person["pseudonym"],
        patient_row_id=person["id"],
        suspects=tuple(sorted(_pairs(rows.suspicions(tx)).get(person["id"], {}))),
    )


def _assign(tx: Any, key: Key, shares: Shares, person: Row, sharing: dict[int, set[str]]) -> Row:
    """The first answer stays: of another row with this identity, else of the hash."""
    issuer = normalised_issuer(person["issuer"])
    spellings = [rows.row(tx, other) for other in sorted(sharing) if "patient_id" in sharing[other]]
    same = [one for one in spellings if normalised_issuer(one["issuer"]) == issuer and one["bucket"]]
    pseudonym = same[0]["pseudonym"] if same else key.pseudonym(person["issuer"], person["patient_id"])
    rows.assign(tx, person["id"], same[0]["bucket"] if same else bucket(pseudonym, shares), pseudonym)
    return rows.row(tx, person["id"])


def _rehash(tx: Any, key: Key) -> None:
    """After the key was lost or changed: what stands in our own rows is compared by the new one from now on.

    Names, frames of reference and pixels are compared again once the patient's images or labels come again.
    """
    stale = rows.of_other_keys(tx, key.name)
    if not stale:
        return
    studies = rows.study_uids(tx)
    known = {row["id"]: Traits(study_uids=frozenset(studies.get(row["id"], ()))) for row in stale}
    kept = ((row["id"], known[row["id"]].kept(key, row["patient_id"])) for row in stale)
    rows.note_traits(tx, ((one, kind, value) for one, traits_of in kept for kind, value in traits_of))
    for (one, other), kinds in rows.pairs_by(tx, key.name).items():
        rows.suspect(tx, one, other, kinds)


# -------------------------------------------------------------- quarantine


def quarantined(tx: Any, patient_row_id: int) -> str | None:
    """Why the labels of a person are not used for now; None where they are."""
    person = rows.find(tx, patient_row_id)
    return quarantines(tx).get(person["id"]) if person is not None else None


def quarantines(tx: Any) -> dict[int, str]:
    """Person -> why the labels are not used, of all that hang together by open suspicions across buckets."""
    suspicions = rows.suspicions(tx)
    pairs = _pairs(suspicions)
    buckets = {row[f"{side}_person"]: row[f"{side}_bucket"] for row in suspicions for side in ("first", "second")}
    found: dict[int, str] = {}
    for group in _groups(pairs):
        if len({buckets[person] for person in group}) > 1:
            found |= {person: _sentence(person, pairs[person]) for person in group}
    return found


def _pairs(suspicions: Sequence[Row]) -> dict[int, dict[int, set[str]]]:
    """Person -> suspect -> kinds of traits that they share."""
    pairs: dict[int, dict[int, set[str]]] = {}
    for row in suspicions:
        for one, other in ((row["first_person"], row["second_person"]), (row["second_person"], row["first_person"])):
            pairs.setdefault(one, {}).setdefault(other, set()).update(row["because"].split(", "))
    return pairs


def _groups(pairs: dict[int, dict[int, set[str]]]) -> list[set[int]]:
    """Who hangs together."""
    groups: list[set[int]] = []
    left = set(pairs)
    while left:
        group, edge = set[int](), {left.pop()}
        while edge:
            group |= edge
            edge = {other for one in edge for other in pairs[one]} - group
        left -= group
        groups.append(group)
    return groups


def _sentence(person: int, suspects: dict[int, set[str]]) -> str:
    others = ", ".join(f"p{other} ({same_words(kinds)})" for other, kinds in sorted(suspects.items()))
    nearest = min(suspects)
    return (
        f"patient p{person} may be the same person as {others}, and not all of them are in one bucket; "
        f"`planimeter patients merge p{person} p{nearest}` or `planimeter patients apart p{person} p{nearest}` decides"
    )


def same_words(kinds: set[str]) -> str:
    """What two patients share, in words."""
    return "same " + " and ".join(WORDS[kind] for kind in sorted(kinds))


# ---------------------------------------------------------------- decision


def merge(tx: Any, one: int, other: int, who: str) -> Merged:
    """Two persons are one, from now on and for all their rows. The row that came first stands for both.

    The bucket, where they have two: train, where either was ever trained or validated on, because a network that has
    seen the person must not be tested on it; else that of the one that came first.

    Args:
        one, other: rows of patients; aliases are followed.

    Raises:
        Refused: `no-such-patient`, `same-patient`.
    """
    rows.lock(tx)
    older, younger = sorted((_person(tx, one), _person(tx, other)), key=lambda row: int(row["id"]))
    if older["id"] == younger["id"]:
        raise Refused("same-patient", f"p{one} and p{other} are one person already")
    mine = rows.rows_of(tx, [older["id"], younger["id"]])
    trained_on = bool(data_sets.roles_of(tx, mine) & {TRAIN, VALIDATION})
    decided = _safest(older["bucket"], younger["bucket"], trained_on=trained_on)
    pseudonym = older["pseudonym"] or younger["pseudonym"]
    rows.unite(tx, [older["id"], younger["id"]], older["id"])
    rows.assign(tx, older["id"], decided, pseudonym)
    because = rows.decide(tx, mine, mine, "same", who)
    merged = Merged(
        patient_row_id=older["id"],
        bucket=decided,
        pseudonym=pseudonym,
        trained_on=trained_on,
        tested_on=data_sets.tests_with(tx, mine),
        pseudonyms=frozenset({older["pseudonym"], younger["pseudonym"]} - {None}),
    )
    details = {
        "patients": [older["id"], younger["id"]],
        "buckets": [older["bucket"], younger["bucket"]],
        "bucket": decided,
        "because": sorted(because),
        "trained_on": trained_on,
        "tested_on": list(merged.tested_on),
    }
    events.append(tx, who, "patients-merged", f"patient p{older['id']}", details)
    return merged


def apart(tx: Any, one: int, other: int, who: str) -> None:
    """Two persons are two, whatever they share now. Another kind of trait that they share later is asked about anew.

    Raises:
        Refused: `no-such-patient`, `same-patient`, `not-suspected`.
    """
    rows.lock(tx)
    persons = sorted((_person(tx, one)["id"], _person(tx, other)["id"]))
    if persons[0] == persons[1]:
        raise Refused("same-patient", f"p{one} and p{other} were merged, which is not undone: data sets rest on it")
    mine, theirs = (rows.rows_of(tx, [person]) for person in persons)
    because = rows.decide(tx, mine, theirs, "different", who)
    if not because:
        raise Refused("not-suspected", f"nobody suspects that p{one} and p{other} are one person")
    details = {"patients": persons, "because": sorted(because)}
    events.append(tx, who, "patients-apart", f"patient p{persons[0]}", details)


def _person(tx: Any, patient_row_id: int) -> Row:
    person = rows.find(tx, patient_row_id)
    if person is None:
        raise Refused("no-such-patient", f"there is no patient p{patient_row_id}; `planimeter patients list` has them")
    return person


def _safest(older: str | None, younger: str | None, *, trained_on: bool) -> str | None:
    """The bucket of a merged person."""
    if older == younger and not (trained_on and older == TEST):
        return older
    return TRAIN if trained_on else older or younger
