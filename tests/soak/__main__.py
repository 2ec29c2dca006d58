"""Make the faults of the plan, and write down what they came to.

    python -P -m tests.soak                       all of them, in their long form: hours
    python -P -m tests.soak --short               the same in minutes
    python -P -m tests.soak receiver-kills        one of them
    python -P -m tests.soak --list

FOLDER/NAME.json (build/soak) has the counts of every fault, written as soon as it is over; docs/reliability.md is made
of them by `python -P -m tests.soak.page`. The exit status is 1 where something was lost, partial, double or missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .plan import PLAN
from .tally import Fault, Tally, Trials


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -P -m tests.soak", description="Faults on purpose, and one oracle.")
    parser.add_argument("faults", nargs="*", metavar="NAME", help="which; all without")
    parser.add_argument("--short", action="store_true", help="few trials of each")
    parser.add_argument("--trials", type=int, help="as many of each, instead of the plan's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/soak"), metavar="FOLDER")
    parser.add_argument("--list", action="store_true", help="name them, and do nothing")
    asked = parser.parse_args()
    known = {fault.name: fault for fault in PLAN}
    if unknown := set(asked.faults) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = [fault for fault in PLAN if not asked.faults or fault.name in asked.faults]
    if asked.list:
        for fault in chosen:
            sys.stdout.write(f"{fault.name:24} {'+'.join(fault.ids):8} {fault.long:6} {fault.short:4}  {fault.what}\n")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set() if not stopped.is_set() else sys.exit(130))
    clean = True
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[said]}")) as progress:
        for fault in chosen:
            if stopped.is_set():
                break
            count = asked.trials or (fault.short if asked.short else fault.long)
            task = progress.add_task(fault.name, total=count or None, said="")
            tally, seconds = _made(
                fault, count, asked.seed, asked.out, lambda task=task: progress.advance(task), stopped
            )
            clean = clean and tally.is_clean
            progress.update(task, said="clean" if tally.is_clean else f"{len(tally.complaints)} complaints")
            _write(asked.out / f"{fault.name}.json", fault, tally, seconds, asked.seed, short=asked.short)
            for complaint in tally.complaints[:10]:
                progress.console.print(f"{fault.name}: {complaint}", markup=False)
    return 0 if clean else 1


def _made(
    fault: Fault, count: int, seed: int, out: Path, step: Callable[[], None], stopped: threading.Event
) -> tuple[Tally, float]:
    """The counts, and how many seconds it took. What stands in its folder stays where something went wrong."""
    if lacks := [program for program in fault.needs if shutil.which(program) is None]:
        return Tally(complaints=[f"not made: {', '.join(lacks)} is not here"]), 0.0
    folder = (out / fault.name).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun = time.monotonic()
    try:
        tally = fault.run(Trials(folder, count, random.Random(seed), step, stopped))
    except Exception:  # noqa: BLE001 - the other faults are made all the same
        tally = Tally(complaints=[traceback.format_exc()])
    if tally.is_clean:
        shutil.rmtree(folder, ignore_errors=True)
    return tally, time.monotonic() - begun


def _write(file: Path, fault: Fault, tally: Tally, seconds: float, seed: int, *, short: bool) -> None:
    told = {
        "name": fault.name,
        "ids": fault.ids,
        "short": short,
        "seed": seed,
        "seconds": round(seconds, 1),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **tally.as_json(),
    }
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
