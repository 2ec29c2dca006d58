"""Which series goes through which networks, and where the results go: the site's routes, applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import time
from typing import Any

from ..study.facts import Series
from .conditions import CALLING_AE_TITLE, TIME, Condition, Judgement, Seen

PRIORITIES = {"stat": 0, "routine": 10, "night": 20}


@dataclass(frozen=True)
class Route:
    """A route as the choose job applies it.

    Attributes:
        when: all of them hold.
        unless: none of them holds.
    """

    name: str
    when: tuple[Condition, ...]
    unless: tuple[Condition, ...]
    networks: tuple[str, ...]
    destinations: tuple[str, ...]
    priority: int
    live: bool

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


def offered(judged: Iterable[Judged]) -> dict[str, list[tuple[Route, list[Series]]]]:
    """Network -> the routes that offer it anything, in their order, with the series that each offers."""
    taken: dict[str, tuple[Route, list[Series]]] = {}
    for series, verdicts in judged:
        for verdict in verdicts:
            of_route = taken.setdefault(verdict.route.name, (verdict.route, []))
            if verdict.takes:
                of_route[1].append(series)
    offers: dict[str, list[tuple[Route, list[Series]]]] = {}
    for route, of_it in taken.values():
        for network in route.networks if of_it else ():
            offers.setdefault(network, []).append((route, of_it))
    return offers


def keywords(routes: Iterable[Route]) -> tuple[str, ...]:
    """What the conditions of routes look at in headers."""
    looked_at = {one.looks_at for route in routes for one in (*route.when, *route.unless)}
    return tuple(sorted(looked_at - {CALLING_AE_TITLE, TIME}))
