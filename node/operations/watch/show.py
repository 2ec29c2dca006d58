"""What is watched of each network, as values for pages and programs, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.console import Console

from db import reviews, watch
from db.database import Database, Row, clock

from ...errors import Failed, Refused
from ...networks import Networks
from ..terminal import new_table, output, plain
from . import looking, weeks
from .looking import Policy
from .weeks import Spread, Week

WEEKS = 12
LOOKS = 12


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A network, watched.

    Attributes:
        segments: label value -> name, as its card has them.
        reference: what it is compared with, in words.
        weeks, looks, reviews: newest first.
    """

    network: str
    segments: Mapping[int, str]
    reference: str
    weeks: Sequence[Week]
    looks: Sequence[Mapping[str, Any]]
    reviews: Sequence[Mapping[str, Any]]

    @property
    def open_review(self) -> Mapping[str, Any] | None:
        return next((one for one in self.reviews if one["state"] == "open"), None)


def watched(
    database: Database, networks: Networks, policy: Policy, only: str | None = None, number: int = WEEKS
) -> list[Watched]:
    """Every network that has read anything, or one of them.

    Raises:
        Refused: `no-such-network`.
    """
    with database.read() as tx:
        names, now = watch.names(tx), clock(tx)
    if only is not None and only not in {*names, *networks.names()}:
        raise Refused("no-such-network", f"there is no network called {only}; `planimeter models list` lists them")
    return [_one(database, networks, policy, name, now, number) for name in ([only] if only is not None else names)]


def _one(database: Database, networks: Networks, policy: Policy, name: str, now: float, number: int) -> Watched:
    segments = classes(networks, name)  # it may write what it finds installed: not within a transaction that reads
    with database.read() as tx:
        against = looking.reference(tx, name, policy)
        return Watched(
            network=name,
            segments=segments,
            reference=_said(against, policy),
            weeks=weeks.of_network(tx, name, now, number, policy.accepted_days),
            looks=[_look(row) for row in reviews.looks(tx, name, LOOKS)],
            reviews=[_review(row) for row in reviews.listing(tx, name, LOOKS)],
        )


def classes(networks: Networks, name: str) -> dict[int, str]:
    """Label value -> name, as a network's card has them; none where it cannot be used now."""
    try:
        return {one.value: one.label for one in networks.known(name)[1].card.segment}
    except Failed:
        return {}


def _said(against: looking.Reference, policy: Policy) -> str:
    if against.complete:
        return f"{against.what} ({len(against.persons)})"
    return (
        f"being gathered: {len(against.persons)} of {policy.reference_persons} persons; no drift is looked for before"
    )


def _look(row: Row) -> dict[str, Any]:
    kept = ("week", "reference", "reference_persons", "persons", "findings")
    return {"at": moment(row["at"]), **{name: row[name] for name in kept}}


def _review(row: Row) -> dict[str, Any]:
    kept = ("id", "state", "because", "who", "why", "renews")
    closed = moment(row["closed"]) if row["closed"] else None
    return {"opened": moment(row["opened"]), "closed": closed, **{name: row[name] for name in kept}}


def moment(seconds: float) -> str:
    """A time for people and programs."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def as_values(found: Sequence[Watched]) -> dict[str, Any]:
    """For programs. The keys are kept from release to release."""
    return {"networks": [asdict(one) for one in found]}


# ----------------------------------------------------------------- terminal


def print_tables(found: Sequence[Watched], console: Console | None = None) -> None:
    """For people."""
    console = console or output()
    if not found:
        console.print("[dim]no network has read anything yet[/]")
    for one in found:
        if review := one.open_review:
            console.print(
                f"[bold red]{plain(one.network)}: review {review['id']} is open:[/] {plain(review['because'])}"
            )
            console.print(f"  planimeter watch close {review['id']} --reason TEXT", markup=False)
        table = new_table(
            f"{plain(one.network)}, week by week",
            ("week", "results", "accepted", "corrected", "pending", "Dice", "volumes, ml", "empty", "flags", "refused"),
        )
        for week in one.weeks:
            style = None if week.results or week.refused else "dim"
            table.add_row(*map(plain, _cells(one, week)), style=style)
        console.print(table)
        console.print(f"reference for drift: {plain(one.reference)}")
        if one.looks:
            last = one.looks[0]
            console.print(f"last look ({last['week']}, {last['persons']} persons): {plain(drift_in_words(last))}")


def _cells(one: Watched, week: Week) -> tuple[object, ...]:
    volumes = "; ".join(
        f"{one.segments.get(value, value)} {in_words(spread)}" for value, spread in week.volumes_ml.items()
    )
    return (
        week.week,
        week.results,
        f"{week.accepted} ({week.acceptance_rate:.0%})" if week.acceptance_rate is not None else week.accepted,
        week.corrected,
        week.pending,
        in_words(week.dice, 3),
        volumes,
        week.empty,
        counted(week.flags),
        counted(week.refused),
    )


def in_words(spread: Spread | None, digits: int = 0) -> str:
    """ "1210 (1100 to 1350)": the median and the quartiles."""
    if spread is None:
        return ""
    return f"{spread.median:.{digits}f} ({spread.lower:.{digits}f} to {spread.upper:.{digits}f})"


def counted(codes: Mapping[str, int]) -> str:
    """ "touches-edge 3, low-confidence 1"."""
    return ", ".join(f"{code} {number}" for code, number in sorted(codes.items(), key=lambda pair: (-pair[1], pair[0])))


def drift_in_words(look: Mapping[str, Any]) -> str:
    """What a look found."""
    found = [f"{one['what']}: {one['sentence']}" for one in look["findings"] if one["drifted"]]
    return "; ".join(found) or f"no drift in {len(look['findings'])} comparisons"
