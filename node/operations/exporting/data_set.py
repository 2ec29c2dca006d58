"""The images and labels that a network is trained on, as NIfTI in the layout that MONAI's decathlon loader reads.

    imagesTr/P0123_1_0000.nii.gz    a file per channel
    labelsTr/P0123_1.nii.gz
    dataset.json                    "training", "validation", "test": lists of cases

Cases hold no identifier to begin with (`node.learning.cases`); names of patients are mapped once more, by the key of
the export, and every file is searched for the PatientIDs of the patients in it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel import load
from nibabel.nifti1 import Nifti1Header

from db import data_sets, people
from db.database import Database, Row
from models.card import Card

from ...deidentify.identifiers import Identifiers
from ...deidentify.keys import Keys
from ...deidentify.proof import Proof
from ...errors import Refused
from ...learning import cases, data_set
from ...learning.buckets import TEST, TRAIN, VALIDATION
from ...learning.plan import TRAINING
from ..nifti import write
from .folder import Kept, Made, made, publish

logger = logging.getLogger(__name__)

#: bucket -> folder suffix and list, as MONAI has them
PLACES = {TRAIN: ("Tr", "training"), VALIDATION: ("Tr", "validation"), TEST: ("Ts", "test")}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to leave.

    Attributes:
        card: of the network, for the names of channels and of label values.
        number: of the training set; none: the newest.
        with_test: also the locked patients of the newest test set. Whoever trains on them cannot be judged on them.
    """

    network: str
    card: Card
    keys: Keys
    number: str = ""
    with_test: bool = False


def export(database: Database, home: Path, wish: Wish, to: Path, who: str) -> Made:
    """Export a data set into a folder that is not there yet; what left and what stayed.

    Raises:
        Refused: `no-such-data-set`, `export-exists`, `nothing-to-export`, `identifier-left`; as
            `data_set.paths_for_training`.
        Unavailable: `cases-not-made`.
    """
    network, keys = wish.network, wish.keys
    with database.read() as tx:
        chosen = [_find(tx, network, TRAINING, wish.number)]
        if wish.with_test:
            chosen.append(_find(tx, network, TEST, ""))
        folders = {bucket: found for row in chosen for bucket, found in _folders(tx, home, row).items()}
        proof = Proof(_identifiers(tx, chosen))
    with made(to) as export:
        lists: dict[str, list[dict[str, Any]]] = defaultdict(list)
        numbers: Counter[str] = Counter()
        for bucket, paths in folders.items():
            for folder in paths:
                try:
                    lists[PLACES[bucket][1]].append(_case(export, folder, bucket, keys, numbers))
                except Refused as refusal:
                    export.kept.append(_kept(folder.name, refusal, keys))
        about = _about(wish.card, lists, keys)
        (export.root / "dataset.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        _require_proven(proof, export)
        said = {"options": [], "key": keys.name, "data_sets": [f"{row['purpose']} {row['number']}" for row in chosen]}
        publish(export, to, database, who, network, said)
    return export


def _find(tx: Any, network: str, purpose: str, number: str) -> Row:
    rows = [row for row in data_sets.listing(tx, network, purpose) if not number or str(row["number"]) == number]
    if not rows:
        raise Refused("no-such-data-set", f"{network} has no data set {number or 'yet'} for {purpose}")
    return rows[-1]


def _folders(tx: Any, home: Path, row: Row) -> dict[str, Sequence[Path]]:
    if row["purpose"] == TRAINING:
        found = data_set.paths_for_training(tx, home, row["id"])
        return {TRAIN: found.train, VALIDATION: found.validation}
    return {TEST: data_set.paths_for_evaluation(tx, home, row["id"])[0]}


def _identifiers(tx: Any, chosen: Sequence[Row]) -> Identifiers:
    found = Identifiers()
    for row in chosen:
        for member in data_sets.members(tx, row["id"]):
            for patient_id in people.rows_of(tx, [member["person"]]):
                found.note(people.row(tx, patient_id)["patient_id"], "PatientID")
    return found


def _case(export: Made, folder: Path, bucket: str, keys: Keys, numbers: Counter[str]) -> dict[str, Any]:
    case = cases.read(folder)
    patient = keys.pseudonym(case.patient)
    numbers[patient] += 1
    name, suffix = f"{patient}_{numbers[patient]}", PLACES[bucket][0]
    images = [f"images{suffix}/{name}_{n:04d}.nii.gz" for n in range(len(case.channels))]
    label = f"labels{suffix}/{name}.nii.gz"
    for path, array in (*zip(images, case.channels, strict=True), (label, case.label)):
        file = export.root / path
        file.parent.mkdir(exist_ok=True, mode=0o700)
        write(file, np.asarray(array), case.affine)
        export.note(path, patient=patient, bucket=bucket)
    export.patients.add(case.patient)
    image = images if len(images) > 1 else images[0]
    return {"image": image, "label": label, "patient": patient, "annotated": list(case.annotated)}


def _kept(name: str, refusal: Refused, keys: Keys) -> Kept:
    """A case that stays, by a name of this export: by its own, exports with other keys could be joined."""
    there = keys.uid(name)
    logger.warning("case %s stays here: %s; the export calls it %s", name, refusal.code, there)
    return Kept(there, refusal.code, refusal.sentence.replace(name, there))


def _about(card: Card, lists: dict[str, list[dict[str, Any]]], keys: Keys) -> dict[str, Any]:
    return {
        "name": card.name,
        "description": "de-identified by Planimeter; research use",
        "key": keys.name,
        "tensorImageSize": "3D",
        "modality": {str(n): one.channel for n, one in enumerate(card.input)},
        "labels": {"0": "background", **{str(one.value): one.label for one in card.segment}},
        **{f"num{name.capitalize()}": len(found) for name, found in lists.items()},
        **lists,
    }


def _require_proven(proof: Proof, export: Made) -> None:
    """Nothing but voxels is compressed: names of files, their headers and dataset.json are searched.

    Raises:
        Refused: `identifier-left`.
    """
    said = [(export.root / "dataset.json").read_bytes(), "\n".join(one["file"] for one in export.files).encode()]
    for one in export.files:
        header = load(export.root / one["file"]).header
        assert isinstance(header, Nifti1Header)
        said.append(header.binaryblock + b"".join(each.get_content() for each in header.extensions))
    if any(proof.found(data) for data in said):
        raise Refused("identifier-left", "the PatientID of a patient is in the name or the header of a file")


def sentences(export: Made) -> Iterable[str]:
    """For the person who exports."""
    yield f"{len(export.files)} files of {len(export.patients)} patients, export {export.name}"
    yield from (f"  case {one.uid} stayed here, {one.code}: {one.sentence}" for one in export.kept)
