"""Fetch studies from a PACS: those that a person names at once, those of many days at night."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from rich.console import Console
from rich.progress import Progress

from db import fetches
from db.database import Database

from ..errors import NodeError, Refused
from ..pull import retrieve, search
from ..pull.pacs import FetchPolicy, Pacs
from ..pull.query import Search, StudyFound, Wish
from ..pull.retrieve import Us
from .terminal import plain, print_table

COLUMNS = ("study_date", "modalities", "description", "accession", "there", "here", "study_uid")
#: more days than this at once are a slip of the finger
MOST_DAYS = 3660


@dataclass(frozen=True)
class Fetcher:
    """Fetches for whoever sits at the terminal.

    Attributes:
        us: who retrieves.
        pacs: from where.
        policy: how much is borne with, and when jobs may fetch.
    """

    us: Us
    pacs: Pacs
    policy: FetchPolicy

    def now(self, wish: Wish, series_uid: str, priors: int, *, only_list: bool) -> int:
        """Find, show what would come, and retrieve it; the exit status.

        Args:
            series_uid: the one series that is wanted, or "": the whole study.
            priors: how many earlier studies of the same patient are wanted with each.

        Raises:
            Refused, Unavailable, Failed: nothing was found, or the PACS does not answer.
        """
        with search.asking(self.pacs, self.us.ae_title, self.policy.limits, self.us.trail) as finder:
            found = search.studies(finder, wish)
            _must_be_some(self.pacs, found)
            earlier = {one.study_uid: one for each in found.studies for one in search.priors(finder, each, priors)}
        # what is compared with comes first, so that it is there when its successor is read
        wanted = list(({one.study_uid: one for one in found.studies[::-1]} | earlier).values())
        wanted.sort(key=lambda one: one.study_date)
        self._show(wanted, found)
        return 0 if only_list else self._retrieve(wanted, wish.study_uid if series_uid else "", series_uid)

    def _show(self, studies: Sequence[StudyFound], found: Search) -> None:
        console = Console(stderr=True)
        rows = [
            {
                "study_date": one.study_date,
                "modalities": " ".join(one.modalities),
                "description": one.description,
                "accession": one.accession,
                "there": "?" if one.images is None else one.images,
                "here": self.us.here(one.study_uid, ""),
                "study_uid": one.study_uid,
            }
            for one in studies[::-1]
        ]
        print_table(console, f"studies at {self.pacs.name}", COLUMNS, rows)
        if found.left_out:
            console.print(
                f"[dim]{found.left_out} answers left out: they were not, or did not prove to be, what was asked[/]"
            )

    def _retrieve(self, studies: Sequence[StudyFound], only_of: str, series_uid: str) -> int:
        console, fine = Console(stderr=True), True
        lines = []
        with Progress(console=console, transient=not console.is_terminal) as progress:
            for number, study in enumerate(studies, 1):
                task = progress.add_task(f"study {number} of {len(studies)}", total=study.images)

                def shown(done: int, of: int | None, task: object = task) -> None:
                    progress.update(task, completed=done, total=of)  # type: ignore[arg-type]

                try:
                    said = self._one(study, series_uid if study.study_uid == only_of else "", shown)
                except NodeError as error:
                    fine, said = False, f"{error.code}: {error.sentence}"
                lines.append(f"{study.study_date} {study.study_uid}: {plain(said)}")
        sys.stdout.write("\n".join(lines) + "\n")
        return 0 if fine else 1

    def _one(self, study: StudyFound, series_uid: str, shown: Callable[[int, int | None], None]) -> str:
        here, expected = self.us.here(study.study_uid, series_uid), study.images
        if series_uid:
            with search.asking(self.pacs, self.us.ae_title, self.policy.limits, self.us.trail) as finder:
                listed = search.series(finder, study.study_uid)
            expected = next((one.images for one in listed if one.series_uid == series_uid), None)
        if expected is not None and here >= expected > 0:
            return f"all {expected} objects were here already"
        return retrieve.study(self.us, self.pacs, self.policy.limits, study.study_uid, series_uid, expected, shown)

    def later(self, wish: Wish, database: Database, attempts: int, delay_seconds: float) -> int:
        """Ask for what the PACS has of some days and is not here, as jobs; the exit status.

        Asked again, it asks for what is still not here: nothing is fetched twice.

        Args:
            delay_seconds: until the first may begin.

        Raises:
            Refused, Unavailable, Failed: the PACS does not answer; what was asked for until then stays.
        """
        new = here = open_already = 0
        cut: list[date] = []
        left_out = 0
        console = Console(stderr=True)
        with (
            search.asking(self.pacs, self.us.ae_title, self.policy.limits, self.us.trail) as finder,
            Progress(console=console, transient=not console.is_terminal) as progress,
        ):
            for day in progress.track(list(_days(wish)), description=f"asking {self.pacs.name}"):
                found = search.studies(finder, replace(wish, since=day, until=day))
                left_out += found.left_out
                cut += [day] if found.more else []
                for study in found.studies:
                    if self._is_here(study):
                        here += 1
                        continue
                    with database.write() as tx:
                        asked = fetches.ask(tx, self.pacs.name, study.study_uid, attempts, delay_seconds)
                    new, open_already = new + asked, open_already + (not asked)
        when = f"in {delay_seconds / 3600:.1f} hours, when the window opens" if delay_seconds else "beginning now"
        said = f"{new} studies are fetched one after the other, {when}; {here} are here already"
        if open_already:
            said += f"; {open_already} were asked for before"
        if left_out:
            said += f"; {left_out} answers were left out: they did not prove to be what was asked"
        sys.stdout.write(said + "\n")
        for day in cut:
            said = f"{day}: {self.pacs.name} has more studies than are asked for at once"
            sys.stdout.write(f"{said}; ask for one modality, or raise most_matches in [fetch]\n")
        return 1 if cut else 0

    def _is_here(self, study: StudyFound) -> bool:
        """Whether there is nothing to fetch; of a PACS that does not count, whatever is here is all."""
        return self.us.here(study.study_uid, "") >= (1 if study.images is None else study.images)


def _must_be_some(pacs: Pacs, found: Search) -> None:
    if found.more:
        said = f"{pacs.name} has more studies than are asked for at once; say more exactly which (or see most_matches)"
        raise Refused("too-many-matches", said)
    if not found.studies:
        why = f"; {found.left_out} answers did not prove to be what was asked" if found.left_out else ""
        raise Refused("not-at-pacs", f"{pacs.name} has no such study{why}")


def _days(wish: Wish) -> Iterator[date]:
    """The days of a wish, the latest first: an archive is most often asked for what is recent."""
    assert wish.since is not None
    assert wish.until is not None
    count = (wish.until - wish.since).days + 1
    if count > MOST_DAYS:
        raise Refused("bad-query", f"{count} days at once are too many; at most {MOST_DAYS}")
    if count < 1:
        raise Refused("bad-query", f"the first day, {wish.since}, is after the last one, {wish.until}")
    for number in range(count):
        yield wish.until - timedelta(days=number)


def chosen(pacs: FetchPolicy, name: str | None) -> Pacs:
    """The PACS of that name; without one, the only one that there is.

    Raises:
        Refused: `no-such-peer`.
    """
    if name is not None and name in pacs.pacs:
        return pacs.pacs[name]
    if name is None and len(pacs.pacs) == 1:
        return next(iter(pacs.pacs.values()))
    known = ", ".join(sorted(pacs.pacs)) or "none"
    said = "no [[peer]] of that name has a `query`" if name is not None else "say from which peer: --from NAME"
    raise Refused("no-such-peer", f"{said}; those that have one: {known}")


def days_of(text: str) -> tuple[date, date]:
    """A day, or the first and the last of several: 2026-01-01..2026-01-31.

    Raises:
        Refused: `bad-query`.
    """
    first, dots, last = text.partition("..")
    try:
        return date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError:
        raise Refused("bad-query", f"{text!r} are no days such as 2026-01-01..2026-01-31") from None
