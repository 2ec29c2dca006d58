"""Make what somebody has asked for on the page of a study: the `export` step."""

from __future__ import annotations

from typing import Any

from db import asked_exports, jobs
from db.job_states import Claim, JobState

from .app import Node
from .attempt import Stages
from .operations.exporting import asked


def export(node: Node, job: Claim, stages: Stages) -> None:
    """De-identify a study into a file to be fetched; a refusal is what became of it, and not of the job."""
    number = int(job.subject)
    with stages("export"):
        done = asked.make(node.database, node.archive.home, node.learning.key, number)
    with node.database.write() as tx:
        asked_exports.end(tx, number, **done)
        jobs.finish(tx, job, JobState.DONE, stages.report())


def gave_up(tx: Any, job: Claim, sentence: str) -> None:
    """The step failed for good: its export says so, and the study may be asked for again."""
    said = f"it could not be made: {sentence}; ask for it once more, or `planimeter retry {job.id}` makes this one"
    asked_exports.end(tx, int(job.subject), path=None, size=None, code=asked_exports.FAILED, sentence=said)
