"""A device with too little memory: waited for while a training leaves it, a failed attempt otherwise."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import jobs
from db.database import Clock
from db.job_states import JobKind, JobState
from db.tables import job
from node.app import Node
from node.hosts import OUT_OF_MEMORY, Hosts
from tests import mini_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.synthetic import small_series


@pytest.fixture
def full(node: Node, tmp_path: Path) -> Iterator[Node]:
    """A node whose only network finds no memory."""
    code = "$lambda x: (_ for _ in ()).throw(__import__('torch').OutOfMemoryError('CUDA out of memory'))"
    lacks = {"_target_": "Lambdad", "keys": "image", "func": code}
    mini_bundle.make(node.archive.home / "models", "hungry", before=[lacks])
    hosts = Hosts(tmp_path / "h", "cpu")
    hosts.folder.mkdir()
    routes = (replace(node.routes[0], networks=("hungry",)),)
    yield replace(node, hosts=hosts.serve(), routes=routes)
    hosts.stop()


def training(node: Node, state: JobState) -> None:
    """A training job on this machine."""
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.TRAIN, "hungry", max_attempts=1, delay_seconds=3600)
        mine = job.c.kind == JobKind.TRAIN
        values = {"state": state, "worker": f"{socket.gethostname()}:other", "lease_until": Clock() + 600}
        tx.execute(sa.update(job).where(mine).values(**values))


def segmented(node: Node) -> dict[str, object]:
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    work_off(node, JobKind.SEGMENT)
    (found,) = jobs_of(node, JobKind.SEGMENT)
    return found


def test_while_a_training_leaves_the_device_a_study_waits_and_loses_no_attempt(full: Node) -> None:
    training(full, JobState.RUNNING)
    found = segmented(full)
    assert (found["state"], found["attempts"]) == ("waiting", 0)
    assert str(found["reason"]).startswith("device-shared: a training leaves the device")


def test_without_one_it_is_a_failed_attempt(full: Node) -> None:
    found = segmented(full)
    assert (found["state"], found["attempts"]) == ("waiting", 1)
    assert str(found["reason"]).startswith(f"{OUT_OF_MEMORY}: the network has too little memory")
