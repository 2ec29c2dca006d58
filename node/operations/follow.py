"""A training, as it goes on: a bar, loss and Dice, and what the gate says at its end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from db import training_due, training_runs
from db.database import Database

from ..learning import trainer

LOOK_SECONDS = 1.0
#: a job that nobody begins: the node does not run, or studies need the device
LONG_SECONDS = 30.0


def training(database: Database, home: Path, network: str) -> int:
    """Follow the training of a network until it is judged; the exit status. Ctrl-C ends only the watching."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with database.read() as tx:
        before = {run["id"] for run in training_runs.listing(tx, network) if run["state"] not in training_runs.OPEN}
    begun, said = time.monotonic(), ""
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=not console.is_terminal) as bars:
        bar = bars.add_task("waiting for a worker", total=None, said="")
        while True:
            with database.read() as tx:
                run = next((run for run in training_runs.listing(tx, network) if run["id"] not in before), None)
                asked = training_due.asked_for(tx)
            if run is None and not asked:
                console.print("[red]the training was refused[/]; `planimeter jobs` says why")
                return 1
            if run is not None and run["state"] not in training_runs.OPEN:
                break
            if run is not None and not said and "power" in run["facts"]:
                said = run["facts"]["power"]["sentence"]
                console.print(said, markup=False)
            if run is None and time.monotonic() - begun > LONG_SECONDS:
                bars.update(bar, said="does the node run, with `[work]` on this database?")
            elif run is not None:
                bars.update(bar, **_shown(run, trainer.progress(home / run["folder"])))
            time.sleep(LOOK_SECONDS)
    return _end(console, database, run)


def _shown(run: Any, epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """Description, numbers and words of the bar."""
    what = {"waiting": "makes way for studies", "training": "training", "trained": "evaluating"}[run["state"]]
    if not epochs:
        return {"description": what, "said": ""}
    last = epochs[-1]
    dice = next((one["dice"] for one in reversed(epochs) if one.get("dice") is not None), None)
    total = next((one["epochs"] for one in reversed(epochs) if "epochs" in one), None)
    said = f"epoch {last['epoch']}, loss {last['loss']:.3f}" + (f", Dice {dice:.3f}" if dice is not None else "")
    return {"description": what, "completed": last["epoch"], "total": total, "said": said}


def _end(console: Console, database: Database, run: Any) -> int:
    if run["state"] != "evaluated":
        console.print(f"[red]run {run['id']} {run['state']}:[/] {run['reason']}")
        return 1
    with database.read() as tx:
        judged = next(one for one in training_runs.evaluations(tx) if one["training_run_id"] == run["id"])
    console.print(f"[bold]{judged['outcome']}[/]")
    for reason in judged["verdict"]["reasons"]:
        console.print(f"  {reason}", markup=False)
    console.print(f"  {judged['verdict']['blind_spot']}", markup=False)
    console.print(f"report: {judged['report']}", markup=False)
    return 0
