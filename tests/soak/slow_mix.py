"""F7: a good sender's throughput, alone and beside callers that keep the receiver waiting."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from db.database import open_database, sqlite_url
from tests.bench import receivers
from tests.bench.receivers import Receiving
from tests.certificates import Authority
from tests.ports import free_port
from tests.soak.tally import Tally, Trials

SECONDS = 15.0
KEPT = 0.9
#: fewer runs than these say nothing about a tenth
ENOUGH_TRIALS = 3
SCATTERED = [f"127.0.1.{number}" for number in range(1, 31)]
PLAIN = "127.0.0.1"
TLS = """
[tls]
port = {port}
certificate = "{certificate}"
key = "{key}"
require_client_certificate = false
"""


@dataclass
class Runs:
    """What the runs of one scene came to; each list has one entry of each trial."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    processor_alone: list[float] = field(default_factory=list)
    processor_beside: list[float] = field(default_factory=list)
    longest_accept: float = 0.0
    longest_answer: float = 0.0
    callers: int = 0

    def figures(self) -> dict[str, Any]:
        alone, beside = statistics.median(self.alone), statistics.median(self.beside)
        return {
            "instances per second alone": round(alone, 1),
            "beside them": round(beside, 1),
            "kept": round(beside / alone, 3),
            "least and most kept of a pair": [
                round(pick(b / a for a, b in zip(self.alone, self.beside, strict=True)), 3) for pick in (min, max)
            ],
            "processor ms per instance alone": round(statistics.median(self.processor_alone), 2),
            "processor ms per instance beside them": round(statistics.median(self.processor_beside), 2),
            "longest wait for an association, s": round(self.longest_accept, 3),
            "longest wait for an answer, s": round(self.longest_answer, 3),
            "connections of theirs": self.callers,
        }


def run(trials: Trials) -> Tally:
    """Scattered over addresses, all from the good sender's own, over TLS; then other receivers beside one caller."""
    tally = Tally()
    authority = Authority(trials.folder / "authority")
    issued = authority.issue("here")
    port = free_port()
    more = TLS.format(port=port, certificate=issued.certificate, key=issued.key)
    seconds = SECONDS if trials.count >= ENOUGH_TRIALS else SECONDS / 3
    scenes: dict[str, tuple[list[str], str]] = {
        "30 addresses": (SCATTERED, ""),
        "one address": ([PLAIN], ""),
        "over TLS, 30 addresses": (SCATTERED, str(authority.pem)),
    }
    found = {name: Runs() for name in scenes}
    for number in range(trials.count):
        folder = trials.folder / f"receiver-{number}"
        folder.mkdir()
        acknowledged = 0
        with receivers.planimeter("wal", more=more)(folder) as (plain, called):
            for name, (addresses, ca) in scenes.items():
                to = port if ca else plain
                acknowledged += _pair(found[name], to, called, ca, addresses, seconds)
        tally.acknowledged += acknowledged
        lost = max(0, acknowledged - _rows(folder / "home" / "planimeter.db"))
        tally.lost += lost
        if not lost:  # a trial takes some 14 GB; what is to be looked at stays
            shutil.rmtree(folder)
        tally.trials += 1
        trials.step()
        if trials.stopped.is_set():
            break
    for name, runs in found.items():
        tally.figures[name] = runs.figures()
        kept = tally.figures[name]["kept"]
        if tally.trials >= ENOUGH_TRIALS and kept < KEPT:
            tally.complaints.append(f"{name}: the good sender kept {kept:.0%} of its throughput")
    tally.figures["beside one silent caller, s until an association"] = _others(trials.folder)
    return tally


def _pair(runs: Runs, port: int, called: str, ca: str, addresses: list[str], seconds: float) -> int:
    """One run alone, one beside them; how many instances were acknowledged."""
    stored = 0
    for beside in (False, True):
        with ExitStack() as stack:
            told: dict[str, int] = {}
            if beside:
                told = stack.enter_context(_slow_callers(port, addresses, tls=bool(ca)))
            before = _processor_seconds()
            sent = _good_sender(port, called, seconds, ca)
            spent = _processor_seconds() - before
        stored += sent["instances"]
        (runs.beside if beside else runs.alone).append(sent["instances"] / sent["seconds"])
        (runs.processor_beside if beside else runs.processor_alone).append(spent * 1000 / sent["instances"])
        if beside:
            runs.longest_accept = max(runs.longest_accept, sent["longest_accept"])
            runs.longest_answer = max(runs.longest_answer, sent["longest_answer"])
            runs.callers += told["connected"]
    return stored


def _good_sender(port: int, called: str, seconds: float, ca: str = "") -> dict[str, Any]:
    words = [sys.executable, "-P", "-m", "tests.soak.good_sender", str(port), called, str(seconds)]
    done = subprocess.run([*words, *([ca] if ca else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"the good sender was not served: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def _slow_callers(port: int, addresses: list[str], *more: str, tls: bool = False) -> Iterator[dict[str, int]]:
    """They are there within the `with`; afterwards the dictionary has what they say of themselves."""
    words = [sys.executable, "-P", "-m", "tests.soak.slow_callers", str(port), *more, *(["--tls"] if tls else [])]
    for address in addresses:
        words += ["--from", address]
    told: dict[str, int] = {}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "there\n", "they could not call"
        yield told
    finally:
        said, _ = process.communicate()
        told |= json.loads(said)


def _processor_seconds() -> float:
    """Of all receivers that this process has started, so far."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == os.getpid() and b"receive" in (folder / "cmdline").read_bytes().split(b"\0"):
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def _rows(file: Path) -> int:
    database = open_database(sqlite_url(file))
    with database.read() as tx:
        count = int(tx.execute(sa.text("SELECT count(*) FROM instance")).scalar_one())
    database.dispose()
    return count


def _others(folder: Path) -> dict[str, float]:
    """How long one good sender waits for its association beside a single caller that says nothing."""
    peers: dict[str, tuple[str, Receiving]] = {
        "storescp": ("/usr/bin/storescp", receivers.storescp_alone),
        "Orthanc": ("/usr/sbin/Orthanc", receivers.orthanc(nodelay=True)),
        "Planimeter": (sys.executable, receivers.planimeter("wal")),
    }
    found: dict[str, float] = {}
    for name, (program, receiving) in peers.items():
        if shutil.which(program) is None:
            continue
        beside = folder / name
        beside.mkdir()
        one = ("--silent", "1", "--one-byte", "0", "--slow", "0")
        with receiving(beside) as (port, called), _slow_callers(port, ["127.0.0.1"], *one):
            found[name] = round(_good_sender(port, called, 0.01)["longest_accept"], 2)
    return found
