"""What a network reads of a study: a stack of images per channel, chosen by the input rules of its model card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from models.card import Card, Input

from ..errors import Refused
from .facts import Image, Series, text
from .rules import judge, rank
from .stacks import Stack, frames_of, pictures, volumes

#: characters of what tells a stack apart, as rows have it: values of a header have any length, and of one row an index
#: of PostgreSQL takes 2704 bytes
LONGEST_KEY = 400


@dataclass(frozen=True)
class Pick:
    """The images that one run of a network reads, per channel.

    Attributes:
        slot: the first channel's stack, or empty where the network takes the best one of the study.
        channels: (channel, stack), in the card's order.
    """

    slot: str
    channels: tuple[tuple[str, Stack], ...]
    because: str

    @property
    def series_uid(self) -> str:
        """Of the first channel."""
        return self.first.series.series_uid

    @property
    def first(self) -> Stack:
        """Of the first channel."""
        return self.channels[0][1]

    @property
    def place(self) -> str:
        """The frame of reference of the first channel; empty where it lies nowhere."""
        return text(self.first.headers[0], "FrameOfReferenceUID")

    def members(self) -> list[tuple[str, Image, str]]:
        """(channel, image, frame numbers as text) of every image."""
        return [(channel, image, frames) for channel, stack in self.channels for image, frames in stack.members()]

    def members_hash(self) -> str:
        """Equal for equal images: SOP Instance UIDs with the identity of their geometry and pixels."""
        return members_hash([(channel, one.sop_uid, one.identity, frames) for channel, one, frames in self.members()])


def members_hash(members: Iterable[tuple[str, str, str, str]]) -> str:
    """The hash of (channel, SOP Instance UID, image identity, frames) of every image, whatever their order."""
    digest = hashlib.sha256()
    for channel, sop_uid, identity, frames in sorted(members):
        digest.update(f"{channel} {sop_uid} {identity}{' ' * bool(frames)}{frames}\n".encode())
    return digest.hexdigest()


@dataclass
class _Judged:
    """What a channel may read, the best first, and why not the rest."""

    fitting: list[Stack] = field(default_factory=list)
    refused: list[tuple[str, Refused]] = field(default_factory=list)


def choose(card: Card, candidates: Sequence[Series]) -> list[Pick]:
    """The runs of a network on a study, as far as it reads images.

    Args:
        card: says what the network reads.
        candidates: the series that a route offers it.

    Raises:
        Refused: with the reason for every series; its code is theirs where they have one in common, else `no-series`.
    """
    picks = _fitting(card, candidates)
    return picks[:1] if card.take == "best" else picks


def choose_for(card: Card, candidates: Sequence[Series], stack: Stack) -> Pick:
    """The run of a network whose result is to be read beside a stack: on that stack itself, if it can read it.

    Else the best one in its frame of reference, as when lesions are looked for in FLAIR inside of what is the brain in
    T1. One frame of reference is not one breath: what can be read of the very images comes first.

    Raises:
        Refused: as `choose`; `channel-missing`: nothing of what fits lies where the stack does.
    """
    picks = _fitting(card, candidates)
    place = text(stack.headers[0], "FrameOfReferenceUID")
    is_volume = card.input[0].kind == "volume"
    near = [one for one in picks if is_volume and place and one.place == place]
    chosen = next((one for one in picks if _is_same(one.first, stack)), near[0] if near else None)
    if chosen is None:
        why = f"{card.name} reads neither {stack.name()} nor anything else in its frame of reference"
        raise Refused("channel-missing", why)
    return replace(chosen, slot=_slot(chosen.first))


def _fitting(card: Card, candidates: Sequence[Series]) -> list[Pick]:
    """Every run that is possible, the best first."""
    rules = [rule for rule in card.input if not rule.network]
    judged = {rule.channel: _judged(rule, candidates) for rule in rules}
    first, fitting = rules[0], judged[rules[0].channel].fitting
    picks: list[Pick] = []
    lacking: list[tuple[str, Refused]] = []
    for stack in fitting:
        try:
            others = tuple((rule.channel, _beside(rule, stack, judged[rule.channel])) for rule in rules[1:])
        except Refused as refusal:
            lacking.append((stack.name(), refusal))
            continue
        best = f", the best of {len(fitting)} that fit" if card.take == "best" and len(fitting) > 1 else ""
        read = "; ".join(f"{name}: {one.name()}" for name, one in others)
        because = stack.name() + best + (f"; {read}" if read else "")
        slot = "" if card.take == "best" else _slot(stack)
        picks.append(Pick(slot, ((first.channel, stack), *others), because))
    if not picks:
        raise _none(card, lacking or judged[first.channel].refused)
    return picks


def _slot(stack: Stack) -> str:
    key = stack.key
    if len(key) > LONGEST_KEY:
        key = f"{key[:LONGEST_KEY]}… {hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:32]}"
    return " ".join(filter(None, (stack.series.series_uid, key)))


def _is_same(one: Stack, other: Stack) -> bool:
    return (one.series.series_uid, one.key) == (other.series.series_uid, other.key)


def _judged(rule: Input, candidates: Sequence[Series]) -> _Judged:
    judged = _Judged()
    for series in candidates:
        for stack in _stacks(rule, series, judged):
            if (refusal := judge(rule, stack)) is None:
                judged.fitting.append(stack)
            else:
                judged.refused.append((stack.name(), refusal))
    order = {id(stack): n for n, stack in enumerate(judged.fitting)}  # of the stacks of one series, the first is better
    judged.fitting.sort(key=lambda stack: (rank(rule, stack), order[id(stack)]))
    return judged


def _stacks(rule: Input, series: Series, judged: _Judged) -> list[Stack]:
    name = f"series {series.number()}"
    if series.broken:
        judged.refused.append((name, Refused("unreadable-header", series.broken)))
        return []
    try:
        frames = frames_of(series)
    except Refused as refusal:
        judged.refused.append((name, refusal))
        return []
    return volumes(series, frames) if rule.kind == "volume" else pictures(series, frames)


def _beside(rule: Input, first: Stack, judged: _Judged) -> Stack:
    """The best stack of another channel in the frame of reference of the first channel's.

    Raises:
        Refused: `channel-missing`.
    """
    place = text(first.headers[0], "FrameOfReferenceUID")
    for stack in judged.fitting:
        if not _is_same(stack, first) and text(stack.headers[0], "FrameOfReferenceUID") == place:
            return stack
    if judged.fitting:
        why = f"what fits lies in another frame of reference ({judged.fitting[0].name()})"
    else:
        why = _said(judged.refused) or "the study has nothing for it"
    raise Refused("channel-missing", f"there is no {rule.channel} to go with it: {why}")


def _said(refused: Sequence[tuple[str, Refused]]) -> str:
    return "; ".join(f"{name}: {refusal.sentence}" for name, refusal in refused)


def _none(card: Card, refused: Sequence[tuple[str, Refused]]) -> Refused:
    codes = {refusal.code for _, refusal in refused}
    what = _said(refused) or "the study has no series that its routes offer it"
    code = codes.pop() if len(codes) == 1 else "no-series"
    return Refused(code, f"{card.name} can read no series of this study: {what}")
