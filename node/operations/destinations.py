"""The destinations: whether each answers, what waits for it, what is dead there; and what a person does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db import away, deliveries, destinations
from db.database import Database, clock

from ..errors import Refused, Unavailable
from ..outbound import scu, stow
from ..outbound.target import Target
from .by_hand import target_of
from .terminal import output, print_table

#: of C-ECHO, asked for by a person who waits
ECHO_SECONDS = 5.0
REASONS_SHOWN = 3
DAY_SECONDS = 86_400.0
STYLES = {"down": "bold red", "paused": "bold yellow", "up": "green", "not configured": "dim"}


@dataclass(frozen=True, kw_only=True)
class DestinationView:
    """One destination, as pages and the command line show it. Times are seconds since 1970.

    Attributes:
        state: "up", "down", "paused", "unknown" (nothing was ever sent to it) or "not configured".
        address: where it is.
        way: C-STORE or STOW-RS.
        objects: kinds of result that it gets.
        down_since: since when it has not answered; None while it does.
        retry_after: when it is tried next.
        last_contact: when it answered last.
        last_error, last_error_at: what went wrong last, in words.
        waiting, held, dead: objects of results that stand.
        delivered_today: objects that it took within the last 24 hours.
        oldest_waiting: since when the oldest one waits.
        dead_reasons: sentence -> how many objects.
        paused_since, paused_by: None and empty where it is not paused.
    """

    name: str
    state: str
    ae_title: str = ""
    address: str = ""
    way: str = ""
    objects: tuple[str, ...] = ()
    down_since: float | None = None
    retry_after: float | None = None
    last_contact: float | None = None
    last_error: str = ""
    last_error_at: float | None = None
    waiting: int = 0
    held: int = 0
    dead: int = 0
    delivered_today: int = 0
    oldest_waiting: float | None = None
    dead_reasons: tuple[tuple[str, int], ...] = ()
    paused_since: float | None = None
    paused_by: str = ""


def listing(database: Database, targets: Mapping[str, Target]) -> list[DestinationView]:
    """Every destination of the configuration, and those that are there no more but have something waiting or dead."""
    with database.read() as tx:
        rows, known = destinations.queues(tx), destinations.known(tx)
        outages = {row["destination"]: row for row in away.listing(tx)}
        names = {*targets, *(row["destination"] for row in rows)}
        taken = {name: destinations.taken(tx, name, DAY_SECONDS) for name in names}
        reasons = {name: destinations.dead_reasons(tx, name, REASONS_SHOWN) for name in names}
    queues: dict[str, dict[str, Any]] = {}
    for row in rows:
        queues.setdefault(row["destination"], {})[row["state"]] = row
    return [
        _view(
            name,
            targets.get(name),
            queues.get(name, {}),
            taken[name],
            known.get(name),
            outages.get(name),
            reasons[name],
        )
        for name in sorted(names)
    ]


def _view(
    name: str,
    target: Target | None,
    queue: Mapping[str, Any],
    taken: tuple[int, float | None],
    known: Any,
    outage: Any,
    reasons: Any,
) -> DestinationView:
    count = {state: int(row["count"]) for state, row in queue.items()}
    noted = dict(known) if known is not None else {}
    contact = max((at for at in (taken[1], noted.get("last_contact")) if at), default=None)
    paused = noted.get("paused_since")
    return DestinationView(
        name=name,
        state=_state(target, paused, outage, contact),
        ae_title=target.ae_title if target else "",
        address=_address(target),
        way="" if target is None else "STOW-RS" if target.web else "C-STORE",
        objects=tuple(sorted(target.objects)) if target else (),
        down_since=outage["since"] if outage is not None else None,
        retry_after=outage["retry_after"] if outage is not None else None,
        last_contact=contact,
        last_error=(outage["reason"] if outage is not None else noted.get("last_error")) or "",
        last_error_at=noted.get("last_error_at"),
        waiting=count.get("waiting", 0),
        held=count.get("held", 0),
        dead=count.get("dead", 0),
        delivered_today=taken[0],
        oldest_waiting=queue["waiting"]["oldest"] if "waiting" in queue else None,
        dead_reasons=tuple((row["reason"] or "nobody knows why", int(row["count"])) for row in reasons),
        paused_since=paused,
        paused_by=noted.get("paused_by") or "",
    )


def _state(target: Target | None, paused: float | None, outage: Any, contact: float | None) -> str:
    if target is None:
        return "not configured"
    if paused is not None:
        return "paused"
    if outage is not None:
        return "down"
    return "unknown" if contact is None else "up"


def _address(target: Target | None) -> str:
    if target is None:
        return ""
    return target.web.url if target.web else f"{target.ae_title}@{target.host}:{target.port}"


def pause(database: Database, targets: Mapping[str, Target], name: str, *, paused: bool, who: str) -> str:
    """Send one destination nothing, or go on; what is at hand is finished, all else waits.

    Raises:
        Refused: `no-such-destination`.
    """
    with database.write() as tx:
        if paused or name not in destinations.paused(tx):
            target_of(targets, name)
        destinations.set_paused(tx, name, paused, who)
    return f"{name} is paused: results for it wait" if paused else f"{name} goes on"


def echo(database: Database, targets: Mapping[str, Target], name: str, ae_title: str) -> str:
    """Ask a destination for a sign of life. Where it answers, what waits for it is due now.

    Raises:
        Refused: `no-such-destination`.
        Unavailable: with what went wrong.
    """
    target = target_of(targets, name)
    how = "QIDO-RS" if target.web else "C-ECHO"
    try:
        (stow if target.web else scu).echo(target, ae_title, ECHO_SECONDS)
    except Unavailable as error:
        with database.write() as tx:
            destinations.note_error(tx, name, error.sentence)
        raise
    with database.write() as tx:
        away.reachable(tx, name, has_room=True)
    return f"{name} answers {how}"


def retry_dead(database: Database, name: str) -> str:
    """Send again what a destination did not take: every dead delivery of it.

    Raises:
        Refused: `nothing-dead`.
    """
    revived = 0
    with database.write() as tx:
        for job in destinations.dead_jobs(tx, name):
            revived += deliveries.revive(tx, job["id"])
            # one that runs at this moment runs once more: it may have looked for the last time at what waits
            deliveries.ask(tx, name, job["input_set_id"], job["study_id"], job["max_attempts"])
    if not revived:
        raise Refused("nothing-dead", f"nothing that was to go to {name} is dead")
    return f"{revived} objects wait for {name} again"


def print_destinations(listed: list[DestinationView], now: float) -> None:
    """For people."""
    rows = [
        {
            "destination": one.name,
            "state": one.state,
            "where": one.address,
            "waiting": f"{one.waiting}{f', the oldest {_ago(now, one.oldest_waiting)}' if one.waiting else ''}",
            "dead": one.dead or "",
            "last contact": f"{_ago(now, one.last_contact)} ago" if one.last_contact else "never",
            "last error": one.last_error,
        }
        for one in listed
    ]
    keys = ("destination", "state", "where", "waiting", "dead", "last contact", "last error")
    print_table(output(), "destinations", keys, rows, STYLES)


def now(database: Database) -> float:
    """The database's time."""
    with database.read() as tx:
        return clock(tx)


def _ago(now: float, then: float | None) -> str:
    seconds = max(0.0, now - (then or now))
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
