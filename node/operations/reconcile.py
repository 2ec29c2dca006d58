"""Go through the studies that a PACS has of some days: which of them never came, or not whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from db import fetches, reconciliations
from db.database import Database
from db.reconciliations import Lacking

from ..audit.trail import Trail
from ..errors import Refused
from ..pull import search
from ..pull.pacs import FetchPolicy, Limits, Pacs
from ..pull.query import StudyFound, Wish
from ..pull.search import Asks
from .completeness import NO_IMAGES, images_at
from .terminal import output, print_table

COLUMNS = ("day", "peer", "modalities", "images", "here", "study_uid")
MOST_DAYS = 366


@dataclass(frozen=True)
class Reconciled:
    """What came of it.

    Attributes:
        studies: that the PACS has, of those that were asked for.
        lacking: of these.
        cut: days of which the PACS has more than it was asked for at once.
        left_out: answers that did not prove to be what was asked.
    """

    studies: int = 0
    lacking: tuple[Lacking, ...] = ()
    cut: tuple[str, ...] = ()
    left_out: int = 0

    def __add__(self, other: Reconciled) -> Reconciled:
        return Reconciled(
            self.studies + other.studies,
            self.lacking + other.lacking,
            self.cut + other.cut,
            self.left_out + other.left_out,
        )

    @property
    def sentence(self) -> str:
        """For people."""
        said = f"{len(self.lacking)} of {self.studies} studies are not here, or not whole"
        said += f"; {self.left_out} answers were left out: they did not prove to be what was asked" * bool(
            self.left_out
        )
        cut = f"; of {', '.join(self.cut)} there are more than are asked for at once: see most_matches in [fetch]"
        return said + cut * bool(self.cut)


def days_before(today: date, count: int) -> list[date]:
    """So many days before today, the latest first.

    Raises:
        Refused: `bad-query`.
    """
    if not 1 <= count <= MOST_DAYS:
        raise Refused("bad-query", f"1 to {MOST_DAYS} days can be gone through, not {count}")
    return [today - timedelta(days=number) for number in range(1, count + 1)]


def reconcile(
    database: Database, pacs: Pacs, ae_title: str, limits: Limits, days: Sequence[date], modalities: Sequence[str]
) -> Reconciled:
    """Ask for every day, and keep what is lacking.

    Args:
        modalities: that are of interest; none named: all.

    Raises:
        Refused, Unavailable, Failed: the PACS does not answer; the days until then are kept.
    """
    total = Reconciled()
    with search.asking(pacs, ae_title, limits, Trail(database)) as finder:
        for day in days:
            of_day = _day(database, finder, pacs.name, day, modalities)
            with database.write() as tx:
                reconciliations.note(
                    tx, pacs.name, str(day), of_day.studies, of_day.left_out, of_day.lacking, more=bool(of_day.cut)
                )
            total += of_day
    return total


def _day(database: Database, finder: Asks, name: str, day: date, modalities: Sequence[str]) -> Reconciled:
    found: dict[str, StudyFound] = {}
    left_out, cut = 0, False
    for modality in modalities or ("",):
        answer = search.studies(finder, Wish(since=day, until=day, modality=modality))
        left_out, cut = left_out + answer.left_out, cut or answer.more
        found |= {one.study_uid: one for one in answer.studies}
    with_images = [one for one in found.values() if not one.modalities or set(one.modalities) - NO_IMAGES]
    lacking = [one for each in with_images if (one := _lacks(database, finder, name, day, each)) is not None]
    return Reconciled(len(with_images), tuple(lacking), (str(day),) if cut else (), left_out)


def _lacks(database: Database, finder: Asks, name: str, day: date, there: StudyFound) -> Lacking | None:
    """What a study lacks here. Its images count: the PACS may have reports, and what this node made, beside them."""
    with database.read() as tx:
        here = reconciliations.images_here(tx, there.study_uid)
    images = there.images
    if here and images is not None and here < images:
        images, _ = images_at(database, finder, there.study_uid)
    if here >= (images or 1):
        return None
    return Lacking(name, there.study_uid, str(day), " ".join(there.modalities), images, here)


def fetch(database: Database, lacking: Sequence[Lacking], attempts: int, delay_seconds: float) -> int:
    """Have what is lacking fetched, by jobs; how many were not asked for before.

    Args:
        delay_seconds: until the first may begin.
    """
    asked = 0
    for one in lacking:
        with database.write() as tx:
            asked += fetches.ask(tx, one.peer, one.study_uid, attempts, delay_seconds)
    return asked


def asked_of(policy: FetchPolicy, name: str | None) -> list[Pacs]:
    """The PACS of that name; without one, those that are reconciled every day, else all.

    Raises:
        Refused: `no-such-peer`.
    """
    if name is not None and name not in policy.pacs:
        known = ", ".join(sorted(policy.pacs)) or "none"
        raise Refused("no-such-peer", f"no [[peer]] of that name has a `query`; those that have one: {known}")
    every = [one for _, one in sorted(policy.pacs.items()) if name in (None, one.name)]
    if not every:
        raise Refused("no-such-peer", "no [[peer]] has a `query`: there is no PACS to ask")
    return [one for one in every if one.reconcile] or every if name is None else every


def record(one: Lacking) -> dict[str, Any]:
    """For programs; the keys are kept from version to version."""
    named = ("peer", "study_uid", "day", "modalities", "images", "here")
    return {name: getattr(one, name) for name in named}


def print_lacking(found: Sequence[Lacking]) -> None:
    """For people."""
    rows = [record(one) | {"images": "?" if one.images is None else one.images} for one in found]
    print_table(output(), "studies that the PACS has, and that are not here, or not whole", COLUMNS, rows)
