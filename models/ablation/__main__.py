"""Run the ablation and write its page and its picture.

python -m models.ablation CASES OUT [--seconds 35] [--steps 160] [--processes 2] [--folds 3] [--go-on]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from rich.progress import track

from ..comparison.contenders import Case
from ..comparison.trials import cases_of
from .page import page
from .pairs import FOLDS, SIZES, Budget, Pair, run

PAGE, KEPT = "augmentation.md", "pairs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=Path, help="folder made by node.learning.pet_cases")
    parser.add_argument("out", type=Path, help=f"folder for {PAGE}, its pictures and {KEPT}")
    parser.add_argument("--seconds", type=float, default=35, help="of the processor, per training (%(default)s)")
    parser.add_argument("--steps", type=int, default=160, help="of each generator (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="pairs at a time, one core each (%(default)s)")
    parser.add_argument("--folds", type=int, default=FOLDS, choices=range(1, FOLDS + 1), help="(%(default)s)")
    parser.add_argument("--go-on", action="store_true", help=f"with the pairs that {KEPT} has: nothing was changed")
    said = parser.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    if not said.go_on:
        (said.out / KEPT).unlink(missing_ok=True)
    cases, budget = cases_of(said.cases), Budget(said.seconds, said.steps)
    wanted = [(size, fold) for fold in range(said.folds) for size in SIZES]
    pairs = list(track(_all(wanted, cases, budget, said.processes, said.out / KEPT), "training", total=len(wanted)))
    (said.out / PAGE).write_text(page(pairs, picture_of(max(SIZES), 0)))


def picture_of(size: int, fold: int) -> str:
    return f"augmentation-{size}-{fold}.png"


def _all(
    wanted: Sequence[tuple[int, int]], cases: Sequence[Case], budget: Budget, processes: int, kept: Path
) -> Iterator[Pair]:
    """Every pair, in the order in which they end; those that `kept` has with this budget are not made again."""
    done = [Pair.of_line(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    done = [pair for pair in done if pair.budget == budget]
    yield from done
    left = [one for one in wanted if one not in {(pair.size, pair.fold) for pair in done}]
    with ProcessPoolExecutor(processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [
            pool.submit(run, size, fold, list(cases), budget, kept.with_name(picture_of(size, fold)))
            for size, fold in left
        ]
        for future in as_completed(futures):
            pair = future.result()
            with kept.open("a") as stream:
                stream.write(pair.line())
            yield pair


if __name__ == "__main__":
    main()
