"""A device with too little memory: waited for while a training leaves it, a failed attempt otherwise."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from db import jobs
from db.database import Clock
from db.job_states import JobKind, JobState
from db.tables import attempt, job
from node.app import Node
from node.hosts import OUT_OF_MEMORY, Hosts
from tests import mini_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.nurseries import SHARED
from tests.synthetic import small_series


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all tests here ask for model hosts: one that is warm serves the same bundle in every home."""
    made = Hosts(tmp_path_factory.mktemp("h"), "cpu", nursery=SHARED)
    yield made.serve()
    made.stop()


@pytest.fixture
def full(node: Node, hosts: Path) -> Node:
    """A node whose only network finds no memory."""
    code = "$lambda x: (_ for _ in ()).throw(__import__('torch').OutOfMemoryError('CUDA out of memory'))"
    lacks = {"_target_": "Lambdad", "keys": "image", "func": code}
    mini_bundle.make(node.archive.home / "models", "hungry", before=[lacks])
    return replace(node, hosts=hosts, routes=(replace(node.routes[0], networks=("hungry",)),))


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


def attempts_of(node: Node, job_id: object) -> list[tuple[str, str | None, str | None]]:
    with node.database.read() as tx:
        rows = tx.execute(sa.select(attempt).where(attempt.c.job_id == job_id).order_by(attempt.c.id)).all()
    return [(row.outcome, row.code, row.sentence) for row in rows]


def test_less_memory_is_not_tried_while_a_training_leaves_and_is_told_when_it_was(
    node: Node, hosts: Path, tmp_path: Path
) -> None:
    tries = mini_bundle.marks("tries")
    code = (
        f"$lambda x: (open({tries}, 'a').write('.'), x)[1] "
        f"if __import__('os').path.exists({tries}) and len(open({tries}).read()) > 1 "
        f"else (open({tries}, 'a').write('.'), (_ for _ in ()).throw(MemoryError()))"
    )
    post: list[dict[str, Any]] = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "to_tensor": True}
        | {"nearest_interp": False},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "Lambdad", "keys": "pred", "func": code},  # at first it has too little memory, twice
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
    ]
    mini_bundle.make(node.archive.home / "models", "tight", post=post)
    tight = replace(node, hosts=hosts, routes=(replace(node.routes[0], networks=("tight",)),))
    training(tight, JobState.RUNNING)
    found = segmented(tight)
    assert (found["state"], found["attempts"]) == ("waiting", 0)
    made = mini_bundle.marked(hosts.parent, "tries")
    assert made is not None
    assert len(made.read_text()) == 1
    with tight.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.kind == JobKind.TRAIN).values(state=JobState.CANCELLED))
        tx.execute(sa.update(job).where(job.c.kind == JobKind.SEGMENT).values(run_after=0))
    work_off(tight, JobKind.SEGMENT)
    assert len(made.read_text()) == 3, "plain, and one rung lower"
    first, second = attempts_of(tight, found["id"])
    assert first[:2] == ("unavailable", "device-shared")
    assert second[:2] == ("done", None)
    assert str(second[2]).startswith("little memory, half-precision accumulators: the label map may differ")
