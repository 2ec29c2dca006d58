"""A warm host has all of its network in memory: for the second study nothing of the bundle is opened."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import card, client
from models.wire import SharedArray
from tests import mini_bundle
from tests.conftest import find_program
from tests.waiting import wait_until


def test_for_the_second_study_no_weights_file_is_opened(tmp_path: Path) -> None:
    strace = find_program("strace", "apt-get install strace")
    bundle, trace = mini_bundle.make(tmp_path), tmp_path / "trace"
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        address, (theirs, ours) = Path(folder) / "host.sock", os.pipe()
        host = [sys.executable, "-P", "-m", "models.host", str(bundle)]
        host += [
            "--card",
            card.read(bundle).card_sha256,
            "--socket",
            str(address),
            "--device",
            "cpu",
            "--lifeline",
            str(theirs),
        ]
        traced = [strace, "-f", "--seccomp-bpf", "-qq", "-ttt", "-e", "trace=open,openat,openat2", "-o", str(trace)]
        process = subprocess.Popen([*traced, *host], pass_fds=[theirs])
        os.close(theirs)
        try:
            wait_until("the host listens", lambda: client.room(address) or process.poll() is not None, 300)
            assert np.unique(answered(address, seed=0)).size > 1
            first_answer = time.time()
            assert np.unique(answered(address, seed=1)).size > 1
            second_answer = time.time()
        finally:
            os.close(ours)  # which ends the host, and that its tracer
            process.wait(60)
    opened = [(float(line.split()[1]), line.split('"')[1]) for line in trace.read_text().splitlines() if '"' in line]
    of_bundle = [(at, Path(name)) for at, name in opened if Path(name).is_relative_to(bundle)]
    assert bundle / "models" / "model.pt" in {name for at, name in of_bundle if at < first_answer}
    assert [name for at, name in of_bundle if first_answer <= at <= second_answer] == []


def answered(address: Path, seed: int) -> NDArray[np.uint8]:
    """The label map of a ball."""
    k, j, i = np.mgrid[:20, :36, :40]
    volume = np.where((k - 9) ** 2 * 4 + (j - 14) ** 2 + (i - 22) ** 2 < 121, -700, 30).astype(np.float32)
    volume += np.random.default_rng(seed).normal(0, 5, volume.shape).astype(np.float32)
    channel = SharedArray.of(volume)
    try:
        answer = client.segment(address, [channel], np.diag([1.5, 1.5, 3.0, 1.0]), limit_seconds=300)
    finally:
        channel.close()
    assert answer.seconds["start"] > 0, "what is neither the bundle's preprocessing nor its forward passes is told"
    return answer.labels
