"""Ask the question, and write its page and its plot.

python -m models.comparison.fusion CASES OUT [--seconds 40] [--repeats 1] [--processes 2] [--go-on]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from rich.progress import track

from ..plot import plot
from ..trials import cases_of, run_all
from .contenders import CT, FOLDS, PET
from .page import baselines, page, rows_of
from .trials import late, run, wanted

PAGE, PICTURE, KEPT, WEIGHTS = "fusion.md", "fusion.svg", "fusion.jsonl", "weights"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.comparison.fusion", description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=Path, help="folder made by node.learning.ct_pet_cases")
    parser.add_argument("out", type=Path, help=f"folder for {PAGE}, {PICTURE} and {KEPT}")
    parser.add_argument("--seconds", type=float, default=40, help="of the processor, for each training (%(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help=f"of {FOLDS} folds, parted anew each (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one core each (%(default)s)")
    parser.add_argument("--go-on", action="store_true", help=f"with the trainings that {KEPT} has: nothing was changed")
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    if not said.go_on:
        (said.out / KEPT).unlink(missing_ok=True)
    weights = said.out / WEIGHTS
    weights.mkdir(exist_ok=True)
    cases = cases_of(said.cases)
    every = wanted(said.repeats)
    made = run_all(partial(run, weights), every, cases, said.seconds, said.processes, said.out / KEPT)
    trials = list(track(made, "training", total=len(every)))
    for number in range(FOLDS * said.repeats):
        alone = [one for one in trials if one.fold == number and one.name in (PET.name, CT.name)]
        trials.append(late(weights, alone, cases))
    plain = baselines(cases)
    title = f"{len(cases)} patients, each judged by networks that have not seen it"
    (said.out / PICTURE).write_text(plot(title, rows_of(trials, plain)))
    (said.out / PAGE).write_text(page(trials, plain, PICTURE))


if __name__ == "__main__":
    main()
