"""Which structure of somebody's outlines is which class of a network.

By what a person said of these very outlines; else by code and laterality; else by the segmentation that we sent; else
by name. Never by number or order alone: a viewer numbers anew what it exports, and "1" is the liver in one object and
the spleen in the next. What fits two classes, or contradicts itself, is not mapped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from models import membership
from models.card import Card, Segment

from ..errors import Refused
from .structures import Code, Outlined, Structure

GIVEN, CODE, DRAFT, NAME = "given", "code", "draft", "name"
#: a voxel of two classes goes to the later one; more of them than this part of the smaller class is a contradiction
LARGEST_OVERLAP = 0.05

LEFT: Code = ("7771000", "SCT", "Left")
RIGHT: Code = ("24028007", "SCT", "Right")
BOTH: Code = ("51440002", "SCT", "Right and left")
#: codes that say "something": viewers write them where the user chose nothing
GENERIC = (("85756007", "SCT"), ("123037004", "SCT"), ("91723000", "SCT"), ("49755003", "SCT"), ("309825002", "SCT"))
#: codes that hold the side already: the organ, and which one
ONE_OF_A_PAIR: dict[tuple[str, str], tuple[Code, Code]] = {
    ("44029006", "SCT"): (("39607008", "SCT", "Lung"), LEFT),
    ("3341006", "SCT"): (("39607008", "SCT", "Lung"), RIGHT),
    ("18639004", "SCT"): (("64033007", "SCT", "Kidney"), LEFT),
    ("9846003", "SCT"): (("64033007", "SCT", "Kidney"), RIGHT),
    ("80248007", "SCT"): (("76752008", "SCT", "Breast"), LEFT),
    ("73056007", "SCT"): (("76752008", "SCT", "Breast"), RIGHT),
}


@dataclass(frozen=True)
class Sent:
    """A structure of the segmentation that we sent, and the label value that it stands for."""

    structure: Structure
    value: int


@dataclass(frozen=True)
class Mapped:
    """A structure, and what became of it.

    Attributes:
        value: the label value; None where it is none of the network's classes.
        how: "given", "code", "draft" or "name"; empty where nothing decided.
        why_not: why it is not mapped, where that is more than that nothing fits.
    """

    structure: Structure
    value: int | None
    how: str = ""
    why_not: str = ""


@dataclass(frozen=True)
class Composed:
    """The structures of a label as one label map.

    Attributes:
        mask: uint8 (slices, rows, columns).
        annotated: the label values that were looked for, in the card's order; also those without a voxel.
        given_away: label value -> voxels that another class has instead, as they cannot be of both.
    """

    mask: NDArray[np.uint8]
    annotated: tuple[int, ...]
    given_away: dict[int, int]


def normalised(name: str) -> str:
    """A name without case, accents of width, and what separates words: "GTV_Mass" and "gtv mass" are the same."""
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def map_structures(
    outlined: Outlined, card: Card, draft_reference: Sequence[Sent], given: Mapping[str, int]
) -> tuple[Mapped, ...]:
    """Say of every structure which class it is.

    Args:
        card: of the network.
        draft_reference: what we sent for these images; empty where we sent nothing.
        given: by a person: name, or "#" and number -> label value; 0: it is to be left out.
    """
    words = {normalised(key) if not key.startswith("#") else key.strip(): value for key, value in given.items()}
    return tuple(_mapped(one, card, draft_reference, words) for one in outlined.structures)


def _mapped(one: Structure, card: Card, sent: Sequence[Sent], given: Mapping[str, int]) -> Mapped:
    said = given.get(f"#{one.number}", given.get(normalised(one.name)))
    if said is not None:
        return Mapped(one, said or None, GIVEN, "" if said else "a person left it out")
    by_code = [segment for segment in card.segment if is_coded_as(one, segment)]
    if len(by_code) > 1:
        by_code = [segment for segment in by_code if _equal(one.anatomic_region, segment.anatomic_region)]
    if len(by_code) == 1:
        return Mapped(one, by_code[0].value, CODE)
    of_ours = [each for each in sent if _is_that_one(one, each, sent)]
    if len(of_ours) == 1:
        return _unless_contradicted(Mapped(one, of_ours[0].value, DRAFT), card)
    called = [segment for segment in card.segment if normalised(one.name) in names_of(segment)]
    if len(called) == 1:
        return _unless_contradicted(Mapped(one, called[0].value, NAME), card)
    several = len(by_code) > 1 or len(called) > 1
    return Mapped(one, None, why_not="it fits several classes" if several else "")


def is_coded_as(one: Structure, segment: Segment) -> bool:
    """Whether type and laterality are those of a class, and no region says otherwise.

    Equivalent SNOMED-RT and SNOMED CT codes are equal.
    """
    elsewhere = one.anatomic_region and segment.anatomic_region
    if one.type is None or (elsewhere and not _equal(one.anatomic_region, segment.anatomic_region)):
        return False
    type_, side = organ_and_side(one.type, one.laterality)
    of_class, of_side = organ_and_side(segment.type, segment.laterality)
    return _equal(type_, of_class) and _equal(side, of_side)


def organ_and_side(type_: Code, laterality: Code | None) -> tuple[Code, Code | None]:
    """The side taken out of codes that hold it; both sides are no side."""
    for code, (organ, side) in ONE_OF_A_PAIR.items():
        if _equal(type_, (*code, "")) and (laterality is None or _equal(laterality, side)):
            return organ, side
    return type_, None if _equal(laterality, BOTH) else laterality


def _is_that_one(one: Structure, sent: Sent, every: Sequence[Sent]) -> bool:
    """Whether it is the structure that we sent: the same number, and the same label or colour.

    Its colour does not count where its name is that of another structure that we sent.
    """
    ours = sent.structure
    if one.number != ours.number:
        return False
    name = normalised(one.name)
    if name == normalised(ours.name):
        return True
    of_another = any(name == normalised(each.structure.name) for each in every if each is not sent)
    return not of_another and one.colour is not None and one.colour == ours.colour


def names_of(segment: Segment) -> set[str]:
    """What a class is called, normalised."""
    return {normalised(name) for name in (segment.label, *segment.also_called)}


def _unless_contradicted(mapped: Mapped, card: Card) -> Mapped:
    """A code that says that it is something else wins over number, colour and name: then it is nobody's."""
    one = mapped.structure
    segment = next(each for each in card.segment if each.value == mapped.value)
    other_side = bool(one.laterality and segment.laterality and not _equal(one.laterality, segment.laterality))
    another_class = any(is_coded_as(one, each) for each in card.segment if each is not segment)
    other_type = mapped.how == DRAFT and _is_specific(one.type) and not _equal(one.type, segment.type)
    if other_side or another_class or other_type:
        said = " ".join(code[2] for code in (one.laterality, one.type) if code)
        return Mapped(one, None, why_not=f"it looks like {segment.label}, but its code says {said}")
    return mapped


