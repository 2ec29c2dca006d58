"""Run the comparison and write its page and its plot.

python -m models.comparison CASES OUT [--minutes 50] [--processes 2] [--go-on]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import track

from .page import THRESHOLD_SUV, page, rows_of
from .plot import plot
from .trial import by_threshold
from .trials import SPLIT, budgets, cases_of, run, run_all, wanted

#: of the minutes; the rest is for starting, reading and judging
TRAINING_PART = 0.85
PAGE, PICTURE, KEPT = "networks.md", "networks.svg", "trials.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.comparison", description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=Path, help="folder made by node.learning.pet_cases")
    parser.add_argument("out", type=Path, help=f"folder for {PAGE}, {PICTURE} and {KEPT}")
    parser.add_argument("--minutes", type=float, default=50, help="in all, on idle cores (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one core each (%(default)s)")
    parser.add_argument("--go-on", action="store_true", help=f"with the trainings that {KEPT} has: nothing was changed")
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    if not said.go_on:
        (said.out / KEPT).unlink(missing_ok=True)
    cases = cases_of(said.cases)
    seconds = round(said.minutes * 60 * TRAINING_PART * said.processes / budgets())
    made = run_all(run, wanted(), cases, seconds, said.processes, said.out / KEPT)
    trials = list(track(made, "training", total=len(wanted())))
    threshold = by_threshold(cases, THRESHOLD_SUV)
    on_split = {trial.name: trial for trial in trials if trial.fold == SPLIT}
    title = f"{len(on_split)} contenders, {seconds} processor seconds each, the same patients"
    (said.out / PICTURE).write_text(plot(title, rows_of(on_split, threshold)))
    (said.out / PAGE).write_text(page(trials, threshold, PICTURE))


if __name__ == "__main__":
    main()
