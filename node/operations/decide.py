"""What the networks read of a study, and where the results will go: routes and model cards, put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from db.input_sets import UNREAD, Choice, Dispatch, Member
from models.card import Bundle

from ..errors import Failed, Refused
from ..networks import Networks
from ..study import series
from ..study.candidates import Candidates
from ..study.facts import Series
from ..study.series import Pick
from . import routes
from .chained import Asked, Choices
from .routes import Judged, Route

OTHER_MODALITY = "not-our-modality"


@dataclass(frozen=True)
class Decision:
    """What was decided of a study; something was chosen, or something refused.

    Attributes:
        refused: what cannot be processed, and why.
        unread: the refusals of networks, as the input sets that they would have read.
    """

    choices: tuple[Choice, ...] = ()
    refused: tuple[Refused, ...] = ()
    unread: tuple[Choice, ...] = ()


def decide(
    judged: Sequence[Judged],
    networks: Networks,
    study: Candidates,
    quiet: Mapping[str, float] | None = None,
    *,
    although_off: bool = False,
) -> Decision:
    """What the networks read of a study.

    Args:
        judged: its series, with what the routes of this node say of each.
        quiet: of a study that is still arriving, see `routes.early`: what of it need not wait. Nothing is refused then.
        although_off: networks that are off read it too: a person tries one.

    Raises:
        Failed: nothing was chosen, and a network cannot be used until somebody mends it.
    """
    if len(study.patients) > 1:
        sentence = f"the images of this study name {len(study.patients)} different patients"
        return Decision(refused=(Refused("ambiguous-patient", sentence),))
    offers = routes.offered(judged)
    if quiet is not None:
        offers = routes.early(offers, quiet)
    if not offers:
        return Decision(
            refused=(Refused("no-route", f"no route takes any series of this study: {_modalities(study)}"),)
        )
    made = _Deciding(networks, set() if although_off else networks.switched_off())
    made.pick(offers)
    made.choose(offers)
    return made.decision()


ByRoute = list[tuple[Route, list[Series]]]


class _Deciding:
    """What becomes of the networks that routes ask for."""

    def __init__(self, networks: Networks, off: set[str]) -> None:
        self._off = off
        self._networks = networks
        self._choices = Choices(networks, self._off)
        self._usable: dict[str, Bundle] = {}
        self._refusals: list[tuple[Refused, Choice]] = []
        self._failed: list[Failed] = []
        self._aside: list[str] = []

    def pick(self, offers: dict[str, ByRoute]) -> None:
        """The images that each network reads."""
        for network, by_route in sorted(offers.items()):
            with self._noting(network, by_route):
                version, bundle = self._networks.known(network)
                if version is None or network in self._off:
                    why = f"{network} is off" if network in self._off else f"no version of {network} is live yet"
                    self._aside.append(why)
                    continue
                self._choices.own[network] = series.choose(bundle.card, _offered(by_route))
                self._usable[network] = bundle

    def choose(self, offers: dict[str, ByRoute]) -> None:
        """And the other networks whose results they read."""
        for network, bundle in self._usable.items():
            for pick in self._choices.own[network]:
                with self._noting(network, offers[network]):
                    self._choices.add(bundle, pick, _asked(pick, offers[network]))

    @contextmanager
    def _noting(self, network: str, by_route: ByRoute) -> Iterator[None]:
        try:
            yield
        except Refused as refusal:
            self._refusals.append((refusal, _unread(network, _offered(by_route), refusal, by_route)))
        except Failed as failure:
            self._failed.append(failure)

    def decision(self) -> Decision:
        """
        Raises:
            Failed: nothing was chosen, and a network cannot be used until somebody mends it.
        """
        choices = self._choices.all()
        if self._failed and not choices:
            raise self._failed[0]  # when it is mended, `planimeter retry` chooses again
        # a network for another modality has nothing to say of this study, unless all of them are
        of_it = [pair for pair in self._refusals if pair[0].code != OTHER_MODALITY]
        said = of_it if of_it or choices else self._refusals
        if self._aside and not choices and not said:
            return Decision(refused=(Refused("network-aside", "; ".join(self._aside)),))
        refused = [*(refusal for refusal, _ in said), *(Refused(one.code, one.sentence) for one in self._failed)]
        return Decision(choices, tuple(refused), tuple(unread for _, unread in said))


def _offered(by_route: ByRoute) -> list[Series]:
    """Every series that a route offers, once."""
    return list({one.series_uid: one for _, taken in by_route for one in taken}.values())


def _modalities(study: Candidates) -> str:
    return ", ".join(
        f"series {one.number()} ({' and '.join(sorted(one.facts()['Modality'])) or 'no modality'})"
        for one in study.series
    )


def _asked(pick: Pick, by_route: ByRoute) -> Asked:
    takers = [route for route, taken in by_route if any(one.series_uid == pick.series_uid for one in taken)]
    return Asked(
        offered=_offered(by_route),
        because=f"route {', '.join(route.name for route in takers)}",
        dispatches=_dispatches(takers),
        priority=min(route.priority for route in takers),
        deadline_seconds=min(
            (one.deadline_seconds for one in takers if one.deadline_seconds is not None), default=None
        ),
    )


def _unread(network: str, offered: Sequence[Series], refusal: Refused, by_route: ByRoute) -> Choice:
    """All that was offered, as one input set that nothing reads."""
    takers = [route for route, _ in by_route]
    found = [(refusal.code, image.sop_uid, image.identity, "") for one in offered for image in one.images]
    return Choice(
        network=network,
        slot=UNREAD,
        members=tuple(Member(channel, sop_uid) for channel, sop_uid, _, _ in found),
        members_hash=series.members_hash(found),
        because=refusal.sentence,
        dispatches=_dispatches(takers),
        priority=min(route.priority for route in takers),
    )


def _dispatches(takers: Sequence[Route]) -> tuple[Dispatch, ...]:
    return tuple(
        Dispatch(route.name, mode_of(route), destination, " ".join(route.objects.get(destination, ())))
        for route in takers
        for destination in route.destinations or ("",)
    )


def mode_of(route: Route) -> str:
    """As a dispatch keeps it."""
    return "live" if route.live else "silent"
