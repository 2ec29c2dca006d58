"""Which classes of a network are one another's mirror image, by their codes."""

from __future__ import annotations

from models.card import Card
from models.doubt import LEFT_RIGHT

from ..errors import Refused
from .mapping import LEFT, RIGHT, organ_and_side


def exchanged(card: Card) -> list[tuple[int, int]]:
    """The classes that a mirror exchanges: of one type, one on the left and one on the right.

    A code that holds the side already ("left lung") counts as the organ with its side.
    """
    return [(found[LEFT[0]], found[RIGHT[0]]) for found in _sides(card) if len(found) == 2]


def for_passes(card: Card) -> list[tuple[int, int]] | None:
    """What its passes exchange where they flip left and right; None where they do not.

    Raises:
        Refused: `uncertainty-unusable`: a class has a side, and none is its mirror image.
    """
    if card.uncertainty is None or LEFT_RIGHT not in card.uncertainty.axes:
        return None
    single = {value for found in _sides(card) if len(found) == 1 for value in found.values()}
    if labels := [segment.label for segment in card.segment if segment.value in single]:
        sentence = f"the card flips left and right, and no class is the other side of {', '.join(labels)}"
        raise Refused("uncertainty-unusable", sentence)
    return exchanged(card)


def _sides(card: Card) -> list[dict[str, int]]:
    """Of each organ that has a side: code of the side -> label value."""
    sides: dict[tuple[str, str], dict[str, int]] = {}
    for segment in card.segment:
        type_, side = organ_and_side(segment.type, segment.laterality)
        if side is not None and side[0] in (LEFT[0], RIGHT[0]):
            sides.setdefault(type_[:2], {})[side[0]] = segment.value
    return list(sides.values())
