"""Which voxels of a label map are of a segment: those of one value, or of several where segments overlap.

One byte per voxel is all that travels. A segment is a set of its values: its own; those that the card lists (`made_of`:
a whole tumour is 1, 2 and 4); or, of a network with one channel for each of its `overlapping` segments, all values that
have the segment's bit. Bit i, from the lowest on, is the i-th segment in the order of the card's values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .input_rules import Part

if TYPE_CHECKING:
    from .card import Card

#: as many as a byte has bits
MOST_OVERLAPPING = 8
LARGEST = 255

Labels = NDArray[np.uint8] | NDArray[np.uint16]
Box = tuple[slice, slice, slice]


class Valued(Part):
    """What label values a segment has.

    Attributes:
        value: of the segment; in the label map too, unless the segment is made of others.
        made_of: the label values whose union it is; none named: its own value.
    """

    value: Annotated[int, Field(ge=1, le=65535)]
    made_of: tuple[Annotated[int, Field(ge=1, le=LARGEST)], ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """Of the label map, rising; every voxel that has one of them is of the segment."""
        return tuple(sorted(set(self.made_of))) or (self.value,)


OneValued = TypeVar("OneValued", bound=Valued)


def as_bits(segments: tuple[OneValued, ...]) -> tuple[OneValued, ...]:
    """The segments of a network with a channel for each: each made of the values that have its bit.

    Raises:
        ValueError: there are too few or too many, or one says itself what it is made of.
    """
    count = len(segments)
    if not 2 <= count <= MOST_OVERLAPPING:
        raise ValueError(
            f"`overlapping` is for 2 to {MOST_OVERLAPPING} segments, each a bit of a label map, and there are {count}"
        )
    order = sorted(segment.value for segment in segments)
    made = []
    for segment in segments:
        values = _with_bit(order.index(segment.value), count)
        if segment.made_of not in ((), values):
            raise ValueError(f"segment {segment.value}: `made_of` has no place in a card that is `overlapping`")
        made.append(segment.model_copy(update={"made_of": values}))
    return tuple(made)


def _with_bit(bit: int, count: int) -> tuple[int, ...]:
    return tuple(value for value in range(1, 1 << count) if value >> bit & 1)


def allow_rules(card: Card) -> None:
    """Raises:
    ValueError: the card asks for a rule that is for segments that exclude one another, and they do not.
    """
    if has_unions(card) and card.gate.baseline:
        raise ValueError("[gate] has a baseline; it needs segments that are one label value each")
    if card.overlapping and (card.one_class_per_core_mm or card.grow_mm):
        raise ValueError("one_class_per_core_mm and grow_mm are for segments that exclude one another")


def known(card: Card) -> tuple[int, ...]:
    """All values, rising, that its label map may have beside 0."""
    return tuple(sorted({value for segment in card.segment for value in segment.values}))


def parts(card: Card) -> dict[int, tuple[int, ...]]:
    """A segment's value -> the values of the label map that are of it."""
    return {segment.value: segment.values for segment in card.segment}


def overlap(card: Card) -> bool:
    """Whether a voxel may be of two segments."""
    return sum(len(segment.values) for segment in card.segment) > len(known(card))


def has_unions(card: Card) -> bool:
    """Whether a segment is anything else than one value, its own."""
    return any(segment.values != (segment.value,) for segment in card.segment)


def channels_of(card: Card, segment: Valued) -> tuple[int, ...]:
    """The channels of `network.Probabilities` whose sum is the probability of a segment."""
    if card.overlapping:
        return (sorted(one.value for one in card.segment).index(segment.value) + 1,)
    return segment.values


def inside(labels: Labels, values: Collection[int]) -> NDArray[np.bool_]:
    """The mask of a segment.

    Args:
        labels: of any shape.
        values: of the segment.
    """
    if len(values) == 1:
        return np.asarray(labels == next(iter(values)))
    return _table(tuple(values), np.iinfo(labels.dtype).max + 1)[labels]


