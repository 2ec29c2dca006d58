"""Fetch a study from a PACS, at the hours when that disturbs nobody: the `fetch` step."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from db import fetches, job_orders, jobs, studies
from db.job_states import Claim, JobKind, JobState

from .app import Node
from .attempt import Stages
from .errors import Refused, Unavailable
from .operations.routes import PRIORITIES
from .pull import retrieve, search
from .pull.retrieve import Us

#: until a PACS that is away is tried again
AWAY_SECONDS = 300.0


def fetch(node: Node, job: Claim, stages: Stages) -> None:
    """Get it, unless it is here. What keeps it back keeps all back that come from the same PACS."""
    peer, study_uid = job.subject.split("/", 1)
    try:
        _fetch(node, job, stages, peer, study_uid)
    except Unavailable as away:
        wait_seconds = away.retry_seconds or AWAY_SECONDS
        with node.database.write() as tx:  # else a thousand jobs would knock, one after the other
            job_orders.due_in(tx, JobKind.FETCH, fetches.subject(peer, ""), wait_seconds)
        raise Unavailable(away.code, away.sentence, wait_seconds) from away


def _fetch(node: Node, job: Claim, stages: Stages, peer: str, study_uid: str) -> None:
    pacs = node.fetch.pacs.get(peer)
    if pacs is None:
        raise Refused("no-such-peer", f"{peer} is no peer with a `query` in the configuration any more")
    if wait_seconds := node.fetch.wait_seconds(datetime.now().astimezone().time()):
        raise Unavailable("outside-window", "it is fetched when the window of [fetch] opens", wait_seconds)
    limits, us = node.fetch.limits, us_of(node)
    with stages("query"), search.asking(pacs, node.ae_title, limits, node.trail) as finder:
        expected = search.images(finder, study_uid)
    here = us.here(study_uid, "")
    if expected is not None and here >= expected:
        said = f"all {expected} objects were here already"
    else:
        with stages("retrieve"):
            said = retrieve.study(us, pacs, limits, study_uid, "", expected, _silent)
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report("fetched", said))


def us_of(node: Node) -> Us:
    """Who retrieves, in this node."""

    def here(study_uid: str, series_uid: str) -> int:
        with node.database.read() as tx:
            return fetches.here(tx, study_uid, series_uid)

    return Us(node.ae_title, node.fetch.port, node.inbox, here, node.trail)


def priority(tx: Any, node: Node, study_id: int) -> int:
    """The most urgent that the networks' jobs of a study may be: nobody waits for what was fetched at night."""
    study_uid = studies.uid_of(tx, study_id)
    return PRIORITIES["night"] if fetches.in_no_hurry(tx, study_uid, node.fetch.pacs) else 0


def _silent(_done: int, _of: int | None) -> None:
    """Nobody looks at a job's progress."""