def _is_specific(code: Code | None) -> TypeGuard[Code]:
    return code is not None and not any(_equal(code, (*generic, "")) for generic in GENERIC)


def _equal(one: Code | None, other: Code | None) -> bool:
    if one is None or other is None:
        return one is other
    from pydicom.sr.coding import Code as Concept  # with all concepts there are, and who schedules compares none

    return bool(Concept(*one) == Concept(*other))


def compose(mapped: Sequence[Mapped], card: Card, shape: tuple[int, int, int]) -> Composed:
    """Put the mapped structures into one label map, in the order of the card.

    Classes that may overlap keep the voxels that they share, as far as the label values of the card can say it.

    Several structures are one class where a person said so, or where the card calls its pieces lesions and they do not
    touch the same voxels; else one of them may be the draft and the other its correction.

    Args:
        shape: (slices, rows, columns).

    Raises:
        Refused: `label-unmapped`, `label-ambiguous`, `label-overlap`.
    """
    masks: dict[int, NDArray[np.bool_]] = {}
    for segment in card.segment:
        if of_it := [one for one in mapped if one.value == segment.value]:
            masks[segment.value] = _united(of_it, segment)
    if not masks:
        raise unmapped(mapped, card)
    if membership.has_unions(card):
        return _with_unions(masks, card)
    label_map = np.zeros(shape, np.uint8)
    given_away: dict[int, int] = {}
    for value, mask in masks.items():
        for before, count in zip(*np.unique(label_map[mask], return_counts=True), strict=True):
            if before:
                _little_enough(card, masks, int(before), value)
                given_away[int(before)] = given_away.get(int(before), 0) + int(count)
        label_map[mask] = value
    return Composed(label_map, tuple(masks), given_away)


