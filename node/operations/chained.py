"""The choices of a decision, with those that only another network asks for: the result that it reads has to be made.

What only another network asks for is made and kept, and delivered nowhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from db.input_sets import Choice, Dispatch, Member, Reads
from models.card import Bundle

from ..errors import Refused
from ..networks import Networks
from ..study import series
from ..study.facts import Series
from ..study.series import Pick


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who asks for a run of a network.

    Attributes:
        offered: the series that its routes offer it.
        because: to be said with the choice.
        dispatches: where its results go.
    """

    offered: Sequence[Series]
    because: str
    dispatches: tuple[Dispatch, ...]
    priority: int
    deadline_seconds: float | None = None


@dataclass
class Choices:
    """The choices of one decision, what is read by others before those others.

    Attributes:
        off: networks that a person has switched off.
        own: network -> what routes ask of it.
    """

    networks: Networks
    off: Collection[str]
    own: dict[str, list[Pick]] = field(default_factory=dict)
    _made: dict[tuple[str, str], Choice] = field(default_factory=dict)

    def all(self) -> tuple[Choice, ...]:
        return tuple(self._made.values())

    def add(self, bundle: Bundle, pick: Pick, asked: Asked) -> Choice:
        """A run of a network, and before it those whose results it reads.

        Raises:
            Refused: `upstream-refused`, `network-aside`: one of these cannot be; nothing is added then.
            Failed: `network-unusable`: it never can, until somebody changes a card.
        """
        self.networks.prove(bundle)
        return self._put(self._planned(bundle, pick, asked))

    def _planned(self, bundle: Bundle, pick: Pick, asked: Asked) -> list[Choice]:
        """The choice, behind those that it reads."""
        card, before, reads = bundle.card, [], []
        for rule in (rule for rule in card.input if rule.network):
            planned = self._upstream(card.name, rule.network, pick, asked)
            before += planned
            reads.append(Reads(rule.channel, rule.network, planned[-1].slot))
        made = Choice(
            network=card.name,
            slot=pick.slot,
            members=tuple(Member(channel, image.sop_uid, frames) for channel, image, frames in pick.members()),
            members_hash=pick.members_hash(),
            because=f"{pick.because}; {asked.because}",
            dispatches=asked.dispatches,
            priority=asked.priority,
            reads=tuple(reads),
            deadline_seconds=asked.deadline_seconds,
        )
        return [*before, made]

    def _upstream(self, network: str, name: str, pick: Pick, asked: Asked) -> list[Choice]:
        """What has to be read for a network to have the result of another one."""
        if name in self.off:
            raise Refused("network-aside", f"{network} reads the result of {name}, which is off")
        version, bundle = self.networks.known(name)
        if version is None:
            raise Refused("network-aside", f"{network} reads the result of {name}, of which no version is live yet")
        try:
            found = series.choose_for(bundle.card, asked.offered, pick.first)
        except Refused as refusal:
            raise Refused(
                "upstream-refused", f"{network} reads the result of {name}, and there is none: {refusal.sentence}"
            ) from None
        wanted = found.members_hash()  # a route may ask for the same
        same = next((one.slot for one in self.own.get(name, ()) if one.members_hash() == wanted), found.slot)
        silent = tuple({Dispatch(one.route, "silent", ""): None for one in asked.dispatches})
        because = f"for {network}, which reads its result"
        ours = replace(asked, because=because, dispatches=silent)
        return self._planned(bundle, replace(found, slot=same), ours)

    def _put(self, planned: Sequence[Choice]) -> Choice:
        """Add choices; the last of them as it is now. Asked for twice, one goes wherever anybody wants it."""
        for one in planned:
            before = self._made.get((one.network, one.slot))
            self._made[one.network, one.slot] = one if before is None else _both(before, one)
        last = planned[-1]
        return self._made[last.network, last.slot]


def _both(one: Choice, other: Choice) -> Choice:
    every = sorted((*one.dispatches, *other.dispatches), key=lambda each: each.mode == "live")
    where = {(each.route, each.destination): each for each in every}
    because = "; ".join(dict.fromkeys((*one.because.split("; "), *other.because.split("; "))))
    priority = min(one.priority, other.priority)
    deadlines = [each for each in (one.deadline_seconds, other.deadline_seconds) if each is not None]
    soonest = min(deadlines, default=None)
    return replace(one, because=because, dispatches=tuple(where.values()), priority=priority, deadline_seconds=soonest)
