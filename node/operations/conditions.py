"""The conditions of a route, judged over the header facts of all images of a series; the judgement says by what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time

from ..study import keywords

#: what a condition looks at beside keywords
CALLING_AE_TITLE, TIME = "calling AE title", "time"
#: values that a judgement repeats; a series may have thousands
MOST_VALUES = 10


@dataclass(frozen=True)
class Seen:
    """What conditions look at.

    Attributes:
        counted: of a keyword, value -> number of images that have it; an absent element is an empty value.
        calling_ae_titles: who sent it -> number of images.
        at: the time of the day when it is chosen from.
    """

    counted: Callable[[str], Mapping[str, int]]
    calling_ae_titles: Mapping[str, int]
    at: time

    def of(self, what: str) -> Mapping[str, int]:
        """The values of what a condition looks at."""
        if what == TIME:
            return {self.at.isoformat("minutes"): 0}
        return self.calling_ae_titles if what == CALLING_AE_TITLE else self.counted(what)


@dataclass(frozen=True)
class Judgement:
    """What became of one condition.

    Attributes:
        condition: in words.
        found: value -> number of images, the commonest first; at most ten.
        values: how many different ones there are; more than one: it varies over the series.
        holds: whether the condition does.
    """

    condition: str
    found: dict[str, int]
    values: int
    holds: bool


@dataclass(frozen=True)
class Condition:
    """One condition.

    Attributes:
        looks_at: a keyword, or one of the two above.
        asks: whether one value will do.
        said: what is asked, in words.
        every: it has to hold for all images, else for one of them.
    """

    looks_at: str
    asks: Callable[[str], bool]
    said: str
    every: bool = True

    def judge(self, seen: Seen) -> Judgement:
        """Whether it holds; what has no image holds for none."""
        found = seen.of(self.looks_at)
        over = all if self.every else any
        most = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_VALUES]
        holds = bool(found) and over(self.asks(value) for value in found)
        return Judgement(self.in_words, dict(most), len(found), holds)

    @property
    def in_words(self) -> str:
        """As a person reads it."""
        return f"{self.looks_at} {self.said}{'' if self.every else ', of any image'}"


def one_of(looks_at: str, values: frozenset[str], *, every: bool = True) -> Condition:
    """Its value, or one of its several values, is one of these, whatever the case."""
    wanted = {value.strip().casefold() for value in values}

    def asks(value: str) -> bool:
        parts = {part.strip().casefold() for part in value.split("\\")}
        return value.strip().casefold() in wanted or bool(parts & wanted)

    return Condition(looks_at, asks, f"is {' or '.join(sorted(values))}", every)


def matches(looks_at: str, pattern: str, *, every: bool = True) -> Condition:
    """A regular expression is found in its value, whatever the case."""
    found = re.compile(pattern, re.IGNORECASE)
    return Condition(looks_at, lambda value: found.search(value) is not None, f"matches {pattern!r}", every)


def within(looks_at: str, least: float, most: float, *, every: bool = True) -> Condition:
    """All its values are numbers from `least` to `most`; an age is in years."""

    def asks(value: str) -> bool:
        numbers = [keywords.number(looks_at, part.strip()) for part in value.split("\\")]
        return all(number is not None and least <= number <= most for number in numbers)

    return Condition(looks_at, asks, f"is {least:g} to {most:g}", every)


def exists(looks_at: str, *, wanted: bool, every: bool = True) -> Condition:
    """It has a value, or has none."""
    said = "is there" if wanted else "is not there"
    return Condition(looks_at, lambda value: bool(value) is wanted, said, every)


def at_hours(hours: str, contains: Callable[[time], bool]) -> Condition:
    """The time of the day lies in a part of it."""
    return Condition(TIME, lambda value: contains(time.fromisoformat(value)), f"is in {hours}")
