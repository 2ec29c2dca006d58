"""The series without which a study is not whole: what is lacking, how long it is waited for, and what then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .conditions import Condition, Seen


@dataclass(frozen=True)
class ExpectedSeries:
    """A kind of series, and how many of it."""

    when: tuple[Condition, ...]
    at_least: int

    @property
    def in_words(self) -> str:
        """As a person reads it."""
        return f"{self.at_least} × {' and '.join(one.in_words for one in self.when)}"


@dataclass(frozen=True)
class Expectation:
    """What a route, or a peer that sends, says of its studies.

    Attributes:
        whose: route or peer, by name.
        wait_seconds: after a study's last image.
        hold: what still lacks something then is held for a person; else it goes on.
    """

    whose: str
    series: tuple[ExpectedSeries, ...]
    wait_seconds: float
    hold: bool

    def lacking(self, seen: Iterable[Seen]) -> str:
        """Which series a study lacks, in words; empty where it has them all."""
        every = list(seen)
        words = []
        for one in self.series:
            here = sum(all(condition.judge(each).holds for condition in one.when) for each in every)
            if here < one.at_least:
                words.append(f"{one.in_words} ({here} here)")
        return "; ".join(words)
