"""Which series goes through which networks, and where the results go: the site's routes, applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import time
from typing import Any

from ..study.facts import Series
from .conditions import CALLING_AE_TITLE, TIME, Condition, Judgement, Seen
from .expecting import Expectation

PRIORITIES = {"stat": 0, "routine": 10, "night": 20}


@dataclass(frozen=True)
class Route:
    """A route as the choose job applies it.

    Attributes:
        when: all of them hold.
        unless: none of them holds.
        objects: destination -> the kinds that it gets of this route, whatever it wants itself.
        deadline_seconds: from the last image until all is delivered.
        per_series: it takes a series as soon as that is quiet and whole, and does not wait for the study.
        quiet_seconds: how long such a series has to be quiet.
        expects: the series without which its studies are not whole.
    """

    name: str
    when: tuple[Condition, ...]
    unless: tuple[Condition, ...]
    networks: tuple[str, ...]
    destinations: tuple[str, ...]
    priority: int
    live: bool
    objects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    deadline_seconds: float | None = None
    per_series: bool = False
    quiet_seconds: float = 0.0
    expects: Expectation | None = None

    def judge(self, seen: Seen) -> Verdict:
        """Whether it takes a series, and by which values."""
        when = tuple(condition.judge(seen) for condition in self.when)
        unless = tuple(condition.judge(seen) for condition in self.unless)
        return Verdict(self, when, unless)


@dataclass(frozen=True)
class Verdict:
    """What a route said of a series: every condition with the values that decided it."""

    route: Route
    when: tuple[Judgement, ...]
    unless: tuple[Judgement, ...]

    @property
    def takes(self) -> bool:
        return all(one.holds for one in self.when) and not any(one.holds for one in self.unless)

    def record(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "route": self.route.name,
            "takes": self.takes,
            "when": [asdict(one) for one in self.when],
            "unless": [asdict(one) for one in self.unless],
        }


def of_trial(network: str) -> Route:
    """What stands in the place of all routes where a person tries a network: every series, and nothing is sent."""
    return Route(f"trial of {network}", (), (), (network,), (), PRIORITIES["routine"], live=False)


#: a series with the verdicts of all routes
Judged = tuple[Series, tuple[Verdict, ...]]


def judge(routes: Sequence[Route], series: Iterable[Series], at: time) -> list[Judged]:
    """Every route's verdict on every series.

    Args:
        at: the time of the day.
    """
    made = []
    for one in series:
        seen = Seen(one.counted, one.calling_ae_titles, at)
        made.append((one, tuple(route.judge(seen) for route in routes)))
    return made


#: network -> the routes that offer it anything, in their order, with the series that each offers
Offers = dict[str, list[tuple[Route, list[Series]]]]


def offered(judged: Iterable[Judged]) -> Offers:
    """Network -> the routes that offer it anything, in their order, with the series that each offers."""
    taken: dict[str, tuple[Route, list[Series]]] = {}
    for series, verdicts in judged:
        for verdict in verdicts:
            of_route = taken.setdefault(verdict.route.name, (verdict.route, []))
            if verdict.takes:
                of_route[1].append(series)
    offers: Offers = {}
    for route, of_it in taken.values():
        for network in route.networks if of_it else ():
            offers.setdefault(network, []).append((route, of_it))
    return offers


def early(offers: Offers, quiet: Mapping[str, float]) -> Offers:
    """What of it need not wait for the study: the series that a route takes one by one, where they are quiet.

    What other routes say of the same series and network holds as well, so that the results go everywhere at once.

    Args:
        quiet: series UID -> for how many seconds it has been quiet at least.
    """
    kept: Offers = {}
    for network, by_route in offers.items():
        fired = {
            one.series_uid
            for route, taken in by_route
            if route.per_series
            for one in taken
            if quiet.get(one.series_uid, -1.0) >= route.quiet_seconds
        }
        of_them = [(route, [one for one in taken if one.series_uid in fired]) for route, taken in by_route]
        if some := [(route, taken) for route, taken in of_them if taken]:
            kept[network] = some
    return kept


def keywords(routes: Iterable[Route], expected: Iterable[Expectation] = ()) -> tuple[str, ...]:
    """What the conditions of routes, and of the series that are expected, look at in headers."""
    looked_at = {one.looks_at for route in routes for one in (*route.when, *route.unless)}
    awaited = [*expected, *(route.expects for route in routes if route.expects is not None)]
    looked_at |= {one.looks_at for each in awaited for series in each.series for one in series.when}
    return tuple(sorted(looked_at - {CALLING_AE_TITLE, TIME}))