@cache
def _table(values: tuple[int, ...], size: int) -> NDArray[np.bool_]:
    return np.isin(np.arange(size), values)


def box_of(boxes: Mapping[int, Box], values: Collection[int]) -> Box | None:
    """The smallest box around a segment, from those around each label value; None where none of its values has one."""
    found = [boxes[value] for value in values if value in boxes]
    if not found:
        return None
    slices, rows, columns = (
        slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in zip(*found, strict=True)
    )
    return slices, rows, columns


@dataclass(frozen=True)
class Misfit:
    """Voxels that no label value says as they were meant.

    Attributes:
        segments: the values of the segments that they were meant to be of, and no others of those that were asked for.
        given: those of the segments that they are of now.
    """

    segments: tuple[int, ...]
    given: tuple[int, ...]
    voxels: int


def united(
    masks: Mapping[int, NDArray[np.bool_]], card: Card, firm: Collection[int] = ()
) -> tuple[NDArray[np.uint8], tuple[Misfit, ...]]:
    """The label map in which segments have these masks; where several values say the same, the lowest.

    Where no value does, a voxel gets the one that differs in the fewest segments, `firm` ones before all others.

    Args:
        masks: a segment's value -> mask; of the other segments nothing is known.

    Returns:
        The label map, of their shape, and what is otherwise in it than in the masks.
    """
    asked = [segment for segment in card.segment if segment.value in masks]
    first = masks[asked[0].value]
    where = np.flatnonzero(np.logical_or.reduce([masks[one.value] for one in asked]))
    patterns, codes = _patterns([masks[one.value].ravel()[where] for one in asked])
    said = {value: tuple(value in one.values for one in asked) for value in (0, *known(card))}
    weights = [len(asked) + 1 if one.value in firm else 1 for one in asked]
    numbers, misfits = np.zeros(len(patterns), np.uint8), []
    for code, pattern in enumerate(patterns):
        away = {value: _distance(pattern, one, weights) for value, one in said.items()}
        numbers[code] = value = min(away, key=lambda one: (away[one], one))
        if away[value]:
            meant, given = (
                tuple(one.value for one, has in zip(asked, each, strict=True) if has) for each in (pattern, said[value])
            )
            misfits.append(Misfit(meant, given, int(np.count_nonzero(codes == code))))
    labels = np.zeros(first.size, np.uint8)
    labels[where] = numbers[codes]
    return labels.reshape(first.shape), tuple(misfits)


def _patterns(masks: Sequence[NDArray[np.bool_]]) -> tuple[list[tuple[bool, ...]], NDArray[np.int64]]:
    """Which combinations of masks there are, and the number of that of each voxel."""
    patterns: list[tuple[bool, ...]] = [()]
    codes = np.zeros(len(masks[0]), np.int64)
    for mask in masks:
        codes = 2 * codes + mask
        there = np.flatnonzero(np.bincount(codes, minlength=2 * len(patterns)))
        patterns = [(*patterns[code // 2], bool(code % 2)) for code in there.tolist()]
        codes = np.searchsorted(there, codes)
    return patterns, codes


def _distance(one: tuple[bool, ...], other: tuple[bool, ...], weights: Sequence[int]) -> int:
    return sum(weight for a, b, weight in zip(one, other, weights, strict=True) if a != b)


def packed(masks: NDArray[Any]) -> NDArray[np.uint8]:
    """The label map of masks, (segment, ...), at most eight: the bit of each segment is set where its mask is."""
    labels = np.zeros(masks.shape[1:], np.uint8)
    for bit, mask in enumerate(masks):
        labels |= (mask > 0).astype(np.uint8) << np.uint8(bit)
    return labels


def unpacked(labels: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    """The masks of so many segments, (segment, ...)."""
    return np.stack([labels >> np.uint8(bit) & np.uint8(1) > 0 for bit in range(count)])
