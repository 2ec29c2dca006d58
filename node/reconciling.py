"""Ask a PACS once a day which studies it has that never came: the `reconcile` step."""

from __future__ import annotations

from datetime import date, datetime

from db import jobs
from db.job_states import Claim, JobKind, JobState

from .app import Node
from .attempt import Stages
from .errors import Refused
from .operations import reconcile as going_through

#: behind all that a person waits for, and before what is fetched
PRIORITY = 80


def ask(node: Node, now: datetime) -> None:
    """Ask for it where today's time has come; asked again, it is the same job.

    Args:
        now: by this machine's clock.
    """
    at = node.fetch.reconcile_at
    if at is None or now.time() < at:
        return
    today = f"{now:%Y-%m-%d}"
    wanted = [name for name, one in sorted(node.fetch.pacs.items()) if one.reconcile]
    for name in wanted:
        with node.database.write() as tx:
            jobs.enqueue(tx, JobKind.RECONCILE, name, due=today, max_attempts=node.work.attempts, priority=PRIORITY)


def reconcile(node: Node, job: Claim, stages: Stages) -> None:
    """Go through the days; what never came is fetched, where the site wants that."""
    pacs = node.fetch.pacs.get(job.subject)
    if pacs is None:
        raise Refused("no-such-peer", f"{job.subject} is no peer with a `query` in the configuration any more")
    now = datetime.now().astimezone()
    days = going_through.days_before(date(now.year, now.month, now.day), node.fetch.reconcile_days)
    with stages("query"):
        found = going_through.reconcile(node.database, pacs, node.ae_title, node.fetch.limits, days, pacs.modalities)
    said = found.sentence
    if node.fetch.reconcile_fetch and found.lacking:
        wait_seconds = node.fetch.wait_seconds(now.time())
        going_through.fetch(node.database, found.lacking, node.work.attempts, wait_seconds)
        said += "; they are fetched"
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report("reconciled", said))
