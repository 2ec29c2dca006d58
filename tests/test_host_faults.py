"""Whatever a network does to its host, the worker lives on, the job ends as it should, and the next study is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import load
from db.job_states import Backoff, JobKind
from models import card
from models.confine.rights import Demand
from node.app import Node, open_node
from node.demo.study import ct_series
from node.hosts import Hosts
from node.operations.status import overview
from tests import mini_bundle
from tests.driving import take_in, work_off
from tests.nurseries import SHARED
from tests.running import RunningNode
from tests.synthetic import SPACING_MM, block
from tests.waiting import wait_until

#: what the bundle does when what surrounds the box has the value of its place here, times 40 HU
FAULTS = """
import os
import signal
import threading
from pathlib import Path

import torch
from monai.transforms import MapTransform

now = 0


def once(what):
    mark = Path({folder!r}) / what
    if mark.exists():
        return False
    mark.touch()
    return True


class Before(MapTransform):
    def __call__(self, data):
        global now
        now = round(float(data["image"].max()) / 40)
        if now == 1 and once("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if now == 2 and once("hung"):
            threading.Event().wait(600)
        if now == 3:
            torch.empty(1 << 42)
        if now == 4 and once("assert"):
            raise RuntimeError("CUDA error: device-side assert triggered")
        return data


class After(MapTransform):
    def __call__(self, data):
        if now == 5:
            data["pred"] = data["pred"] * torch.nan
        if now == 6:
            data["pred"] = data["pred"] + 7
        return data
"""


def faulty(models: Path, folder: Path) -> None:
    """A network with faults that its input chooses."""
    post: list[dict[str, Any]] = [
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {"_target_": "scripts.faults.After", "keys": "pred"},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": True,
            "to_tensor": True,
        },
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
    ]
    before = [{"_target_": "scripts.faults.Before", "keys": "image"}]
    bundle = mini_bundle.make(models, "faulty", before=before, post=post)
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").touch()
    (bundle / "scripts" / "faults.py").write_text(FAULTS.format(folder=str(folder)))
    card.seal(bundle)


def study(number: int) -> list[Any]:
    """A box of air in something of 40 HU, times a number."""
    hu = block()
    hu[hu > -500] = 40 * number
    return list(ct_series(hu.astype(np.float32), SPACING_MM))


OPEN = ("waiting", "running")
#: (fault, state of the job, attempts, code)
OUTCOMES = [
    ("kill -9", "done", 2, None),
    ("hang", "done", 2, None),
    ("out of memory", "dead", 2, "out-of-memory"),
    ("the GPU is lost", "done", 2, None),
    ("NaN", "refused", 1, "output-not-finite"),
    ("rubbish", "refused", 1, "output-unknown-label"),
]


def test_every_fault_has_its_outcome_and_the_next_study_is_done(node: Node, tmp_path: Path) -> None:
    faulty(node.archive.home / "models", tmp_path)
    # what the bundle did before it died it remembers in files
    hosts = Hosts(tmp_path / "h", "cpu", nursery=SHARED, confine=Demand.OFF)
    hosts.folder.mkdir()
    routes = (replace(node.routes[0], networks=("faulty",)),)
    policy = replace(node.work, job_seconds=20, attempts=2, backoff=Backoff(0.01, 0.01))
    works = replace(node, hosts=hosts.serve(), routes=routes, work=policy)
    try:
        all_of_them(works, lambda: work_off(works, JobKind.CHOOSE, JobKind.SEGMENT))
    finally:
        hosts.stop()
    assert {mark.name for mark in tmp_path.iterdir()} >= {"killed", "hung", "assert"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_running_node_outlives_them_all(start_node: Callable[..., RunningNode], tmp_path: Path) -> None:
    home = tmp_path / "running"
    (home / "models").mkdir(parents=True)
    faulty(home / "models", tmp_path)
    file = tmp_path / "planimeter.toml"
    file.write_text(
        # with less quiet than this, a busy machine settles a study before all its images have arrived
        f'[node]\nhome = "{home}"\n[receive]\nquiet_seconds = 2\nreserve_gb = 0\n'
        '[work]\nworkers = 1\nattempts = 2\njob_minutes = 0.5\nconfine = "off"\n'
        '[[route]]\nname = "all"\nnetworks = ["faulty"]\n'
    )
    running = start_node("--config", str(file))
    workers = running.processes("work")
    node = open_node(load(file))
    try:
        all_of_them(node, lambda: None)
    finally:
        node.close()
    assert running.processes("work") == workers, "the same worker, to the end"


def all_of_them(node: Node, drive: Callable[[], object]) -> None:
    """Each fault, and a study without one behind it.

    Args:
        drive: lets the node work, where it does not do so by itself.
    """
    for number, (fault, state, attempts, code) in enumerate(OUTCOMES, 1):
        found = outcome(node, study(number), drive)
        assert (found["state"], found["attempts"]) == (state, attempts), (fault, found)
        assert code is None or str(found["reason"]).startswith(f"{code}: "), (fault, found)
        after = outcome(node, study(0), drive)
        assert (after["state"], after["attempts"]) == ("done", 1), (fault, after)


def outcome(node: Node, images: list[Any], drive: Callable[[], object]) -> dict[str, Any]:
    """How the segmentation of a study ended."""
    take_in(node, images)
    uid = images[0].StudyInstanceUID

    def ended() -> dict[str, Any]:
        drive()
        jobs = [job for job in overview(node.database)["jobs"] if job["study_uid"] == uid]
        return next((job for job in jobs if job["kind"] == JobKind.SEGMENT and job["state"] not in OPEN), {})

    return wait_until("the study is worked off", ended, 240)
