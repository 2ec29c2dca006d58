"""What the networks read of a study, and where the results will go: routes and model cards, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.input_sets import UNREAD, Choice, Dispatch, Member

from ..errors import Failed, Refused
from ..networks import Networks
from ..study import series
from ..study.candidates import Candidates
from ..study.facts import Series
from ..study.series import Pick
from . import routes
from .routes import Route

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


def decide(every: Sequence[Route], networks: Networks, study: Candidates) -> Decision:
    """What the networks read of a study.

    Args:
        every: the routes of this node.

    Raises:
        Failed: nothing was chosen, and a network cannot be used until somebody mends it.
    """
    if len(study.patients) > 1:
        sentence = f"the images of this study name {len(study.patients)} different patients"
        return Decision(refused=(Refused("ambiguous-patient", sentence),))
    offers = routes.offered(every, study.series)
    if not offers:
        return Decision(
            refused=(Refused("no-route", f"no route takes any series of this study: {_modalities(study)}"),)
        )
    choices: list[Choice] = []
    refusals: list[tuple[Refused, Choice]] = []
    failed: list[Failed] = []
    aside: list[str] = []
    off = networks.switched_off()
    for network, by_route in sorted(offers.items()):
        offered = {one.series_uid: one for _, taken in by_route for one in taken}
        try:
            version, bundle = networks.known(network)
            if version is None or network in off:
                aside.append(f"{network} is off" if network in off else f"no version of {network} is live yet")
                continue
            picks = series.choose(bundle.card, list(offered.values()))
        except Refused as refusal:
            refusals.append((refusal, _unread(network, list(offered.values()), refusal, by_route)))
        except Failed as failure:
            failed.append(failure)
        else:
            choices += [_choice(network, pick, by_route) for pick in picks]
    if failed and not choices:
        raise failed[0]  # when it is mended, `planimeter retry` chooses again
    # a network for another modality has nothing to say of this study, unless all of them are
    of_it = [pair for pair in refusals if pair[0].code != OTHER_MODALITY]
    said = of_it if of_it or choices else refusals
    if aside and not choices and not said:
        return Decision(refused=(Refused("network-aside", "; ".join(aside)),))
    unusable = [Refused(failure.code, failure.sentence) for failure in failed]
    return Decision(tuple(choices), (*(refusal for refusal, _ in said), *unusable), tuple(unread for _, unread in said))


def _modalities(study: Candidates) -> str:
    return ", ".join(
        f"series {one.number()} ({' and '.join(sorted(one.facts()['Modality'])) or 'no modality'})"
        for one in study.series
    )


ByRoute = list[tuple[Route, list[Series]]]


def _choice(network: str, pick: Pick, by_route: ByRoute) -> Choice:
    takers = [route for route, taken in by_route if any(one.series_uid == pick.series_uid for one in taken)]
    return Choice(
        network=network,
        slot=pick.slot,
        members=tuple(Member(channel, image.sop_uid, frames) for channel, image, frames in pick.members()),
        members_hash=pick.members_hash(),
        because=f"{pick.because}; route {', '.join(route.name for route in takers)}",
        dispatches=_dispatches(takers),
        priority=min(route.priority for route in takers),
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
        Dispatch(route.name, "live" if route.live else "silent", destination)
        for route in takers
        for destination in route.destinations or ("",)
    )
