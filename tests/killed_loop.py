"""A node that is about to learn, copied as often as it is to be killed, and what became of one that nobody killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
import torch

from config.settings import load
from db import events, lost_jobs, networks, training_runs
from db.job_states import JobKind
from db.tables import attempt, job, shadow
from models.wire import SharedArray
from node.app import Node, open_node
from node.operations import audit, retrain
from node.operations.sweep import sweep_home
from tests import loop_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.test_learning_loop import KEY, SHARES, series, taught
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

EPOCHS = 60
#: few patients, of whom enough are locked for a verdict
WANTED = {"train": 2, "validation": 1, "test": 6}
SETTINGS = """
[node]
home = "{home}"
[receive]
quiet_seconds = {quiet_seconds}
reserve_gb = 0
[work]
device = "cpu"
lease_seconds = 2
heartbeat_seconds = 0.3
attempts = 6
[learning]
train = true
shares = [{shares}]
window = ""
new_patients = 100
max_epochs = {epochs}
max_minutes = {minutes}
early_stop = 1000000
quiet_seconds = 0.2
fewest_patients = 6
shadow_studies = 1
[[route]]
name = "balls"
networks = ["balls"]
"""
#: the folder of the first run, below the home folder
RUN = "learning/runs/1"
#: the steps of learning, in their order
LEARNING = (JobKind.TRAIN, JobKind.EVALUATE, JobKind.SHADOW)


class LearntHosts(ThresholdHosts):
    """The hosts of the loop's bundle, without torch: what was trained finds both classes, what is installed finds none.

    Each says that it took so long that it is not run again to be timed.
    """

    def __enter__(self) -> LearntHosts:
        for name, labels in (("installed", (0, 0)), ("trained", (1, 2))):
            self._listen(self._folder / name, lambda _message, arrays, labels=labels: self._found(arrays[0], *labels))
        self._listen(self.address, lambda message, _arrays: ({"address": str(self._of(Path(message["folder"])))}, ()))
        return self

    def _of(self, folder: Path) -> Path:
        return self._folder / ("trained" if "networks" in folder.parts else "installed")

    def _found(self, volume: SharedArray, dark: int, grey: int) -> tuple[dict[str, Any], tuple[SharedArray, ...]]:
        self.asked += 1
        labels = SharedArray.make(volume.array.shape, np.uint8)
        labels.array[...] = np.select([volume.array < -700, volume.array < -250], [dark, grey])
        seconds = {"preprocess": 1.0, "forward": 9.0}
        return {"say": "done", "seconds": seconds, "peak_memory_mb": 1.0, "device": "threshold"}, (labels,)


@dataclass(frozen=True)
class Ended:
    """What a loop came to, less what differs from one time to the next.

    Attributes:
        files: of the home folder.
        record: who did what, in order.
        versions: version, state, hash of the weights.
        jobs: kind -> state of the learning ones.
        progress: what was said of each epoch of the training.
        counts: of rows; `live` is the id of the live version.
    """

    files: Counter[str]
    record: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str, str], ...]
    jobs: dict[str, str]
    progress: list[dict[str, Any]]
    counts: dict[str, int]


@dataclass(frozen=True)
class Shop:
    """A node that is about to train, to be copied."""

    folder: Path
    hosts: LearntHosts

    def node(self, home: Path, *, epochs: int = EPOCHS, minutes: float = 5, quiet_seconds: float = 0) -> Node:
        """A node in this process; its settings are kept beside its home, for workers."""
        values = {"epochs": epochs, "minutes": minutes, "quiet_seconds": quiet_seconds}
        config_of(home).write_text(SETTINGS.format(home=home, shares=", ".join(map(str, SHARES)), **values))
        return open_node(load(config_of(home)), self.hosts.address)

    def copy(self, name: str) -> Path:
        """The home of one that is about to train."""
        return Path(shutil.copytree(self.folder / "taught", self.folder / name))

    def prepare(self) -> None:
        """Patients come, get drafts and come back corrected, and somebody asks for a training."""
        home = self.folder / "taught"
        (home / "learning").mkdir(parents=True, mode=0o700)
        (home / "learning" / "key").write_bytes(KEY.secret)
        loop_bundle.make(home / "models")
        with closing(self.node(home)) as node:
            taught(node, self.folder, WANTED)
            retrain.ask(node.database, node.networks, "balls", node.work.attempts, "somebody")

    def next_study(self, node: Node) -> None:
        """Another patient's study comes, and the live version segments it."""
        take_in(node, series(77, "NEXT1"))
        work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)

    @contextmanager
    def worker(self, home: Path, *steps: JobKind, place: str = "") -> Iterator[BaseProcess]:
        """A worker in a process of its own, at these steps until none of them is left.

        Args:
            place: where it kills itself.
        """
        process = PROCESSES.Process(target=_work, args=(config_of(home), self.hosts.address, steps, place))
        process.start()
        try:
            yield process
        finally:
            process.kill()
            process.join()

    def kill(self, home: Path, node: Node, place: str, *steps: JobKind) -> None:
        """Let a worker run into a place; its jobs are given back, as the supervisor does."""
        with self.worker(home, *steps, place=place) as process:
            process.join(120)
            assert process.exitcode == -signal.SIGKILL
        give_back(node)

    def go_on(self, home: Path, *steps: JobKind) -> None:
        """Let a worker come to the end."""
        with self.worker(home, *steps) as process:
            process.join(120)
            assert process.exitcode == 0


