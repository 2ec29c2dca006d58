"""Whatever a network does to its host, the worker lives on, the job ends as it should, and the next study is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import load
from db.job_states import JobKind
from models import card
from node.app import Node, open_node
from node.demo.study import ct_series
from node.operations.status import overview
from tests import mini_bundle
from tests.driving import take_in
from tests.running import RunningNode
from tests.synthetic import SPACING_MM, block
from tests.waiting import wait_until

#: what the bundle does when what surrounds the box has the value of its place here, times 40 HU
FAULTS = """
import os
import signal
import time
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
            time.sleep(600)
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
    post = [
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


#: (fault, state of the job, attempts, code)
OUTCOMES = [
    ("kill -9", "done", 2, None),
    ("hang", "done", 2, None),
    ("out of memory", "dead", 2, "out-of-memory"),
    ("the GPU is lost", "done", 2, None),
    ("NaN", "refused", 1, "output-not-finite"),
    ("rubbish", "refused", 1, "output-unknown-label"),
]


@pytest.mark.filterwarnings("ignore")
def test_every_fault_has_its_outcome_and_the_next_study_is_done(
    start_node: Callable[..., RunningNode], tmp_path: Path
) -> None:
    home, marks = tmp_path / "running", tmp_path / "marks"
    marks.mkdir()
    (home / "models").mkdir(parents=True)
    faulty(home / "models", marks)
    file = tmp_path / "planimeter.toml"
    file.write_text(
        f'[node]\nhome = "{home}"\n[receive]\nquiet_seconds = 0\nreserve_gb = 0\n'
        "[work]\nworkers = 1\nattempts = 2\njob_minutes = 0.3\n"
        '[[route]]\nname = "all"\nnetworks = ["faulty"]\n'
    )
    running = start_node("--config", str(file))
    workers = running.processes("work")
    node = open_node(load(file))
    try:
        for number, (fault, state, attempts, code) in enumerate(OUTCOMES, 1):
            found = outcome(node, study(number))
            assert (found["state"], found["attempts"]) == (state, attempts), (fault, found)
            assert code is None or str(found["reason"]).startswith(f"{code}: "), (fault, found)
            after = outcome(node, study(0))
            assert (after["state"], after["attempts"]) == ("done", 1), (fault, after)
    finally:
        node.close()
    assert running.processes("work") == workers, "the worker outlived them all"
    assert {mark.name for mark in marks.iterdir()} == {"killed", "hung", "assert"}


def outcome(node: Node, images: list[Any]) -> dict[str, Any]:
    """How the segmentation of a study ended."""
    take_in(node, images)
    uid = images[0].StudyInstanceUID

    def ended() -> dict[str, Any] | None:
        jobs = [job for job in overview(node.database)["jobs"] if job["study_uid"] == uid]
        return next((job for job in jobs if job["kind"] == JobKind.SEGMENT and job["state"] not in OPEN), None)

    return wait_until("the study is worked off", ended, 240)


OPEN = ("waiting", "running")
