"""Labels as NIfTI files, for other tools: the image that was outlined, and the mask on its grid.

The files name the patient, as those who ask for them expect; they are written where the person says, and nowhere else.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from db import input_sets, label_images, labels
from db.database import Database, Row
from models.card import Bundle

from ..errors import NodeError
from ..learning import masks
from ..networks import Networks
from ..study.channels import Channels

Read = Callable[[Bundle, int, Sequence[Row]], Channels]
"""the channels of an input set, by its row and its members (`prediction.read`)"""
#: LPS, as DICOM has it, to RAS, as NIfTI has it
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LONGEST_NAME = 64


def export(
    database: Database,
    networks: Networks,
    home: Path,
    read: Read,
    to: Path,
    told: Callable[[str], None] = lambda _study_uid: None,
) -> int:
    """Write image and mask of every label that is learnt from, with a progress bar; the exit status.

    `<PatientID>_<network>_<label>_image.nii.gz`, `..._mask.nii.gz`, and `..._<channel>_image.nii.gz` for the second
    channel and further ones. A file that is there already is left as it is, and counted.

    Args:
        home: below which the masks lie.
        read: what a network reads.
        to: a folder; made where it is not there.
        told: is called with the Study Instance UID of each, for the audit trail.
    """
    with database.read() as tx:
        rows = [row for network in networks.names() for row in labels.usable(tx, network)]
    to.mkdir(parents=True, exist_ok=True)
    written, there, failed = 0, 0, []
    console = Console(stderr=True)
    with Progress(console=console, transient=not console.is_terminal) as progress:
        for row in progress.track(rows, description="exporting"):
            try:
                files = _export(database, networks, home, read, to, row)
                if any(files):
                    with database.read() as tx:
                        study_uid = input_sets.find(tx, row["input_set_id"])["study_uid"]
                    told(study_uid)
            except NodeError as error:
                failed.append((row["id"], error.sentence))
                continue
            written, there = written + sum(files), there + len(files) - sum(files)
    left = f"; {there} were there already and were left as they are" if there else ""
    sys.stdout.write(f"{len(rows) - len(failed)} labels, {written} files written to {to}{left}\n")
    for label_id, sentence in failed:
        sys.stdout.write(f"  label {label_id} could not be exported: {sentence}\n")
    return 1 if failed else 0


def _export(database: Database, networks: Networks, home: Path, read: Read, to: Path, row: Row) -> list[bool]:
    """The files of one label: of each whether it was written."""
    _, bundle = networks.known(row["network"])
    with database.read() as tx:
        members = input_sets.members(tx, row["input_set_id"])
        patient = label_images.patient(tx, row["patient_id"])
    built = read(bundle, row["input_set_id"], members)
    try:
        affine = built.first.geometry.affine
        name = f"{cleaned(patient['patient_id'])}_{cleaned(row['network'])}_{row['id']}"
        done = [write(to / f"{name}_mask.nii.gz", masks.read(home, row["mask_path"]), affine)]
        for n, (rule, array) in enumerate(zip(bundle.card.input, built.arrays, strict=True)):
            channel = f"_{cleaned(rule.channel)}" if n else ""
            done.append(write(to / f"{name}{channel}_image.nii.gz", array.array, affine))
    finally:
        built.close()
    return done


def cleaned(text: str) -> str:
    """A text as a part of a file's name: nothing that leads out of the folder, and nothing that hides the file."""
    return re.sub(r"[^\w.-]+", "-", text).strip(".-_")[:LONGEST_NAME] or "unnamed"


def write(file: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> bool:
    """Write (slices, rows, columns), or (slices, rows, columns, 3), unless the file is there; it appears whole."""
    if file.exists():
        return False
    turned = np.moveaxis(array, (0, 1, 2), (2, 1, 0))
    image = nibabel.Nifti1Image(turned, TO_RAS @ affine)
    image.header.set_xyzt_units("mm")
    beside = file.with_name(f".{secrets.token_hex(8)}.nii.gz")
    try:
        nibabel.save(image, beside)
        beside.rename(file)
    finally:
        beside.unlink(missing_ok=True)
    return True
