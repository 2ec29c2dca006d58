"""Data sets: frozen for ever, known by the hash of what is in them, and made again from what the manifest says.

Training sets hold the labels of the train and the validation bucket, test sets those of the test bucket; no label is in
both kinds, and no person who was ever trained on is tested on.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from db import data_sets, link
from db import people as persons
from db.data_sets import Member
from db.database import Row
from models.card import Input

from ..errors import Refused, Unavailable
from . import cases
from .buckets import TEST, TRAIN, VALIDATION
from .cases import Wanted
from .people import quarantines
from .plan import ROLES, TRAINING, LeftOut, Plan, plan

__all__ = [
    "TRAINING",
    "Frozen",
    "LeftOut",
    "Plan",
    "TrainingCases",
    "freeze",
    "paths_for_evaluation",
    "paths_for_training",
    "patients",
    "plan",
]


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A data set."""

    data_set_id: int
    number: int
    sha256: str
    is_new: bool
    manifest: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TrainingCases:
    """The folders that a training process is given."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...]


# ------------------------------------------------------------------ freezing


def freeze(
    tx: Any,
    home: Path,
    network: str,
    purpose: str,
    inputs: Sequence[Input],
    *,
    required: Collection[int] = (),
    lost: Mapping[int, str] | None = None,
) -> Frozen:
    """Write down for ever which labels a training or a test has. The same labels are the same data set.

    Nobody's bucket changes meanwhile. A test set may be empty; a training set has somebody to train on.

    Args:
        lost: label -> why its case cannot be made: an image is gone, or names the patient.

    Raises:
        Unavailable: `cases-not-made`: labels came that `Plan.unbuilt` had not named yet.
        Refused: `empty-data-set`.
    """
    link.take_time(tx)  # the folders of all cases are looked at
    persons.lock(tx)
    now = plan(tx, network, purpose, inputs, required=required)
    lost = lost or {}
    missing = [one for one in now.unbuilt(home) if one.label_id not in lost]
    if missing:
        raise Unavailable("cases-not-made", f"{len(missing)} labels of {network} are still to be made into cases")
    without = {one.label_id for one in now.unbuilt(home)}
    chosen = sorted((one for one in now.wanted if one.label_id not in without), key=lambda one: one.name)
    left_out = [*now.left_out, *(LeftOut(label, lost[label]) for label in sorted(without))]
    if purpose == TRAINING and not any(one.bucket == TRAIN for one in chosen):
        raise Refused("empty-data-set", f"{network} has no label of a patient in the train bucket that can be used")
    sha256 = _sha256(chosen)
    manifest = _manifest(home, now, chosen, left_out, sha256)
    members = [Member(one.label_id, one.person, one.bucket) for one in chosen]
    made, is_new = data_sets.record(tx, network, purpose, sha256, manifest, members)
    row = data_sets.find(tx, made)
    assert row is not None
    return Frozen(data_set_id=made, number=row["number"], sha256=sha256, is_new=is_new, manifest=row["manifest"])


def _sha256(chosen: Sequence[Wanted]) -> str:
    """Of mask, images, role, classes, pseudonym and reading of every label, whatever their order."""
    said = sorted(
        [one.mask_sha256, one.members_hash, one.bucket, list(one.annotated), one.patient, one.reading] for one in chosen
    )
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _manifest(
    home: Path, now: Plan, chosen: Sequence[Wanted], left_out: Sequence[LeftOut], sha256: str
) -> dict[str, Any]:
    listed = []
    for one in chosen:
        folder = cases.root(home, one.bucket) / one.name
        listed.append(
            {"case": one.name, **asdict(one), "groups": cases.described(folder).groups, **cases.content(folder)}
        )
    per_role = {
        role: {
            "patients": sorted({one.patient for one in chosen if one.bucket == role}),
            "labels": sum(one.bucket == role for one in chosen),
        }
        for role in ROLES[now.purpose]
    }
    kinds = sorted({kind for one in listed for kind in one["groups"]})
    return {
        "network": now.network,
        "purpose": now.purpose,
        "sha256": sha256,
        "roles": per_role,
        "classes": {
            "annotated": _counted(value for one in chosen for value in one.annotated),
            "present": _counted(value for one in listed for value in one["voxels"]),
        },
        "groups": {kind: _counted(one["groups"][kind] for one in listed) for kind in kinds},
        "cases": listed,
        "left_out": [asdict(one) for one in left_out],
    }


def _counted(found: Iterable[Any]) -> dict[str, int]:
    return {str(what): count for what, count in sorted(Counter(found).items())}


# ------------------------------------------------------------------- reading


def paths_for_training(tx: Any, home: Path, data_set_id: int) -> TrainingCases:
    """The folders of a training set. It can give none of a locked patient: every folder is asked three times.

    Raises:
        Refused: `locked-patient`: the set is for tests, has such a member, or a person of it is locked now;
            `bad-case`.
        Unavailable: `cases-not-made`: a folder is not there and is to be made again (`sources.rebuild`).
    """
    link.take_time(tx)
    row = _find(tx, data_set_id)
    if row["purpose"] != TRAINING:
        raise Refused("locked-patient", f"data set {data_set_id} is for tests; nothing is trained on it")
    listed = {one["label_id"]: one for one in row["manifest"]["cases"]}
    found: dict[str, list[Path]] = {TRAIN: [], VALIDATION: []}
    for member in data_sets.members(tx, data_set_id):
        one = listed[member["label_id"]]
        if TEST in (member["role"], member["bucket"], one["bucket"]):
            raise Refused("locked-patient", f"label {member['label_id']} is of a patient that networks are tested on")
        found[member["role"]].append(_unlocked(home, one))
    return TrainingCases(train=tuple(sorted(found[TRAIN])), validation=tuple(sorted(found[VALIDATION])))


def _unlocked(home: Path, one: Mapping[str, Any]) -> Path:
    folder = _made(cases.root(home, one["bucket"]), one)
    unlocked = (home / "learning" / "cases").resolve()
    if folder.resolve().parent != unlocked:
        raise Refused("locked-patient", f"case {folder.name} does not lie where cases to train on lie")
    assert "locked" not in folder.relative_to(home).parts
    return folder


def paths_for_evaluation(tx: Any, home: Path, data_set_id: int) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The folders of a test set, and a sentence for each label that must not be looked at any more.

    That is one whose patient turned out, since it was frozen, to be somebody who was trained on, or may be.

    Raises:
        Refused: `not-a-test-set`, `bad-case`.
        Unavailable: `cases-not-made`.
    """
    link.take_time(tx)
    row = _find(tx, data_set_id)
    if row["purpose"] != TEST:
        raise Refused("not-a-test-set", f"data set {data_set_id} is for training")
    listed = {one["label_id"]: one for one in row["manifest"]["cases"]}
    kept_out, trained_on = quarantines(tx), data_sets.trained_on(tx)
    found, gone = [], []
    for member in data_sets.members(tx, data_set_id):
        if member["bucket"] != TEST or member["person"] in trained_on:
            gone.append(f"patient p{member['person']} was locked, and is now one that networks are trained on")
        elif member["person"] in kept_out:
            gone.append(kept_out[member["person"]])
        else:
            found.append(_made(cases.root(home, TEST), listed[member["label_id"]]))
    return tuple(sorted(found)), tuple(sorted(set(gone)))


def patients(manifest: Mapping[str, Any]) -> frozenset[str]:
    """The pseudonyms of a data set's persons."""
    return frozenset(one["patient"] for one in manifest["cases"])


def _made(where: Path, one: Mapping[str, Any]) -> Path:
    folder = where / str(one["case"])
    if not folder.is_dir():
        raise Unavailable("cases-not-made", f"case {one['case']} is not there; it is to be made again")
    if cases.described(folder).patient != one["patient"]:
        raise Refused("bad-case", f"case {one['case']} is of another patient than the data set says")
    return folder


def _find(tx: Any, data_set_id: int) -> Row:
    row = data_sets.find(tx, data_set_id)
    if row is None:
        raise Refused("no-such-data-set", f"there is no data set {data_set_id}")
    return row