#: a worker is forked from a process that has its modules, and no thread
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.killed_loop", "node.evaluation_report"])


def _work(config: Path, hosts: Path, steps: tuple[JobKind, ...], place: str) -> None:
    os.environ["PLANIMETER_FAILPOINT"] = place
    with closing(open_node(load(config), hosts)) as node:
        wait_until("all is done", lambda: work_off(node, *steps) < 0 or not left(node, steps), 120, 0.1)


def config_of(home: Path) -> Path:
    """The settings of a node, beside its home folder."""
    return home.with_name(f"{home.name}.toml")


def give_back(node: Node) -> None:
    """The jobs of a worker that is known to be dead wait again."""
    with node.database.write() as tx:
        lost_jobs.rescue(tx, worker="test")


def left(node: Node, steps: tuple[JobKind, ...]) -> list[str]:
    """What of these steps is still to be done; a step that was not asked for yet is."""
    states = {one["kind"]: one["state"] for one in jobs_of(node) if one["kind"] in steps}
    return [step for step in steps if states.get(step, "waiting") in ("waiting", "running")]


def ended(node: Node) -> Ended:
    """What a loop has come to, once what crashes leave was swept; the record is whole."""
    home = node.archive.home
    sweep_home(node.archive, node.database, node.inbox, settled_seconds=-1)
    assert audit.verify(node.database).startswith("the record is whole")
    with node.database.read() as tx:
        runs, judged = training_runs.listing(tx), training_runs.evaluations(tx)
        live = networks.live(tx, "balls")
        assert live is not None
        return Ended(
            files=Counter(files(home)),
            record=tuple((one["who"], one["what"]) for one in reversed(events.listing(tx))),
            versions=tuple(
                (one["version"], one["state"], one["weights_sha256"]) for one in networks.versions(tx, "balls")
            ),
            jobs={one["kind"]: one["state"] for one in jobs_of(node) if one["kind"] in LEARNING},
            progress=[{key: line[key] for key in line if key != "seconds"} for line in epochs(home)],
            counts={
                "runs": len(runs),
                "evaluations": len(judged),
                "looks": sum(one["look"] for one in judged),
                "shadows": tx.execute(sa.select(sa.func.count()).select_from(shadow)).scalar_one(),
                "releases": len(networks.releases(tx, "balls")),
                "live": live["id"],
            },
        )


def files(home: Path) -> Iterator[str]:
    """What lies below a home folder, but for what a process leaves of itself; store and results have random names."""
    for file in home.rglob("*"):
        name = file.relative_to(home).as_posix()
        if file.is_file() and not name.startswith(("planimeter.db", "run/", "node.json", f"{RUN}/runs/")):
            yield name if not name.startswith(("store/", "results/")) else name.split("/")[0]


def epochs(home: Path) -> list[dict[str, Any]]:
    """The lines of progress.jsonl that say what an epoch came to, as far as they are written."""
    file = home / RUN / "progress.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    said = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line for line in said if "step" not in line]


def attempts(node: Node, *kinds: JobKind) -> list[sa.Row[Any]]:
    """The attempts at these kinds of job, oldest first: kind, started, ended, outcome, code."""
    columns = (job.c.kind, attempt.c.started, attempt.c.ended, attempt.c.outcome, attempt.c.code, job.c.study_id)
    found = sa.select(*columns).join(job, job.c.id == attempt.c.job_id)
    with node.database.read() as tx:
        return list(tx.execute(found.where(job.c.kind.in_(kinds)).order_by(attempt.c.id)))


def training_in(home: Path) -> int:
    """The process that trains now."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"models.training" in words and str(home / RUN).encode() in words:
                return int(folder.name)
    raise AssertionError(f"nobody trains in {home}")


def checkpointed(home: Path) -> list[dict[str, Any]]:
    """The epochs that the checkpoint of a training has behind it."""
    steps = torch.load(home / RUN / "checkpoint.pt", weights_only=True)["standing"]["steps"]
    return [line for line in epochs(home) if line["iteration"] <= steps]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file lies under each name, and when it was written."""
    found = {file: file.stat() for file in folder.rglob("*") if file.is_file()}
    return {file.relative_to(folder).as_posix(): (one.st_ino, one.st_mtime_ns) for file, one in found.items()}
