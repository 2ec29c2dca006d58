"""The weekly look at what a network reads, and the review that it may open. It promotes nothing, and stops nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from db import appearances, networks, reviews, watch
from db.database import Database, clock
from db.job_states import JobKind

from ...errors import Refused
from . import drift
from .drift import Bounds, Finding
from .weeks import begins, monday, named

SUBJECT = "networks"
OF_TRAINING, OF_FIRST = "the persons that it was trained on here", "the first persons that it read"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The keys of `[watch]`.

    Attributes:
        reference_persons: so many make a reference, where the training's are not known.
        accepted_days: a result that was delivered and not corrected for so long is accepted.
    """

    reference_persons: int
    fewest_persons: int
    accepted_days: float

    @property
    def bounds(self) -> Bounds:
        return Bounds(fewest_persons=self.fewest_persons)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a network is compared with.

    Attributes:
        since: persons that were read from then on are compared with it.
        complete: whether there are enough of them; else it is still being gathered.
    """

    what: str
    persons: tuple[Any, ...]
    since: float
    complete: bool


def reference(tx: Any, network: str, policy: Policy) -> Reference:
    """What a network is compared with, as far as it is there."""
    renewed = reviews.renewed(tx, network)
    live = networks.live(tx, network)
    if live is not None:
        released = max(row["at"] for row in networks.releases(tx, network) if row["model_version_id"] == live["id"])
        trained = appearances.trained_on(tx, live["id"])
        if len(trained) >= policy.fewest_persons and released > renewed:
            what = tuple(row["channels"] for row in trained)
            return Reference(what=OF_TRAINING, persons=what, since=released, complete=True)
    first = appearances.first(tx, network, renewed, policy.reference_persons)
    return Reference(
        what=OF_FIRST,
        persons=tuple(row["channels"] for row in first),
        since=_after(first[-1]["created"]) if first else renewed,
        complete=len(first) >= policy.reference_persons,
    )


def _after(moment: float) -> float:
    """Just after a time, as doubles go."""
    return float(np.nextafter(moment, np.inf))


def look_at_all(database: Database, policy: Policy) -> list[str]:
    """Look at every network once for the week that has ended last; sentences on the reviews that were opened."""
    with database.read() as tx:
        names, now = watch.names(tx), clock(tx)
    said = (look_at(database, name, policy, now) for name in names)
    return [one for one in said if one]


def look_at(database: Database, network: str, policy: Policy, now: float) -> str:
    """Compare what a network read since its last look with its reference; a sentence where a review was opened.

    Until enough persons are there it is no look: they are looked at with those of the next week.

    Args:
        now: seconds since 1970.
    """
    this_week = monday(datetime.fromtimestamp(now).astimezone().date())
    week, until = named(this_week), begins(this_week)
    with database.read() as tx:
        before = reviews.last_look(tx, network)
        against = reference(tx, network, policy)
        since = max(against.since, before["until"] if before is not None else 0.0)
        read = [row["channels"] for row in appearances.between(tx, network, since, until)]
    if not against.complete or len(read) < policy.fewest_persons:
        return ""
    findings = drift.look(against.persons, read, policy.bounds, _dealer(network, week))
    values = dict(since=since, until=until, reference=against.what, reference_persons=len(against.persons))
    with database.write() as tx:
        said = [one.record() for one in findings]
        made = reviews.look(tx, network, week, persons=len(read), findings=said, **values)
        drifted = [one for one in findings if one.drifted]
        if made is None or not drifted or reviews.open_one(tx, network, _because(drifted, len(read)), made) is None:
            return ""
    return f"{network}: {_because(drifted, len(read))}"


def _dealer(network: str, week: str) -> np.random.Generator:
    """The same look gives the same numbers."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{network} {week}".encode()).digest()[:8], "big"))


def _because(drifted: list[Finding], persons: int) -> str:
    said = "; ".join(f"{one.what} ({one.test} {one.effect:.2f}): {one.sentence}" for one in drifted)
    return f"what it reads has changed, by {persons} persons: {said}"


def close(database: Database, review_id: int, who: str, why: str, *, renew: bool = False) -> str:
    """A person has looked at a network, and says what came of it.

    Args:
        renew: the change is meant to stay: what is read from now on is gathered as the new reference.

    Raises:
        Refused: `no-reason`, `no-such-review`.
    """
    if not why.strip():
        raise Refused("no-reason", "closing a review needs a reason: --reason TEXT")
    with database.write() as tx:
        row = reviews.find(tx, review_id)
        if row is None:
            raise Refused("no-such-review", f"there is no review {review_id}; `planimeter watch` lists them")
        if not reviews.close(tx, review_id, who, why.strip(), renews=renew):
            raise Refused("no-such-review", f"review {review_id} was closed before, by {row['who']}: {row['why']}")
    more = "; its reference is gathered anew from now on" if renew else ""
    return f"review {review_id} of {row['network']} is closed{more}"


def due(now: datetime) -> tuple[JobKind, str, str]:
    """The job that looks for the week that has ended last: kind, subject, when it is due."""
    return JobKind.WATCH, SUBJECT, named(monday(now.date()))
