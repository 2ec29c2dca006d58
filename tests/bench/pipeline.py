"""`make bench`: several studies at once through one warm network, with one, two and three workers.

    python -P -m tests.bench.pipeline --studies 6 --slices 150 --size 256

A worker reads, decodes, measures, writes and checks; its network's host takes one request at a time. So with two
workers one study is read and another one written while a third is in the network. Prints, for each number of workers,
studies in a minute, how long the host had nothing to do between two of them, how long studies waited for its turn, and
the memory of the workers; the ratios are of one run.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from db import overview
from db.database import open_database, sqlite_url
from models.phantom import chest
from node.demo.study import ct_series, write
from node.demo.toy_pacs import ToyPacs
from tests.bench.whole_way import _send
from tests.running import RunningNode, planimeter
from tests.waiting import wait_until

WORKERS = (1, 2, 3)
OPEN = ("waiting", "running")


@dataclass(frozen=True)
class Measured:
    """All studies, from the moment when work may begin until the last of them is segmented.

    Attributes:
        seconds: on the wall clock.
        network, idle, turn, else_: of the host at work, of the host with nothing to do, of studies that waited for it,
            of everything else that workers did; summed over the studies, without the first one's idle host.
        worker_mb: the largest peak.
    """

    seconds: float
    network: float
    idle: float
    turn: float
    else_: float
    worker_mb: float


def main() -> None:
    options = _options()
    spacing = (360 / options.size, 360 / options.size, 330 / options.slices)
    shape = (options.size, options.size, options.slices)
    console = Console()
    console.print(f"{options.studies} studies of {shape[0]} x {shape[1]} x {shape[2]} voxels, {os.cpu_count()} cores")
    found: dict[int, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
        studies = []
        for number in range(options.studies):
            hu, _ = chest(shape, spacing, seed=number)
            folder = Path(scratch) / f"study-{number}"
            studies.append(write(ct_series(hu, spacing, patient_id=f"BENCH-{number}"), folder))
        for workers in options.workers:
            with console.status(f"{workers} workers"):
                found[workers] = _measured(studies, Path(scratch) / f"home-{workers}", workers)
    console.print(_table(found, options.studies))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=6)
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--size", type=int, default=256, help="rows and columns")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    return parser.parse_args()


def _measured(studies: list[list[Path]], home: Path, workers: int) -> Measured:
    with ToyPacs() as pacs:
        to = f"{pacs.ae_title}@127.0.0.1:{pacs.port}"
        config = home.with_suffix(".toml")
        config.write_text(f"[work]\nworkers = {workers}\n")
        arguments = ("--quiet-seconds", "1", "--send-to", to)
        node = RunningNode(home, arguments, {"PLANIMETER_CONFIG": str(config)})
        node.start()
        try:
            wait_until("the network is warm", lambda: "is warm" in node.log, 180)
            planimeter("pause", "work", "--home", home)
            for files in studies:
                _send(files, node.port)
            wait_until("all are settled", lambda: len(node.status()["jobs"]) == len(studies), 120)
            begun = time.time()
            planimeter("resume", "work", "--home", home)
            wait_until("all are segmented", lambda: _done(node, len(studies)), 1800)
        finally:
            node.stop()
    return _from_rows(home, begun)


def _done(node: RunningNode, studies: int) -> bool:
    jobs = [job for job in node.status()["jobs"] if job["kind"] == "segment"]
    return len(jobs) == studies and not any(job["state"] in OPEN for job in jobs)


def _from_rows(home: Path, begun: float) -> Measured:
    database = open_database(sqlite_url(home / "planimeter.db"))
    with database.read() as tx:
        jobs = [job for job in overview.jobs(tx) if job["kind"] == "segment"]
        attempts = [one for job in jobs for one in overview.attempts(tx, job["id"])]
    database.dispose()
    assert all(one["outcome"] == "done" for one in attempts), [one["sentence"] for one in attempts]
    every: list[dict[str, Any]] = [one["seconds"] for one in sorted(attempts, key=lambda one: float(one["started"]))]
    own = {"network", "turn", "host.idle"}
    return Measured(
        seconds=max(one["ended"] for one in attempts) - begun,
        network=sum(one["network"] for one in every),
        idle=sum(sorted(one["host.idle"] for one in every)[:-1]),  # the longest is the one before the first study
        turn=sum(one["turn"] for one in every),
        else_=sum(value for one in every for name, value in one.items() if name not in own and "." not in name),
        worker_mb=max(one["peak_memory_mb"]["worker"] for one in attempts),
    )


def _table(found: dict[int, Measured], studies: int) -> Table:
    table = Table(title="Per number of workers", title_justify="left")
    columns = ("workers", "studies a minute", "ratio", "host busy", "idle between two", "waited for it", "else", "MB")
    for column in columns:
        table.add_column(column, justify="right")
    slowest = next(iter(found.values())).seconds
    for workers, one in found.items():
        table.add_row(
            str(workers),
            f"{60 * studies / one.seconds:.1f}",
            f"{slowest / one.seconds:.2f}",
            f"{one.network / one.seconds:.0%}",
            f"{one.idle / max(1, studies - 1):.2f} s",
            f"{one.turn / studies:.2f} s",
            f"{one.else_ / studies:.2f} s",
            f"{one.worker_mb:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
