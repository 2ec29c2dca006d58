"""What the networks read of a study, and where the results will go: routes and model cards, put together."""

from __future__ import annotations

from collections.abc import Sequence

from db.input_sets import Choice, Dispatch, Member

from ..errors import Failed, Refused
from ..networks import Networks
from ..study import series
from ..study.candidates import Candidates
from ..study.facts import Series
from ..study.series import Pick
from . import routes
from .routes import Route


def decide(every: Sequence[Route], networks: Networks, study: Candidates) -> tuple[list[Choice], list[Refused]]:
    """What the networks read, and what was refused; never neither.

    Args:
        every: the routes of this node.

    Raises:
        Failed: nothing was chosen, and a network cannot be used until somebody mends it.
    """
    if len(study.patients) > 1:
        sentence = f"the images of this study name {len(study.patients)} different patients"
        return [], [Refused("ambiguous-patient", sentence)]
    offers = routes.offered(every, study.series)
    if not offers:
        return [], [Refused("no-route", f"no route takes any series of this study: {_modalities(study)}")]
    choices: list[Choice] = []
    refused: list[Refused] = []
    failed: list[Failed] = []
    for network, by_route in sorted(offers.items()):
        offered = {one.series_uid: one for _, taken in by_route for one in taken}
        try:
            _, bundle = networks.live(network)
            picks = series.choose(bundle.card, list(offered.values()))
        except Refused as refusal:
            refused.append(refusal)
        except Failed as failure:
            failed.append(failure)
        else:
            choices += [_choice(network, pick, by_route) for pick in picks]
    if failed and not choices:
        raise failed[0]  # when it is mended, `planimeter retry` chooses again
    return choices, [*refused, *(Refused(failure.code, failure.sentence) for failure in failed)]


def _modalities(study: Candidates) -> str:
    return ", ".join(
        f"series {one.number()} ({' and '.join(sorted(one.facts()['Modality'])) or 'no modality'})"
        for one in study.series
    )


def _choice(network: str, pick: Pick, by_route: list[tuple[Route, list[Series]]]) -> Choice:
    takers = [route for route, taken in by_route if any(one.series_uid == pick.series_uid for one in taken)]
    return Choice(
        network=network,
        slot=pick.slot,
        members=tuple(Member(channel, image.sop_uid) for channel, images in pick.channels for image in images),
        members_hash=pick.members_hash(),
        because=f"{pick.because}; route {', '.join(route.name for route in takers)}",
        dispatches=tuple(
            Dispatch(route.name, "live" if route.live else "silent", destination)
            for route in takers
            for destination in route.destinations or ("",)
        ),
        priority=min(route.priority for route in takers),
    )
