"""Drive a node by hand, in the process of the test: no waiting, no threads but its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from db import jobs
from db.arrivals import Seen
from db.job_states import JobKind
from node import schedule
from node.app import Node
from node.operations.status import overview
from node.operations.submit import take_file
from node.worker import Worker
from tests.synthetic import as_files


def take_in(node: Node, images: Iterable[Dataset]) -> list[Seen]:
    """Let images arrive."""
    with tempfile.TemporaryDirectory() as folder:
        return [take_file(node.inbox, file) for file in as_files(list(images), Path(folder))]


def work_off(node: Node, *kinds: JobKind, most: int = 100) -> int:
    """Settle what is quiet and work off every job that is due; how many attempts that were."""
    worker = Worker(node, "test")
    for number in range(most):
        schedule.settle(node)
        with node.database.write() as tx:
            claim = jobs.claim(tx, kinds or list(JobKind), worker.name, 60)
        if claim is None:
            return number
        worker.attempt(claim)
    raise AssertionError(f"{most} attempts, and still no end")


def only_study(node: Node) -> dict[str, Any]:
    """The status of the one study that there is."""
    (study,) = overview(node.database)["studies"]
    return dict(study)


def jobs_of(node: Node, kind: JobKind | None = None) -> list[dict[str, Any]]:
    """The status of the jobs, oldest first."""
    found = overview(node.database)["jobs"]
    return [job for job in reversed(found) if kind in (None, job["kind"])]