def _with_unions(masks: Mapping[int, NDArray[np.bool_]], card: Card) -> Composed:
    """Where classes are unions of label values.

    A core outside of its tumour, where the card has none, is a slip of a few voxels on the edge, or a contradiction.
    """
    label_map, misfits = membership.united(masks, card)
    names = {segment.value: segment.label for segment in card.segment}
    given_away: dict[int, int] = {}
    for one in misfits:
        smallest = min(int(masks[value].sum()) for value in one.segments)
        if one.voxels > LARGEST_OVERLAP * smallest:
            others = [names[value] for value in masks if value not in one.segments]
            raise Refused(
                "label-overlap",
                f"{one.voxels} voxels are {' and '.join(names[value] for value in one.segments)}"
                f"{f' but not {_listed(others)}' if others else ''}, which no label value of {card.name} says",
            )
        for value in set(one.segments) ^ set(one.given):
            given_away[value] = given_away.get(value, 0) + one.voxels
    return Composed(label_map, tuple(masks), given_away)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(names)


def _united(of_it: Sequence[Mapped], segment: Segment) -> NDArray[np.bool_]:
    mask = of_it[0].structure.mask.copy()
    for one in of_it[1:]:
        disjoint = not (mask & one.structure.mask).any()
        if not (all(each.how == GIVEN for each in of_it) or (segment.lesions and disjoint)):
            names = " and ".join(f"{each.structure.name!r} (#{each.structure.number})" for each in of_it)
            raise Refused(
                "label-ambiguous",
                f"{names} would all be {segment.label}; say which one is, and leave the other out: "
                f'`planimeter labels map ID "#{one.structure.number}=0"`',
            )
        mask |= one.structure.mask
    return mask


def _little_enough(card: Card, masks: Mapping[int, NDArray[np.bool_]], one: int, other: int) -> None:
    shared = int((masks[one] & masks[other]).sum())
    smaller = min(int(masks[one].sum()), int(masks[other].sum()))
    if shared > LARGEST_OVERLAP * smaller:
        names = {segment.value: segment.label for segment in card.segment}
        raise Refused(
            "label-overlap",
            f"{names[one]} and {names[other]} share {shared} voxels, {shared / smaller:.0%} of the smaller; "
            "the classes of a network exclude one another",
        )


def unmapped(mapped: Sequence[Mapped], card: Card) -> Refused:
    """Nothing of it is a class of the network: what was found, and what to do."""
    found = ", ".join(f"{one.structure.name!r}" + (f" ({one.why_not})" if one.why_not else "") for one in mapped[:20])
    classes = ", ".join(f"{segment.value} = {segment.label}" for segment in card.segment[:20])
    return Refused(
        "label-unmapped",
        f"none of its structures is a class of {card.name}: it has {found or 'none'}. The classes are {classes}; "
        '`planimeter labels map ID "NAME=VALUE"` says which is which, and `also_called` in the model card for all',
    )
