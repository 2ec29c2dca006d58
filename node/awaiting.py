"""A study that lacks a series that belongs to it waits for that, not for ever; then it goes on, or a person decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, time

from db import database, studies
from db.database import Row

from .app import Node
from .errors import Unavailable
from .operations.conditions import Seen
from .operations.expecting import Expectation
from .operations.routes import Judged

AWAITED = "series-awaited"
#: a series that comes makes the study settle anew, and ends the wait; this is for what changed in the configuration
LOOK_SECONDS = 300.0
INSTEAD = "`planimeter close` does not wait for it"


def anything(node: Node) -> bool:
    """Whether a study may be awaited at all."""
    return bool(node.expected) or any(route.expects is not None for route in node.routes)


def whole(node: Node, study: Row, judged: Sequence[Judged], at: time) -> None:
    """Return where a study has every series that is expected of it, or need not wait any more.

    Args:
        study: its row.
        judged: its series, with the verdicts of all routes.
        at: the time of the day.

    Raises:
        Unavailable: `series-awaited`: it lacks one; `study-held`: it still does, and now a person has to decide.
    """
    if study["forced"] == study["generation"]:
        return  # a person closed it
    with node.database.read() as tx:
        now = database.clock(tx)
    seen = [Seen(series.counted, series.calling_ae_titles, at) for series, _ in judged]
    for expectation in _expectations(node, judged):
        lacking = expectation.lacking(seen)
        if not lacking:
            continue
        left = study["last_image"] + expectation.wait_seconds - now
        if left > 0:
            until = datetime.fromtimestamp(now + left).astimezone().strftime("%H:%M")
            said = f"{expectation.whose} expects {lacking}; it waits until {until}; {INSTEAD}"
            raise Unavailable(AWAITED, said, min(left, LOOK_SECONDS))
        if expectation.hold:
            minutes = expectation.wait_seconds / 60
            why = f"{expectation.whose} expects {lacking}, which did not come within {minutes:g} minutes"
            with node.database.write() as tx:
                studies.hold(tx, study["id"], why)
            raise Unavailable("study-held", f"the study is held: {why}", LOOK_SECONDS)


def _expectations(node: Node, judged: Sequence[Judged]) -> Iterator[Expectation]:
    """Of the routes that take anything of the study, and of the peers that sent any of it."""
    taking = {verdict.route.name: verdict.route for _, verdicts in judged for verdict in verdicts if verdict.takes}
    yield from (route.expects for route in taking.values() if route.expects is not None)
    senders = {ae_title for series, _ in judged for ae_title in series.calling_ae_titles}
    yield from (one for ae_title, one in node.expected.items() if ae_title in senders)
