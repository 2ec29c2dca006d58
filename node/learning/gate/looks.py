"""How often a set of locked patients has been looked at.

Whoever tries often enough succeeds by chance. So each look at the same patients has half the error of the one before,
and all looks together have less than twice that of the first.
"""

from __future__ import annotations

from collections.abc import Sequence

#: a snapshot that shares this part of its patients with an earlier one is another look at that one
SHARED = 0.5


def look(earlier: Sequence[tuple[int, frozenset[str]]], patients: frozenset[str]) -> int:
    """The number of this look, counted from 1.

    Args:
        earlier: the number of each earlier look, and the patients of its snapshot.
        patients: of the snapshot that is to be looked at.
    """
    same = [number for number, theirs in earlier if patients and len(patients & theirs) >= SHARED * len(patients)]
    return max(same, default=0) + 1


def alpha_of(look: int, first: float) -> float:
    """The one-sided error that the k-th look may have: that of the first, halved each time."""
    return first / 2.0 ** (look - 1)
