"""Processes are killed at every step of learning: it goes on, nothing is done twice, nothing goes live by accident."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from db import training_runs
from db.job_states import JobKind
from db.tables import job
from node import failpoints
from node.app import Node
from node.demo.study import ct_series
from node.giving_up import end_lost
from node.operations import retrain
from tests.driving import work_off
from tests.killed_loop import (
    EPOCHS,
    RUN,
    Ended,
    LearntHosts,
    Shop,
    attempts,
    checkpointed,
    config_of,
    ended,
    epochs,
    give_back,
    left,
    stamps,
    training_in,
)
from tests.running import RunningNode
from tests.waiting import wait_until

TRAIN, EVALUATE, SHADOW = JobKind.TRAIN, JobKind.EVALUATE, JobKind.SHADOW
*BEFORE_THE_SHADOW, IN_THE_SHADOW = failpoints.LEARNING_NAMES
#: what takes its time, and is never made a second time
ONCE = ("candidate.pt", "done.json", "progress.jsonl", ".npz")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with LearntHosts() as hosts:
        made = Shop(tmp_path_factory.mktemp("shop"), hosts)
        made.prepare()
        yield made


@pytest.fixture(scope="module")
def killed_everywhere(shop: Shop) -> Ended:
    """What a loop comes to whose workers are killed one by one, each at the next place."""
    home, begun = shop.copy("killed"), shop.hosts.asked
    with closing(shop.node(home)) as node:
        before: dict[str, tuple[int, int]] = {}
        for place in BEFORE_THE_SHADOW:
            shop.kill(home, node, place, TRAIN, EVALUATE)
            now = stamps(home / RUN)
            assert [name for name in before if name.endswith(ONCE) and now[name] != before[name]] == [], place
            before = now
        shop.go_on(home, TRAIN, EVALUATE)
        assert shop.hosts.asked - begun == 1 + 2 * 6, "once for the power, and each network once on each locked case"
        shop.next_study(node)
        shop.kill(home, node, IN_THE_SHADOW, SHADOW)
        shop.go_on(home, SHADOW)
        assert outcomes(node, TRAIN) == ["worker-lost"] * 4 + ["done"]
        assert outcomes(node, EVALUATE) == ["worker-lost"] * 2 + ["done"]
        assert outcomes(node, SHADOW) == ["worker-lost", "done"]
        assert list((home / "networks").glob("*/.*")), "what the one that was killed had built"
        return ended(node)


@pytest.fixture(scope="module")
def unkilled(shop: Shop) -> Ended:
    """What a loop comes to that nobody kills."""
    with closing(shop.node(shop.copy("unkilled"))) as node:
        assert [work_off(node, TRAIN), work_off(node, EVALUATE)] == [1, 1]
        shop.next_study(node)
        assert work_off(node, SHADOW) == 1
        return ended(node)


def outcomes(node: Node, kind: JobKind) -> list[str]:
    return [one.code or one.outcome for one in attempts(node, kind)]


@pytest.mark.slow
def test_killed_at_every_step_there_is_one_run_one_candidate_one_look_and_the_old_version_live(
    killed_everywhere: Ended,
) -> None:
    found = killed_everywhere
    assert found.counts == {"runs": 1, "evaluations": 1, "looks": 1, "shadows": 1, "releases": 1, "live": 1}
    assert [(version, state) for version, state, _ in found.versions] == [("0.1", "installed"), ("0.1+001", "shadow")]
    assert found.jobs == {"train": "done", "evaluate": "done", "shadow": "done"}
    assert [line["epoch"] for line in found.progress] == list(range(1, EPOCHS + 1))
    assert not [name for name in found.files if "/." in name], "what was left half made was swept"
    learnt = [what for _, what in found.record if what in ("training", "candidate", "evaluated", "eligible", "shadow")]
    assert learnt == ["training", "candidate", "evaluated", "eligible", "shadow"]


@pytest.mark.slow
def test_a_run_whose_workers_all_died_is_given_up_and_another_may_begin(shop: Shop) -> None:
    home = shop.copy("given-up")
    with closing(shop.node(home)) as node:
        with node.database.write() as tx:
            tx.execute(sa.update(job).where(job.c.kind == TRAIN).values(max_attempts=1))
        shop.kill(home, node, "before-training", TRAIN)
        assert end_lost(node) == 1, "as whoever rescues jobs does next"
        with node.database.read() as tx:
            (run,) = training_runs.listing(tx)
        assert (run["state"], run["candidate_id"]) == ("failed", None)
        assert "the worker died" in run["reason"]
        assert "balls is trained now" in retrain.ask(node.database, node.networks, "balls", 3, "somebody")


@pytest.mark.slow
def test_killed_at_every_step_it_comes_to_the_same_as_one_that_nobody_kills(
    killed_everywhere: Ended, unkilled: Ended
) -> None:
    """The same files, record and progress; the same weights, bit by bit."""
    assert killed_everywhere == unkilled


@pytest.mark.slow
@pytest.mark.parametrize("victims", [("training",), ("worker",), ("worker", "training")], ids="-and-".join)
def test_killed_in_the_midst_of_its_epochs_a_training_goes_on_from_its_checkpoint(
    shop: Shop, unkilled: Ended, victims: tuple[str, ...]
) -> None:
    """Where the worker dies alone, its training sees that, saves and leaves; else the last validation's state holds."""
    home = shop.copy("-".join(victims))
    with closing(shop.node(home)) as node:
        with shop.worker(home, TRAIN) as worker:
            wait_until("some epochs are done", lambda: len(epochs(home)) >= 8, 600)
            assert worker.pid is not None
            pids = {"worker": worker.pid, "training": training_in(home)}
            for one in victims:
                os.kill(pids[one], signal.SIGKILL)
            wait_until("the training is gone", lambda: not Path(f"/proc/{pids['training']}/cmdline").exists())
            assert not (home / RUN / "done.json").exists()
            said, kept = epochs(home), checkpointed(home)
            if "worker" not in victims:
                worker.join(120)
                assert worker.exitcode == 0
        if "worker" in victims:
            give_back(node)
            shop.go_on(home, TRAIN)
        assert len(said) < EPOCHS
        assert len(said) - len(kept) <= (0 if victims == ("worker",) else 2), "it is validated every second epoch"
        assert epochs(home)[: len(kept)] == kept, "not done again: the seconds are those of the first time"
        assert outcomes(node, TRAIN) == ["worker-lost" if "worker" in victims else "training-failed", "done"]
        found = ended(node)
        assert found.progress == unkilled.progress
        assert found.versions[1] == ("0.1+001", "candidate", unkilled.versions[1][2])
        assert found.record == unkilled.record[: len(found.record)]


