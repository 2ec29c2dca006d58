"""Case folders: what a training or an evaluation reads of one label. Nothing in them names a person, a place or a day.

    <folder>/channel_0.npy ...   float32 (slices, rows, columns), in colour with a last axis of 3; in the card's values
    <folder>/label.npy           uint8 (slices, rows, columns)
    <folder>/case.json           `Description`
    <folder>/facts.json          the SHA-256 of the files above, and the voxels of each label value

Cases of the train and the validation bucket lie in `learning/cases`, those of the test bucket in `learning/locked`
below the home folder: a training process is only given folders of the first kind. A folder appears complete and
durable or not at all; its name follows from all that decides its bytes, so equal labels are one folder.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import Input

from ..errors import Refused
from ..objects.values import value
from ..study.channels import Channels
from .buckets import TEST, TRAIN, VALIDATION, Key
from .durable import fresh, sync_folder, write
from .groups import groups

CASE, FACTS, LABEL = "case.json", "facts.json", "label.npy"
MAKING = ".making-"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A label that is to be a case.

    Attributes:
        label_id, input_set_id: its rows.
        patient: the pseudonym of the person.
        person: the row of the person.
        bucket: of the person.
        members_hash: of the images, `node.study.series.members_hash`.
        mask_path, mask_sha256: of the mask's file, below the home folder.
        annotated: the label values that were looked for.
        reading: hash of how the network reads its channels, `reading`.
    """

    network: str
    label_id: int
    input_set_id: int
    patient: str
    person: int
    bucket: str
    members_hash: str
    mask_path: str
    mask_sha256: str
    annotated: tuple[int, ...]
    reading: str

    @property
    def name(self) -> str:
        """Equal for equal bytes."""
        parts = [self.network, self.reading, self.members_hash, self.mask_sha256, self.patient, sorted(self.annotated)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What case.json says.

    Attributes:
        case: its name.
        patient: the person's pseudonym.
        affine: 4x4, from (column, row, slice) index to patient coordinates in mm (LPS).
        channels: names of the card's inputs, in the order of the files.
        annotated: label values that were looked for; what is not among them is not annotated, not absent.
        groups: "scanner", "site", "spacing", "sex", "age" -> the subgroup.
    """

    case: str
    patient: str
    affine: list[list[float]]
    channels: list[str]
    annotated: list[int]
    groups: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case with its arrays, which are read from disk where they are looked at.

    Attributes:
        name: of its folder.
        patient, annotated, groups: as in `Description`.
        affine: 4x4, from (column, row, slice) index to patient coordinates in mm (LPS).
        channels: float32 (slices, rows, columns) each.
        label: uint8 (slices, rows, columns).
    """

    name: str
    patient: str
    affine: NDArray[np.float64]
    channels: tuple[NDArray[np.float32], ...]
    label: NDArray[np.uint8]
    annotated: tuple[int, ...]
    groups: dict[str, str]


def root(home: Path, bucket: str) -> Path:
    """Where the cases of a bucket lie."""
    return home / "learning" / {TRAIN: "cases", VALIDATION: "cases", TEST: "locked"}[bucket]


def reading(inputs: Sequence[Input]) -> str:
    """The hash of how the channels are read: of what decides the numbers in them."""
    said = [one.model_dump(include={"channel", "kind", "values", "colour", "fill"}) for one in inputs]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------ writing


def materialise(
    wanted: Wanted, built: Channels, mask: NDArray[np.uint8], key: Key, root: Path, inputs: Sequence[Input]
) -> Path:
    """Write a case folder, unless it is there.

    Args:
        built: the channels, on the grid of the first.
        mask: (slices, rows, columns) on that grid.
        key: that the institution is hashed with.
        root: `root(home, bucket)`.
        inputs: the card's, in the order of the channels.

    Returns:
        The folder.

    Raises:
        Refused: `label-grid`: the mask is none or has another grid; `burned-in-annotation`: the pixels may name the
            person.
    """
    folder = root / wanted.name
    if folder.is_dir():
        return folder
    if mask.dtype != np.uint8 or mask.shape != built.first.geometry.shape:
        raise Refused("label-grid", f"a mask of {mask.dtype} {mask.shape} is none of {built.first.geometry.shape}")
    for volume in built.volumes:
        if any(value(header, "BurnedInAnnotation") == "YES" for header in volume.headers):
            raise Refused("burned-in-annotation", "text is burned into its images and may name the patient")
    case = Description(
        case=wanted.name,
        patient=wanted.patient,
        affine=built.first.geometry.affine.tolist(),
        channels=[one.channel for one in inputs],
        annotated=sorted(wanted.annotated),
        groups=groups(built.first, key),
    )
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = root / f"{MAKING}{secrets.token_hex(8)}"
    making.mkdir(mode=0o700)
    try:
        _fill(making, case, [one.array for one in built.arrays], mask)
        _publish(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)  # nothing is there any more where it was published
    return folder


def _fill(folder: Path, case: Description, channels: Sequence[NDArray[Any]], mask: NDArray[np.uint8]) -> None:
    arrays: dict[str, NDArray[Any]] = {f"channel_{n}.npy": np.asarray(one, "<f4") for n, one in enumerate(channels)}
    hashes = {name: _save(folder / name, array) for name, array in {**arrays, LABEL: mask}.items()}
    said = _json(asdict(case))
    write(folder / CASE, said)
    counted = np.bincount(mask.reshape(-1), minlength=256)
    facts = {
        "files": {**hashes, CASE: hashlib.sha256(said).hexdigest()},
        "voxels": {str(label): int(count) for label, count in enumerate(counted) if label and count},
    }
    write(folder / FACTS, _json(facts))
    sync_folder(folder)


def _save(file: Path, array: NDArray[Any]) -> str:
    """Write an array, durably; the SHA-256 of the file."""
    with fresh(file) as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _publish(making: Path, folder: Path) -> None:
    """Give a folder its name; where another process was first, its bytes are the same."""
    try:
        making.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    sync_folder(folder.parent)


def _json(said: Any) -> bytes:
    return (json.dumps(said, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


# ------------------------------------------------------------------ reading


def described(folder: Path) -> Description:
    """What case.json says.

    Raises:
        Refused: `bad-case`; `synthetic-case`: a generator made it, in some training. Nobody is that, so it is no label,
            no patient's to be tested on, and nothing to be given away.
    """
    with _readable(folder):
        said = json.loads((folder / CASE).read_bytes())
        if said.pop("synthetic", False):
            raise Refused("synthetic-case", f"case {folder.name} is made up; only the training that made it uses it")
        return Description(**said)


def read(folder: Path) -> Case:
    """A case with its arrays.

    Raises:
        Refused: `bad-case`.
    """
    said = described(folder)
    with _readable(folder):
        return Case(
            name=said.case,
            patient=said.patient,
            affine=np.array(said.affine, np.float64),
            channels=tuple(_mapped(folder / f"channel_{n}.npy") for n in range(len(said.channels))),
            label=_mapped(folder / LABEL),
            annotated=tuple(said.annotated),
            groups=said.groups,
        )


def content(folder: Path) -> dict[str, Any]:
    """The hash of all files and the voxels of each label value, as facts.json has them: {"sha256", "voxels"}."""
    with _readable(folder):
        data = (folder / FACTS).read_bytes()
        return {"sha256": hashlib.sha256(data).hexdigest(), "voxels": json.loads(data)["voxels"]}


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused("bad-case", f"case {folder.name} cannot be read ({type(error).__name__})") from None


def _mapped(file: Path) -> NDArray[Any]:
    mapped: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    return mapped


def discard(home: Path, bucket: str, patients: Collection[str]) -> int:
    """Remove the cases of persons, by pseudonym, from where those of a bucket lie; how many there were."""
    mine = [folder for folder in _folders(root(home, bucket)) if described(folder).patient in patients]
    for folder in mine:
        gone = folder.with_name(f"{MAKING}{secrets.token_hex(8)}")
        folder.rename(gone)  # first: a folder is there whole, or not
        shutil.rmtree(gone)
    return len(mine)


def sweep(home: Path, before: float) -> int:
    """Remove what processes that were killed left half made or half removed; how many there were.

    Args:
        before: seconds since 1970; nobody is still busy with a folder that was not touched since then.
    """
    made = [folder for bucket in (TRAIN, TEST) for folder in root(home, bucket).glob(f"{MAKING}*")]
    left = [folder for folder in made if folder.stat().st_mtime < before]
    for folder in left:
        shutil.rmtree(folder)
    return len(left)


def _folders(where: Path) -> Iterator[Path]:
    return (folder for folder in sorted(where.glob("*")) if not folder.name.startswith(MAKING))
