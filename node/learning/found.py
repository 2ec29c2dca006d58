"""What came of one structure of an object, and whether it may be used.

A structure is used whole or not at all: what lies elsewhere, or cannot be read for certain, is left out by name. So it
is "not annotated" rather than "absent", and the other structures of the object are still of use: planning systems draw
couches beyond the edge of the image, and markers that are points, beside the organs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Refused
from .structures import Structure

#: of what was drawn by a program that makes up frames of reference
BY_NAME = "it states another frame of reference than the images, and names each image on which it lies"
#: the part of a structure that may lie where the images are not
FEW = 0.01


@dataclass(frozen=True)
class Found:
    """A structure, or why it cannot be used.

    Attributes:
        structure: with its mask.
        refusal: why it is left out; None where it is not.
        notes: what was done to it.
    """

    structure: Structure
    refusal: Refused | None = None
    notes: tuple[str, ...] = ()


def missed(name: str, inside: int, outside: int, between: int = 0) -> tuple[Refused | None, tuple[str, ...]]:
    """What is said of a structure that does not lie on the images with all it has.

    Args:
        inside: voxels that it marks.
        outside: voxels, or pixels of a contour, beyond the edges of the images.
        between: the same, between two slices.
    """
    if outside > FEW * (inside + outside) or (outside and not inside):
        part = "lies" if not inside else f"lies with {100 * outside / (inside + outside):.0f} % of it"
        return Refused("label-elsewhere", f"{name} {part} where these images are not"), ()
    if between > FEW * (inside + between) or (between and not inside):
        return Refused("label-between-slices", f"{name} was drawn between the slices of these images"), ()
    notes = [(outside, "outside of the images"), (between, "between slices")]
    return None, tuple(f"{name}: {count} voxels lie {where}, and are left out" for count, where in notes if count)


def too_small(name: str) -> Refused:
    """What is said of a structure that holds something, and marks no voxel."""
    return Refused("label-elsewhere", f"{name} is smaller than a voxel of these images, and lies at the middle of none")


def usable(found: Sequence[Found], notes: Sequence[str] = ()) -> tuple[tuple[Structure, ...], tuple[str, ...]]:
    """The structures that can be used, and what is to be said of them and of the others.

    Raises:
        Refused: `label-empty`: there are none; or as the first structure was, where none that holds a voxel is left.
    """
    left_out = [one.refusal for one in found if one.refusal is not None]
    kept = [one for one in found if one.refusal is None]
    if left_out and not any(one.structure.mask.any() for one in kept):
        raise left_out[0]
    if not kept:
        raise Refused("label-empty", "the object declares no structure")
    said = [*notes, *(note for one in kept for note in one.notes)]
    said += [f"left out: {refusal.sentence} ({refusal.code})" for refusal in left_out]
    return tuple(one.structure for one in kept), tuple(said)
