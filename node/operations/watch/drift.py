"""Whether what a network reads now looks like its reference: a test per spacing, word and spread of values.

What is compared are persons, not images: the first input set of each, so that one who comes often is one.

Numbers (spacing, thickness): the two-sample Kolmogorov-Smirnov test, D and its p (Massey 1951; scipy.stats.ks_2samp).
Categories (kernel, scanner) and histograms of values: the population stability index, the sum over the bins of
(q - p) ln(q / p), with the bounds that are usual for it: below 0.1 nothing, from 0.25 on a shift (Siddiqi, Credit Risk
Scorecards, 2006). These bounds know nothing of how many were looked at: with few, chance alone passes 0.25 (Yurdakul
and Naranjo, Statistical properties of the population stability index, 2020). So its p is that of a permutation test:
how often the same persons, dealt at random into both groups, give as much. Voxels of one person are not independent,
and a permutation of persons does not ask them to be. It ends early where p is plainly not small (Besag and Clifford,
Sequential Monte Carlo p-values, 1991).

Drift is said where the effect is large enough to matter AND p is small enough: both, and fewer persons than
`Bounds.fewest_persons` on either side are not tested. Small enough: a network is looked at once a week, at persons that
no earlier look had, so there are 52 looks a year at most, with some six tests each. The false alarms of a network in a
year are held below `Bounds.alpha` = 0.05, one in twenty years, by Bonferroni's inequality over the looks (a look has
alpha / 52), which holds although all of them share one reference, and by Holm's procedure over the tests of a look
(Holm, A simple sequentially rejective multiple test procedure, 1979). A sudden change of a scanner is far beyond these
bounds; what creeps is found late, and the weekly figures show it before.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOOKS_A_YEAR = 52
#: words that are rarer than the commonest so many are one category
WORDS = 12
OTHER = "(others)"
#: more persons than this are thinned out evenly for the permutations: no need to deal thousands
MOST_PERSONS = 400
FEWEST_DEALS = 20_000
#: so many deals that give as much as was seen, among the first ones, and p is not small
ENOUGH = 30
AT_A_TIME = 2_000

#: what is known of a person's images: as `node.study.appearance.of` gives them
Appearance = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What is called drift.

    Attributes:
        alpha: false alarms of a network in a year, at most.
        fewest_persons: of the reference, and of what is compared with it.
        least_ks, least_psi: smaller effects are none, however sure.
    """

    alpha: float = 0.05
    fewest_persons: int = 20
    least_ks: float = 0.2
    least_psi: float = 0.25


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test.

    Attributes:
        what: "CT kernel".
        test: "KS" or "PSI".
        effect: D, or the index.
        bound: that p has to be below, in Holm's order.
        drifted: the effect is large and p below its bound.
        sentence: what was and what is, for people.
    """

    what: str
    test: str
    effect: float
    p: float
    bound: float
    drifted: bool
    sentence: str

    def record(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)


@dataclass(frozen=True)
class _Tested:
    what: str
    test: str
    effect: float
    p: float
    sentence: str


def look(
    reference: Sequence[Appearance], now: Sequence[Appearance], bounds: Bounds, random: np.random.Generator
) -> list[Finding]:
    """Every test that can be made, in the order of the channels.

    Args:
        reference, now: a person each.
        random: that deals the persons.
    """
    pairs = list(_paired(reference, now, bounds.fewest_persons))
    alpha = bounds.alpha / LOOKS_A_YEAR
    deals = max(FEWEST_DEALS, math.ceil(2 * len(pairs) / alpha))
    tested = [_test(*pair, deals, random) for pair in pairs]
    least = {"KS": bounds.least_ks, "PSI": bounds.least_psi}
    found: dict[int, Finding] = {}
    still = True  # Holm: from the smallest p on, until one is not below its bound
    for rank, n in enumerate(sorted(range(len(tested)), key=lambda n: tested[n].p)):
        bound = alpha / (len(tested) - rank)
        still = still and tested[n].p <= bound
        drifted = still and tested[n].effect >= least[tested[n].test]
        found[n] = Finding(**asdict(tested[n]), bound=bound, drifted=drifted)
    return [found[n] for n in sorted(found)]


def _paired(
    reference: Sequence[Appearance], now: Sequence[Appearance], fewest: int
) -> Iterator[tuple[str, str, list[Any], list[Any]]]:
    """What both have of enough persons: what it is, which kind, and its values in either."""
    for channel in sorted({one["channel"] for each in (*reference, *now) for one in each}):
        both = _of_channel(reference, channel), _of_channel(now, channel)
        for kind in ("numbers", "words"):
            for name in sorted({key for one in (*both[0], *both[1]) for key in one[kind]}):
                before, after = ([v for one in each if (v := one[kind].get(name)) is not None] for each in both)
                if min(len(before), len(after)) >= fewest:
                    yield f"{channel} {name}", kind, before, after
        bins = Counter(_bins(one) for one in both[0] if one["values"]).most_common(1)
        if bins:  # histograms of other bins say nothing of these
            before, after = ([one["values"] for one in each if _bins(one) == bins[0][0]] for each in both)
            if min(len(before), len(after)) >= fewest:
                yield f"{channel} values", "values", before, after


def _bins(one: Mapping[str, Any]) -> tuple[str, int]:
    return str(one["unit"]), len(one["values"])


def _of_channel(persons: Sequence[Appearance], channel: str) -> list[Mapping[str, Any]]:
    return [one for each in persons for one in each if one["channel"] == channel]


def _test(what: str, kind: str, before: list[Any], after: list[Any], deals: int, random: Any) -> _Tested:
    what = what.replace("_mm", "").replace("_", " ")
    if kind == "numbers":
        from scipy.stats import ks_2samp  # half a second, which no other process has to wait for

        found = ks_2samp(before, after)
        sentence = f"median {np.median(before):.4g} mm before, {np.median(after):.4g} mm now"
        return _Tested(what, "KS", float(found.statistic), float(found.pvalue), sentence)
    if kind == "words":
        names = [name for name, _ in Counter([*before, *after]).most_common(WORDS)]
        p_before, p_after = (np.array([_one_of(word, names) for word in some], np.float32) for some in (before, after))
        effect, p = stability(p_before, p_after, deals, random)
        return _Tested(what, "PSI", effect, p, f"{_commonest(before)} before, {_commonest(after)} now")
    p_before, p_after = (np.array(some, np.float32) / np.float32(1000) for some in (before, after))
    effect, p = stability(p_before, p_after, deals, random)
    was, moved = p_before.mean(0), p_after.mean(0) - p_before.mean(0)
    most = int(np.abs(moved).argmax())
    said = f"most in bin {most + 1} of {len(was)}: {was[most]:.1%} before, {was[most] + moved[most]:.1%} now"
    return _Tested(what, "PSI", effect, p, said)


def _one_of(word: str, names: Sequence[str]) -> list[float]:
    """1 at the place of a word; the last place is that of all others."""
    where = names.index(word) if word in names else len(names)
    return [float(n == where) for n in range(len(names) + 1)]


def _commonest(words: Sequence[str]) -> str:
    word, count = Counter(words).most_common(1)[0]
    return f"{word or '(none)'} {count / len(words):.0%}"


def stability(
    before: NDArray[np.float32], after: NDArray[np.float32], deals: int, random: np.random.Generator
) -> tuple[float, float]:
    """The population stability index, and how often it is as large by chance.

    Args:
        before, after: (persons, bins): which part of each person lies in each bin.
    """
    before, after = _thinned(before), _thinned(after)
    everybody = np.concatenate([before, after])
    total, number = everybody.sum(0), len(after)
    seen = float(_index(total[None], after.sum(0)[None], len(before), number)[0])
    as_much, dealt = 0, 0
    while dealt < deals and as_much < ENOUGH:
        some = min(AT_A_TIME, deals - dealt)
        order = random.random((some, len(everybody)), np.float32)
        drawn = np.zeros(order.shape, np.float32)
        np.put_along_axis(drawn, np.argpartition(order, number - 1, axis=1)[:, :number], 1, axis=1)
        as_much += int((_index(total[None], drawn @ everybody, len(before), number) >= seen - 1e-6).sum())
        dealt += some
    return seen, (as_much + 1) / (dealt + 1)


def _index(total: NDArray[np.float32], of_after: NDArray[np.float32], before: int, after: int) -> NDArray[np.float64]:
    """Of sums over persons; half a person in each bin of either group keeps the logarithm finite."""
    bins = total.shape[1]
    q = (of_after.astype(np.float64) + 0.5 / bins) / (after + 0.5)
    p = ((total - of_after).clip(0).astype(np.float64) + 0.5 / bins) / (before + 0.5)
    return np.asarray(((q - p) * np.log(q / p)).sum(1))


def _thinned(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(rows) <= MOST_PERSONS:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, MOST_PERSONS).astype(int)])
