"""The queue as a page shows it: studies by what becomes of them now, the latest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db import deadlines, overview
from db import queue as rows
from db.database import Database, Row, clock
from db.job_states import JobKind
from db.overview import StudyOverview
from db.queue import STATES, Wanted

from ..errors import Refused
from . import promises
from .promises import Promise, nothing
from .status import state_of

PAGE = 50
#: what a search may find; beyond that it names nothing in particular
MOST_FOUND = 50
LONGEST_SEARCH = 64

__all__ = ["STATES", "Wanted", "page", "search", "urgent"]


@dataclass(frozen=True)
class Running:
    """A job that waits or runs.

    Attributes:
        what: the kind of job, and its network where it has one.
        windows_done, windows_of: of a network that runs; of 0 nobody knows how many there are.
    """

    what: str
    state: str
    windows_done: int | None
    windows_of: int | None


@dataclass(frozen=True)
class Sent:
    """What of the results is where."""

    destination: str
    state: str
    count: int


@dataclass(frozen=True)
class Entry:
    """A study in the queue. What names a patient is hostile text, and hidden until asked for.

    Attributes:
        deadline: seconds since 1970; None: nothing is on its way that has one.
    """

    id: int
    study_uid: str
    patient_id: str
    accession: str
    state: str
    modalities: str
    images: int
    sender: str
    arrived: float
    last_image: float | None
    reason: str
    deadline: float | None
    jobs: tuple[Running, ...]
    sent: tuple[Sent, ...]


@dataclass(frozen=True)
class Page:
    """A page of the queue.

    Attributes:
        counts: state -> studies, of all that are wanted.
        newer, older: the id to go on from, in that direction; None: there are no more.
        now: seconds since 1970, by the clock of the database.
    """

    counts: dict[str, int]
    entries: tuple[Entry, ...]
    newer: int | None
    older: int | None
    now: float

    @property
    def is_more_done(self) -> bool:
        """Whether more is done than is counted."""
        return self.counts["done"] >= rows.MOST_COUNTED


def page(
    database: Database,
    wanted: Wanted,
    state: str = "",
    *,
    before: int | None = None,
    after: int | None = None,
    promise: Promise = nothing,
) -> Page:
    """One page, the latest first.

    Args:
        state: one of STATES; empty: all.
        before, after: studies below or above this id.
        promise: by when a study that was not chosen from yet is to be delivered.
    """
    with database.read() as tx:
        counts = rows.counts(tx, wanted)
        ids = rows.page(tx, wanted, state, PAGE + 1, before=before, after=after)
        more = len(ids) > PAGE
        if after is not None:
            ids = ids[-PAGE:]
            newer, older = (ids[0] if more and ids else None), (ids[-1] if ids else None)
        else:
            ids = ids[:PAGE]
            newer, older = (ids[0] if before is not None and ids else None), (ids[-1] if more else None)
        return Page(counts, _entries(tx, ids, promise), newer, older, clock(tx))


def urgent(database: Database, wanted: Wanted, promise: Promise = nothing) -> Page:
    """Those that have a deadline, the most urgent first; so many as fit on a page."""
    with database.read() as tx:
        counts = rows.counts(tx, wanted)
        soonest = dict(rows.urgent(tx, wanted, PAGE))
        early = {one.study_id: one.deadline for one in promises.unchosen(tx, promise, float("inf"))}
        for study_id in rows.among(tx, wanted, list(early)):
            soonest[study_id] = min(early[study_id], soonest.get(study_id, early[study_id]))
        ids = sorted(soonest, key=lambda one: (soonest[one], one))[:PAGE]
        by_id = {entry.id: entry for entry in _entries(tx, ids, promise)}
        return Page(counts, tuple(by_id[one] for one in ids), None, None, clock(tx))


def _entries(tx: Any, ids: Sequence[int], promise: Promise) -> tuple[Entry, ...]:
    found = overview.studies(tx, ids=ids)
    kinds = overview.kinds(tx, [one.row["id"] for one in found if "image" not in one.instances])
    facts, modalities = rows.facts(tx, ids), rows.modalities(tx, ids)
    jobs, sent, soonest = rows.open_jobs(tx, ids), rows.sent(tx, ids), deadlines.soonest(tx, ids)
    entries = []
    for one in found:
        number = one.row["id"]
        said = state_of(one, kinds.get(number, set()))
        parts = (facts[number], modalities.get(number, []), jobs.get(number, []), sent.get(number, []))
        deadline = _deadline(one, *parts[:3], promise, soonest.get(number))
        entries.append(_entry(one, said, *parts, deadline))
    return tuple(entries)


def _deadline(
    one: StudyOverview,
    facts: Row,
    modalities: Sequence[str],
    jobs: Sequence[Row],
    promise: Promise,
    soonest: float | None,
) -> float | None:
    """The first deadline of what is on its way; of what was not chosen from, that of a route that may take it."""
    arriving = one.row["state"] == "open" or any(job["kind"] == JobKind.CHOOSE for job in jobs)
    seconds = promise(modalities, facts["sender"] or "") if arriving else None
    early = one.row["last_image"] + seconds if seconds is not None and one.row["last_image"] is not None else None
    return min((at for at in (soonest, early) if at is not None), default=None)


def _entry(
    one: StudyOverview,
    said: tuple[str, str | None],
    facts: Row,
    modalities: Sequence[str],
    jobs: Sequence[Row],
    sent: Sequence[Row],
    deadline: float | None,
) -> Entry:
    return Entry(
        id=one.row["id"],
        study_uid=one.row["study_uid"],
        patient_id=facts["patient_id"],
        accession=facts["accession"],
        state=said[0],
        modalities=", ".join(modalities),
        images=one.instances.get("image", 0),
        sender=facts["sender"] or "",
        arrived=one.row["arrived"],
        last_image=one.row["last_image"],
        reason=said[1] or "",
        deadline=deadline,
        jobs=tuple(
            Running(
                what=f"{job['kind']} {job['network'] or ''}".strip(),
                state=job["state"],
                windows_done=job["windows_done"],
                windows_of=job["windows_of"],
            )
            for job in jobs
        ),
        sent=tuple(Sent(row["destination"], row["state"], row["count"]) for row in sent),
    )


def search(database: Database, text: str) -> list[int]:
    """The studies that an accession number, a UID (of a study also how it begins) or a PatientID names; ids.

    Raises:
        Refused: `nothing-found`.
    """
    text = text.strip().replace("\0", "")
    if not text or len(text) > LONGEST_SEARCH:
        raise Refused(
            "nothing-found", f"a search is for up to {LONGEST_SEARCH} characters: an accession number or a UID"
        )
    with database.read() as tx:
        found = rows.search(tx, text, MOST_FOUND)
    if not found:
        raise Refused(
            "nothing-found", "no study has that accession number, StudyInstanceUID, SOP Instance UID or PatientID"
        )
    return found
