"""From what is stored to case folders, the first time and again: the same bytes, or what is gone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from db import input_sets
from db.database import Database, Row
from models.card import Input

from ..errors import Refused
from ..study import series
from ..study.archive import Archive
from ..study.channels import Channels
from . import cases, masks
from .buckets import Key
from .cases import Wanted

Read = Callable[[Sequence[Row]], Channels]
"""members of an input set, as `db.input_sets.members` gives them -> the channels on one grid"""


def make(
    database: Database, archive: Archive, key: Key, wanted: Wanted, inputs: Sequence[Input], read: Read, root: Path
) -> Path:
    """Make a case out of the stored images and the mask of its label, unless it is there.

    Args:
        inputs: of the network's card.
        read: makes the volumes.
        root: `cases.root(home, bucket)`.

    Raises:
        Refused: `source-gone`: an image or the mask is not there any more, or not as it was; `other-reading`; what
            `read` and `cases.materialise` refuse.
    """
    if (root / wanted.name).is_dir():
        return root / wanted.name
    if cases.reading(inputs) != wanted.reading:
        raise Refused("other-reading", f"the card of {wanted.network} reads its channels otherwise now")
    members = _members(database, archive, wanted)
    mask = archive.at(wanted.mask_path)
    if not mask.is_file():
        raise Refused("source-gone", f"the mask of label {wanted.label_id} is gone")
    if hashlib.sha256(mask.read_bytes()).hexdigest() != wanted.mask_sha256:
        raise Refused("source-gone", f"the mask of label {wanted.label_id} is not the one that was kept")
    built = read(members)
    try:
        return cases.materialise(wanted, built, masks.read(archive.home, wanted.mask_path), key, root, inputs)
    finally:
        built.close()


def _members(database: Database, archive: Archive, wanted: Wanted) -> Sequence[Row]:
    with database.read() as tx:
        members = input_sets.members(tx, wanted.input_set_id)
    gone = [row["sop_uid"] for row in members if not archive.at(row["path"]).is_file()]
    if gone:
        more = f" and {len(gone) - 1} more of its images are gone" if gone[1:] else " is gone"
        raise Refused("source-gone", f"image {gone[0]} of label {wanted.label_id}{more}")
    found = [(row["channel"], row["sop_uid"], row["image_identity"] or "", row["frames"]) for row in members]
    if series.members_hash(found) != wanted.members_hash:
        raise Refused(
            "source-gone", f"images of label {wanted.label_id} came again, and are others than those outlined"
        )
    return members


def rebuild(
    database: Database,
    archive: Archive,
    key: Key,
    manifest: Mapping[str, Any],
    inputs: Sequence[Input],
    read: Read,
    folder: Path,
) -> tuple[str, ...]:
    """Make all cases of a data set again, below an empty folder, and compare them with those that were frozen.

    Args:
        manifest: of the data set.

    Returns:
        A sentence for each case that is not bit-equal, and why; none where all are.
    """
    wrong = []
    for one in manifest["cases"]:
        wanted = wanted_of(one)
        try:
            made = make(database, archive, key, wanted, inputs, read, cases.root(folder, wanted.bucket))
        except Refused as refusal:
            wrong.append(f"case {wanted.name}: {refusal.sentence}")
            continue
        if cases.content(made)["sha256"] != one["sha256"]:
            wrong.append(f"case {wanted.name} has other bytes than were frozen")
    return tuple(wrong)


def wanted_of(one: Mapping[str, Any]) -> Wanted:
    """A case of a manifest."""
    said = {name: one[name] for name in Wanted.__dataclass_fields__}
    return Wanted(**{**said, "annotated": tuple(one["annotated"])})
