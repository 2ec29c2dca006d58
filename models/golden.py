"""Golden cases of a bundle: small inputs with the label maps that they have to give, wherever the bundle is brought.

    golden/cases.toml                    [[case]]: name = "chest", minimum_dice = 0.98 (of each class; the default)
    golden/<name>/<channel>.nii.gz       what the network reads, in the card's values, all on one grid
    golden/<name>/expected.nii.gz        label values of the card

They are files of the bundle like all others: listed in its card by SHA-256, and verified with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, ValidationError

from . import membership, nifti
from .card import Bundle, CardError
from .finding_rules import Result
from .input_rules import Part

FOLDER = "golden"
LISTED = f"{FOLDER}/cases.toml"
EXPECTED = "expected.nii.gz"


class _One(Part):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    minimum_dice: Annotated[float, Field(gt=0, le=1)] = 0.98


class _Listed(Part):
    case: tuple[_One, ...]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One case.

    Attributes:
        channels: float32 (slices, rows, columns), in colour with a last axis of 3, in the order of the card's inputs.
        affine: 4x4, from (column, row, slice) index to patient coordinates (LPS, mm).
        expected: uint8 (slices, rows, columns).
        minimum_dice: that each class has to reach.
    """

    name: str
    channels: tuple[NDArray[np.float32], ...]
    affine: NDArray[np.float64]
    expected: NDArray[np.uint8]
    minimum_dice: float


def are_in(bundle: Bundle) -> bool:
    """Whether a bundle says itself what it has to find."""
    return LISTED in bundle.card.files


def cases(bundle: Bundle) -> Iterator[Golden]:
    """The golden cases of a bundle, one at a time; none where it has none.

    Raises:
        CardError: one cannot be read, or does not fit the card.
    """
    if not are_in(bundle):
        return
    if bundle.card.result is not Result.SEGMENTS:
        raise CardError(f"{LISTED}: golden cases are label maps, and this network gives {bundle.card.result}")
    try:
        listed = _Listed.model_validate(tomllib.loads((bundle.folder / LISTED).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise CardError(f"{LISTED}: cannot be read: {str(error).splitlines()[0]}") from None
    for one in listed.case:
        yield _read(bundle, one)


def _read(bundle: Bundle, one: _One) -> Golden:
    truth = _volume(bundle, f"{FOLDER}/{one.name}/{EXPECTED}")
    expected, affine = truth
    channels = []
    for rule in bundle.card.input:
        name = f"{FOLDER}/{one.name}/{rule.channel}.nii.gz"
        volume = _volume(bundle, name)
        if not nifti.same_grid(volume, truth):
            raise CardError(f"{name}: is not on the grid of {EXPECTED}")
        channels.append(np.ascontiguousarray(volume[0], np.float32))
    known = {0, *membership.known(bundle.card)}
    if strange := sorted(set(np.unique(expected).tolist()) - known):
        listed = ", ".join(f"{value:g}" for value in strange)
        raise CardError(f"golden case {one.name}: {EXPECTED} has values that the card does not know: {listed}")
    return Golden(
        name=one.name,
        channels=tuple(channels),
        affine=affine,
        expected=expected.astype(np.uint8),
        minimum_dice=one.minimum_dice,
    )


def _volume(bundle: Bundle, name: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A file that the card lists, as `nifti.read` gives it."""
    if name not in bundle.card.files:
        raise CardError(f"{bundle.folder / Path(name)}: not listed among the files of the card")
    try:
        return nifti.read(bundle.folder / name)
    except nifti.NoImage as error:
        raise CardError(f"golden case: {error}") from None


def deviation(bundle: Bundle, one: Golden, labels: NDArray[np.uint8]) -> str:
    """What is not as it has to be; empty where the case holds.

    Args:
        labels: (slices, rows, columns), that the network gave.
    """
    said = []
    for segment in bundle.card.segment:
        wanted, found = (membership.inside(of, segment.values) for of in (one.expected, labels))
        both = int(wanted.sum()) + int(found.sum())
        dice = 2 * int((wanted & found).sum()) / both if both else 1.0
        if dice < one.minimum_dice:
            said.append(f"{segment.label} has Dice {dice:.3f}, and {one.minimum_dice:g} is asked for")
    return f"golden case {one.name}: {'; '.join(said)}" if said else ""
