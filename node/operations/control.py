"""What a person tells a node to do. Each answers with a sentence, or raises Refused with one.

`cancel` is `giving_up`'s: what rests on the job is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from db import asked_exports, deliveries, input_sets, job_orders, pauses, results, studies
from db.database import Conflict, Database
from db.job_states import JobKind
from db.pauses import ACTIVITIES

from ..errors import Refused

__all__ = ["ACTIVITIES", "close", "pause", "reprocess", "retry"]


def retry(database: Database, job_id: int) -> str:
    """Open an ended job again, and with it the dead deliveries of a `deliver` job, or an export that failed."""
    try:
        return _retry(database, job_id)
    except Conflict:
        raise Refused("job-open", f"another job does what job {job_id} did, and has not ended") from None


def _retry(database: Database, job_id: int) -> str:
    with database.write() as tx:
        found = job_orders.of(tx, job_id)
        if found is None:
            raise Refused("no-such-job", f"there is no job {job_id}; `planimeter jobs` lists them")
        if found["kind"] == JobKind.DELIVER:
            deliveries.revive(tx, job_id)
        if found["kind"] == JobKind.EXPORT:
            asked_exports.make_again(tx, job_id)
        if not job_orders.reopen(tx, job_id):
            raise Refused("job-open", f"job {job_id} has not ended: it waits or runs already")
    return f"job {job_id} waits again"


def close(database: Database, study_uid: str, who: str, attempts: int) -> str:
    """Settle a study now. One that was held for a person is worked on again from the newest of its images."""
    with database.write() as tx:
        if _is_held(tx, study_uid):
            return _again(tx, study_uid, f"released by {who}", attempts)
        _with_images(tx, study_uid)
        if not studies.close(tx, study_uid, f"closed by {who}", attempts):
            raise Refused("no-such-study", f"there is no study {study_uid} with images")
    return f"study {study_uid} is closed; what it goes through is chosen now"


def reprocess(database: Database, study_uid: str, who: str, attempts: int) -> str:
    """Choose again from a study and run its networks again, also where nothing has changed."""
    with database.write() as tx:
        return _again(tx, study_uid, f"reprocessed by {who}", attempts)


def _again(tx: Any, study_uid: str, because: str, attempts: int) -> str:
    was_held = _is_held(tx, study_uid)
    _with_images(tx, study_uid)
    if not studies.close(tx, study_uid, because, attempts):
        raise Refused("no-such-study", f"there is no study {study_uid} with images")
    study = studies.find(tx, study_uid)
    assert study is not None
    current = input_sets.of_study(tx, study["id"])
    for one in current:
        if was_held:  # what was made before names the patient of before
            results.set_aside(tx, one["id"])
        # behind `choose`, which says anew where the results go
        input_sets.ask(tx, one["id"], study["id"], attempts, priority=2)
        job_orders.hurry(tx, JobKind.SEGMENT, str(one["id"]))
    return f"study {study_uid} is chosen from again; {len(current)} networks run again"


def _with_images(tx: Any, study_uid: str) -> None:
    found = studies.find(tx, study_uid)
    if found is not None and found["purged"] is not None:
        raise Refused(
            "images-purged",
            f"images of study {study_uid} are not kept any more (retention); fetch it (`planimeter fetch --study "
            f"{study_uid}`), or let the PACS send it again, and then reprocess",
        )


def _is_held(tx: Any, study_uid: str) -> bool:
    study = studies.find(tx, study_uid)
    return study is not None and study["state"] == "held"


def pause(database: Database, activities: Iterable[str], *, paused: bool, who: str) -> str:
    """Pause or resume receiving, working or sending; what is at hand is finished."""
    named = list(activities)
    with database.write() as tx:
        for activity in named:
            pauses.set_paused(tx, activity, paused, who)
    return f"{', '.join(named)}: {'paused' if paused else 'goes on'}"
