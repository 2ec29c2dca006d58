"""Remove what the policy lets go.

A study's objects are given up in one transaction, under its lock and after a second look; only then their files are
unlinked. Killed at any point, the next purge or sweep goes on where it was (`db.doomed`).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track

from db import audit_trail, doomed, events, job_orders, retention
from db.database import Database
from db.job_states import JobKind

from ..audit import codes
from ..failpoints import reach
from ..study.archive import Archive
from .at_rest import undisturbed
from .retention import DAY_SECONDS, Going, Policy, What, plan

logger = logging.getLogger(__name__)

#: studies between two looks at the free space
AT_ONCE = 20
#: a purge comes every night: where the last one of another night is longer ago, the node was off, or the clock was set
ANOTHER_NIGHT_SECONDS, LONG_SECONDS = DAY_SECONDS / 2, 7 * DAY_SECONDS
RECORDED = "purged"


@dataclass(frozen=True, kw_only=True)
class Purged:
    """What went."""

    files: dict[str, int]
    bytes: int
    studies: int
    rows: dict[str, int]

    def __bool__(self) -> bool:
        return bool(self.studies or self.rows)

    def __str__(self) -> str:
        if not self:
            return "nothing was old enough to go"
        parts = [f"{count} files of {what}" for what, count in self.files.items()]
        parts += [f"{count} rows of {name}" for name, count in self.rows.items()]
        return f"{', '.join(parts)}: {self.bytes / 1e9:.2f} GB of {self.studies} studies are removed"


def unasked(archive: Archive, database: Database, policy: Policy) -> str:
    """Purge as the job does, for which nobody has looked at the clock; a sentence of what went.

    A clock that was set ahead by years makes everything old. So nothing goes for its age until a purge of another night
    has seen that clock.

    Raises:
        Unavailable: `home-in-use`.
    """
    with database.read() as tx:
        since = job_orders.seconds_since(tx, JobKind.PURGE, ANOTHER_NIGHT_SECONDS) or 0.0
    by_age = since < LONG_SECONDS
    done = purge(archive, database, policy, "planimeter", by_age=by_age)
    if by_age:
        return str(done)
    days = f"{since / DAY_SECONDS:.0f} days ago by the clock of the database"
    sentence = f"nothing goes for its age before tomorrow: the last purge of another night was {days}. Is it right?"
    logger.warning("%s", sentence)
    return f"{done}; {sentence}" if done else sentence


def purge(
    archive: Archive,
    database: Database,
    policy: Policy,
    who: str,
    *,
    by_age: bool = True,
    console: Console | None = None,
) -> Purged:
    """Remove what is old enough; below the mark of free space also what is not, the oldest first, until there is room.

    Args:
        by_age: False: nothing goes for its age.

    Raises:
        Unavailable: `home-in-use`: a backup reads the files.
    """
    with undisturbed(archive.home):
        finish(archive, database)
        going = plan(database, policy).going if by_age else ()
        files, size, studies = _give_up_all(archive, database, policy, going, who, console)
        if policy.when_full and policy.removes_anything:
            while not _has_room(archive, policy):
                more = plan(database, policy, full=True).going[:AT_ONCE]
                some, freed, of = _give_up_all(archive, database, policy, more, who, console)
                if not of:
                    break
                files, size, studies = files + some, size + freed, studies | of
        rows = {}
        if policy.history_days and by_age:
            with database.write() as tx:
                rows = retention.forget(tx, policy.history_days * DAY_SECONDS)
        done = Purged(files=dict(files), bytes=size, studies=len(studies), rows=rows)
        if done:
            with database.write() as tx:
                said = {"files": done.files, "bytes": done.bytes, "studies": done.studies, "rows": rows}
                events.append(tx, who, RECORDED, "retention", said)
    return done


def _has_room(archive: Archive, policy: Policy) -> bool:
    """A tenth more than the mark, as the receiver wants it."""
    return archive.free_bytes() > policy.refuse_bytes * 1.1


def _give_up_all(
    archive: Archive, database: Database, policy: Policy, going: Sequence[Going], who: str, console: Console | None
) -> tuple[Counter[str], int, set[int]]:
    files: Counter[str] = Counter()
    size, studies = 0, set[int]()
    shown = console or Console(quiet=True)
    for one in track(going, "removing", console=shown, transient=True):
        count, freed = _give_up(database, policy, one, who)
        reach("given-up")
        finish(archive, database)
        if count:
            files[one.what] += count
            size += freed
            studies.add(one.study_id)
    return files, size, studies


def _give_up(database: Database, policy: Policy, one: Going, who: str) -> tuple[int, int]:
    """Under the lock of the study, after a second look: something may have come since it was planned."""
    with database.write() as tx:
        retention.lock(tx, one.study_id)
        if one.study_id in retention.blocked(tx, policy.committing, one.study_id):
            return 0, 0
        if one.what is What.ORIGINALS:
            gone = retention.give_up_originals(tx, one.study_id, one.older_seconds)
        elif one.what is What.RESULTS:
            gone = retention.give_up_results(tx, one.study_id)
        else:
            gone = retention.give_up_instances(tx, one.study_id, one.what, one.older_seconds)
        if gone[0]:
            (study_uid,) = audit_trail.study_uids(tx, [one.study_id])
            said = {"who": who, "said": f"by retention: {gone[0]} files of {one.what}"}
            audit_trail.put(tx, codes.What.DELETED, audit_trail.about(tx, study_uid) | said)
        return gone


def finish(archive: Archive, database: Database) -> int:
    """Unlink what was given up, also what a process that was killed left; how many files that were."""
    count = 0
    while True:
        with database.read() as tx:
            paths = doomed.listing(tx)
        if not paths:
            return count
        for path in paths:
            archive.remove(path)
            reach("unlinked")
        with database.write() as tx:
            doomed.gone(tx, paths)
        count += len(paths)