# ---------------------------------------------------------- a study comes meanwhile

#: within which a study has the device
PROMISED_SECONDS = 60.0


def send(port: int, images: list[Dataset]) -> None:
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port)
    assert assoc.is_established
    assert {assoc.send_c_store(ds).Status for ds in images} == {0x0000}
    assoc.release()


def large(name: str) -> list[Dataset]:
    """A study that a network is busy with for a while."""
    images = list(ct_series(np.full((320, 320, 10), -900, np.float32), (3.0, 3.0, 4.0)))
    for ds in images:
        ds.PatientID, ds.PatientName = name, f"{name}^Test"
    return images


@dataclass(frozen=True)
class Served:
    """When a study was chosen, when a network first began with it and last ended: the database's own times."""

    chosen: float
    started: float
    ended: float


def served(node: Node) -> list[Served]:
    """The two studies that came last, in their order."""
    chosen, segmented = attempts(node, JobKind.CHOOSE), attempts(node, JobKind.SEGMENT)
    return [
        Served(
            chosen=min(one.ended for one in chosen if one.study_id == study),
            started=min(one.started for one in segmented if one.study_id == study),
            ended=max(one.ended for one in segmented if one.study_id == study),
        )
        for study in sorted({one.study_id for one in chosen})[-2:]
    ]


def tried(home: Path) -> dict[str, tuple[int, int]]:
    """What the networks made of locked cases so far."""
    return {name: stamp for name, stamp in stamps(home / RUN / "evaluation").items() if Path(name).name[0] != "."}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_study_has_the_device_within_a_minute_and_what_is_learnt_goes_on_afterwards(
    shop: Shop, start_node: Callable[..., RunningNode]
) -> None:
    """`planimeter run` with real model hosts: a study comes during the training, another during the evaluation."""
    home = shop.copy("running")
    with closing(shop.node(home, epochs=1_000_000, minutes=0.4, quiet_seconds=1)) as node:
        running = start_node("--config", str(config_of(home)), home=home)
        wait_until("some epochs are done", lambda: len(epochs(home)) >= 8, 600)
        send(running.port, large("MEANWHILE1"))
        wait_until("the training has left", lambda: "made-way" in outcomes(node, TRAIN))
        kept = checkpointed(home)
        wait_until("a case was tried by both", lambda: len(tried(home)) >= 2, 240)
        before = tried(home)
        send(running.port, large("MEANWHILE2"))
        wait_until("the loop is at its end", lambda: not left(node, (TRAIN, EVALUATE)), 240)
        assert running.stop() == 0

        for kind, study in zip((TRAIN, EVALUATE), served(node), strict=True):
            made_way, *others, done = [one for one in attempts(node, kind) if one.ended > study.chosen]
            assert [made_way.code, done.outcome] == ["made-way", "done"]
            assert {one.code for one in others} <= {"made-way"}, "it looked, and the device was not free yet"
            assert study.started - study.chosen < PROMISED_SECONDS
            assert made_way.ended - study.chosen < PROMISED_SECONDS
            assert study.ended - study.chosen < PROMISED_SECONDS
            busy = [name for name, (_, at) in stamps(home / RUN).items() if made_way.ended < at / 1e9 < study.ended]
            assert busy == [], "neither trained nor tried while the study had the device"
        assert 8 <= len(kept) < len(epochs(home))
        assert epochs(home)[: len(kept)] == kept
        # the last line is of a validation alone where the time was up before one
        steps = [line["iteration"] for line in epochs(home) if line["loss"] is not None]
        assert steps == list(range(1, len(steps) + 1))
        assert json.loads((home / RUN / "done.json").read_text())["why_ended"] == "max_minutes"
        assert {name: stamp for name, stamp in tried(home).items() if name in before} == before
        found = ended(node)
        assert (found.counts["runs"], found.counts["looks"], found.counts["live"]) == (1, 1, 1)
