"""The masks of labels on disk: named by what they hold, so that one that is made again is the same file."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import membership
from models.card import Card

from . import durable

FOLDER, SHADOWS = "labels", "shadows"


@dataclass(frozen=True)
class Kept:
    """A mask on disk.

    Attributes:
        path: relative to the home folder.
        sha256: of the file.
    """

    path: str
    sha256: str


def keep(home: Path, mask: NDArray[np.uint8], of: str = FOLDER) -> Kept:
    """Write a mask, durably, unless it is there: it appears under its name whole, or not at all.

    Args:
        mask: uint8 (slices, rows, columns).
        of: the folder of the home folder where masks of this kind lie.
    """
    data = BytesIO()
    np.save(data, np.ascontiguousarray(mask), allow_pickle=False)
    sha256 = hashlib.sha256(data.getbuffer()).hexdigest()
    folder = home / of / sha256[:2]
    target = folder / f"{sha256}.npy"
    try:
        os.utime(target)  # whoever sweeps leaves it alone
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = home / "spool" / f"{secrets.token_hex(16)}.npy"  # swept, should this process die here
        durable.write(beside, data.getvalue())
        beside.rename(target)
        for made in (folder, folder.parent, home):
            durable.sync_folder(made)
    return Kept(target.relative_to(home).as_posix(), sha256)


def sweep(home: Path, wanted: Collection[str], before: float) -> int:
    """Remove the masks that nothing refers to; how many there were.

    One that is kept anew at this very moment stays: it is put aside, looked at once more, and put back.

    Args:
        wanted: paths below the home folder.
        before: seconds since 1970; one that was kept since then may get its row in a moment.
    """
    removed = 0
    for file in (file for of in (FOLDER, SHADOWS) for file in (home / of).glob("??/*.npy")):
        if file.relative_to(home).as_posix() in wanted or file.stat().st_mtime >= before:
            continue
        aside = home / "spool" / f"{secrets.token_hex(16)}.npy"
        file.rename(aside)
        if aside.stat().st_mtime >= before:
            aside.rename(file)
        else:
            aside.unlink()
            removed += 1
    return removed


def read(home: Path, path: str) -> NDArray[np.uint8]:
    """A mask as it was kept."""
    mask: NDArray[np.uint8] = np.load(home / path, allow_pickle=False)
    return mask


def complete(
    mask: NDArray[np.uint8],
    annotated: Collection[int],
    older: NDArray[np.uint8],
    older_annotated: Sequence[int],
    card: Card,
) -> dict[int, int]:
    """Put into a mask what an older one annotates and it does not; where both have a voxel, its class stays.

    Where classes may share voxels, the newer ones stay as they are, and of the older ones only what contradicts them
    changes: where a core grew beyond its tumour the tumour grows with it.

    Args:
        mask: uint8 (slices, rows, columns), changed in place.
        annotated: its label values.
        older, older_annotated: the same of the older mask, on the same grid.

    Returns:
        Label value -> voxels that were put in.
    """
    if membership.has_unions(card):
        return _complete_unions(mask, annotated, older, older_annotated, card)
    added = {}
    for value in older_annotated:
        if value not in annotated:
            taken = (older == value) & (mask == 0)
            mask[taken] = value
            added[value] = int(np.count_nonzero(taken))
    return added


def _complete_unions(
    mask: NDArray[np.uint8],
    annotated: Collection[int],
    older: NDArray[np.uint8],
    older_annotated: Sequence[int],
    card: Card,
) -> dict[int, int]:
    parts = membership.parts(card)
    new = [value for value in older_annotated if value not in annotated and value in parts]
    found = {value: membership.inside(mask, parts[value]) for value in annotated}
    found |= {value: membership.inside(older, parts[value]) for value in new}
    mask[...], _ = membership.united(found, card, firm=annotated)
    return {value: int(np.count_nonzero(membership.inside(mask, parts[value]))) for value in new}
