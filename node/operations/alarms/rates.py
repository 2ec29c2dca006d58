"""Whether far more is refused than was usual: of one source or network, against its own past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

#: a rate that would come up by chance less often than this opens an incident ...
OPENS = 0.001
#: ... which stays while it would come up less often than this
STAYS = 0.01
FEWEST = 3


@dataclass(frozen=True)
class Rate:
    """Of the latest, and of those before."""

    refused: int
    of: int
    before_refused: int
    before_of: int

    @property
    def usual(self) -> float:
        """The rate before; by Laplace's rule of succession, so that somebody without a past is expected to be refused
        every other time, and is noticed when nothing of it is taken."""
        return (self.before_refused + 1) / (self.before_of + 2)

    @property
    def chance(self) -> float:
        """The probability of so many refusals or more, were the rate the usual one (the tail of the binomial)."""
        usual = self.usual
        return sum(comb(self.of, k) * usual**k * (1 - usual) ** (self.of - k) for k in range(self.refused, self.of + 1))

    def is_alarming(self, *, already: bool) -> bool:
        """Whether it opens an incident, or keeps one open."""
        return self.refused >= FEWEST and self.chance < (STAYS if already else OPENS)


def rate(refused: Sequence[bool], latest: int) -> Rate | None:
    """The rate of the latest, and of those before.

    Args:
        refused: newest first.

    Returns:
        None where there are too few.
    """
    if latest <= 0 or len(refused) < latest:
        return None
    before = refused[latest:]
    return Rate(sum(refused[:latest]), latest, sum(before), len(before))
