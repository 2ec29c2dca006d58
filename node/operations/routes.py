"""Which series goes through which networks, and where the results go: the site's routes, applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..study.facts import Series, text

PRIORITIES = {"stat": 0, "routine": 10, "night": 20}


class ConditionKind(StrEnum):
    """What a condition looks at."""

    MODALITY = "modality"
    CALLING_AE_TITLE = "calling_ae_title"


@dataclass(frozen=True)
class Condition:
    """One condition: it holds when every image of the series has one of the values."""

    kind: ConditionKind
    one_of: frozenset[str]

    def holds(self, series: Series) -> bool:
        if self.kind is ConditionKind.MODALITY:
            found = {text(image.header, "Modality") for image in series.images}
        else:
            found = set(series.calling_ae_titles)
        return bool(found) and found <= self.one_of


@dataclass(frozen=True)
class Route:
    """A route as the choose job applies it."""

    name: str
    when: tuple[Condition, ...]
    networks: tuple[str, ...]
    destinations: tuple[str, ...]
    priority: int
    live: bool

    def takes(self, series: Series) -> bool:
        """Whether all conditions hold."""
        return all(condition.holds(series) for condition in self.when)


def offered(routes: Sequence[Route], series: Sequence[Series]) -> dict[str, list[tuple[Route, list[Series]]]]:
    """Network -> the routes that offer it anything, with the series that each offers."""
    offers: dict[str, list[tuple[Route, list[Series]]]] = {}
    for route in routes:
        taken = [one for one in series if route.takes(one)]
        if taken:
            for network in route.networks:
                offers.setdefault(network, []).append((route, taken))
    return offers
