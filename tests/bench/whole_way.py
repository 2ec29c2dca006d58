"""`make bench`: a node on SQLite, a toy PACS and one synthetic chest CT; where the seconds and the memory go.

    make bench ARGS="--slices 300 --size 512 --runs 3"

Prints the seconds of each stage and the peak memory of each process, from the attempt rows, and two ratios of the same
run: what the whole way and what the network's stage take, in units of its forward passes alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table

from db import overview
from db.database import open_database, sqlite_url
from models.phantom import chest
from node.demo.study import ct_series, write
from node.demo.toy_pacs import ToyPacs
from node.objects.forms import PLAIN
from node.outbound import scu
from node.outbound.scu import Parcel
from node.outbound.target import Target
from tests.running import RunningNode
from tests.waiting import wait_until

QUIET_SECONDS = 1
RUNS = 3
WHOLE_WAY = "last C-STORE to last result at the PACS"


def main() -> None:
    options = _options()
    spacing = (360 / options.size, 360 / options.size, 330 / options.slices)
    shape = (options.size, options.size, options.slices)
    console = Console()
    console.print(f"{shape[0]} x {shape[1]} x {shape[2]} voxels, {os.cpu_count()} cores")
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
        for number in range(options.runs):
            with console.status(f"run {number + 1} of {options.runs}"):
                hu, _ = chest(shape, spacing, seed=number)
                folder = Path(scratch) / f"study-{number}"
                files = write(ct_series(hu, spacing, patient_id=f"BENCH-{number}"), folder)
                runs.append(_whole_way(files, Path(scratch) / f"home-{number}"))
    stages = {stage: statistics.median(run["seconds"].get(stage, 0.0) for run in runs) for stage in runs[-1]["seconds"]}
    table = Table(title=f"Median of {options.runs} runs", title_justify="left")
    for column in ("what", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for stage, seconds in stages.items():
        table.add_row(stage, f"{seconds:.2f} s")
    for process in runs[-1]["memory_mb"]:
        table.add_row(f"peak memory, {process}", f"{max(run['memory_mb'][process] for run in runs):.0f} MB")
    forward = stages["segment: network.forward"]
    for said, stage in (("the network's stage", "segment: network"), ("the whole way", WHOLE_WAY)):
        table.add_row(f"{said} / its forward passes", f"{stages[stage] / forward:.2f}")
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--runs", type=int, default=RUNS)
    return parser.parse_args()


def _whole_way(files: list[Path], home: Path) -> dict[str, Any]:
    """Send one study; the seconds of each stage and the peak memory of each process."""
    with ToyPacs() as pacs:
        to = f"{pacs.ae_title}@127.0.0.1:{pacs.port}"
        node = RunningNode(home, ("--quiet-seconds", str(QUIET_SECONDS), "--send-to", to), {})
        node.start()
        wait_until("the network is warm", lambda: "is warm" in node.log, 120)
        begun = time.monotonic()
        _send(files, node.port)
        last_store = time.monotonic()
        wait_until("all results are there", lambda: len(pacs.received) == len(PLAIN), 600)
        arrived = time.monotonic()
        receiver_mb = max(_peak_mb(pid) for pid in node.processes("receive"))
        wait_until("the study is done", lambda: node.status()["studies"][0]["state"] == "done", 60)
        jobs = node.status()["jobs"]
        node.stop()
    seconds: dict[str, float] = {
        "receive: all images": last_store - begun,
        WHOLE_WAY: arrived - last_store,
        "  of these the quiet period": float(QUIET_SECONDS),
    }
    memory: dict[str, float] = {"receiver": receiver_mb}
    database = open_database(sqlite_url(home / "planimeter.db"))
    with database.read() as tx:
        for job in reversed(jobs):
            for attempt in overview.attempts(tx, job["id"]):
                for stage, spent in (attempt["seconds"] or {}).items():
                    key = f"{job['kind']}: {stage}"
                    seconds[key] = seconds.get(key, 0.0) + spent
                for process, mb in (attempt["peak_memory_mb"] or {}).items():
                    memory[process] = max(memory.get(process, 0.0), mb)
    database.dispose()
    return {"seconds": seconds, "memory_mb": memory}


def _send(files: list[Path], port: int) -> None:
    parcels = [Parcel(file, CTImageStorage, ExplicitVRLittleEndian) for file in files]
    with scu.connect(Target("node", "PLANIMETER", "127.0.0.1", port), "BENCH", parcels, 60) as sender:
        for parcel in parcels:
            sender.send(parcel)


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
