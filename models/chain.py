"""Networks that read what other networks found: which of it, and whether that can be."""

from __future__ import annotations

from collections.abc import Callable

from . import membership
from .card import Bundle, Card, CardError
from .finding_rules import Result
from .input_rules import Input


def upstream(card: Card) -> tuple[str, ...]:
    """The networks whose results a network reads, each once."""
    return tuple(dict.fromkeys(rule.network for rule in card.input if rule.network))


def values(rule: Input, first: Card) -> tuple[int, ...]:
    """The label values that are 1 in a channel; none where it has the label values themselves.

    Args:
        rule: of the channel.
        first: the card of the network whose result it is.

    Raises:
        CardError: it names a segment that the card has not.
    """
    if first.result is not Result.SEGMENTS:
        raise CardError(f"{rule.channel}: {first.name} gives {first.result}, and no segments that a network could read")
    if not rule.segments and membership.overlap(first):
        raise CardError(f"{rule.channel}: segments of {first.name} may overlap; say which of them, with `segments`")
    known: dict[str | int, int] = {}
    for segment in first.segment:
        known[segment.label] = known[segment.value] = segment.value
    if unknown := [one for one in rule.segments if one not in known]:
        has = ", ".join(f"{segment.value} {segment.label}" for segment in first.segment)
        raise CardError(f"{rule.channel}: {first.name} {first.version} has no segment {unknown[0]!r}; it has {has}")
    return tuple(sorted({known[one] for one in rule.segments}))


def prove(card: Card, find: Callable[[str], Bundle]) -> None:
    """Whether every network that is read is there, has the segments, and does not wait for this one itself.

    Args:
        find: a network by its name; may raise CardError, or what it likes.

    Raises:
        CardError: it cannot be; the sentence says which card has to be changed.
    """
    _prove(card, find, (card.name,))


def _prove(card: Card, find: Callable[[str], Bundle], line: tuple[str, ...]) -> None:
    for rule in (rule for rule in card.input if rule.network):
        if rule.network in line:
            circle = ", which reads ".join([*line[line.index(rule.network) :], rule.network])
            raise CardError(f"{circle}: none of them can be first")
        try:
            first = find(rule.network).card
        except CardError as error:
            raise CardError(f"{card.name} reads the result of {rule.network}: {error}") from None
        try:
            values(rule, first)
        except CardError as error:
            raise CardError(f"{card.name}, channel {error}") from None
        if first.input[0].kind != rule.kind:
            kinds = f'{rule.network} reads kind = "{first.input[0].kind}"'
            raise CardError(f"{card.name}, channel {rule.channel}: {kinds}, and this channel says otherwise")
        _prove(first, find, (*line, first.name))
