"""All trainings of the comparison, each in a process of its own, each outcome kept as soon as it is there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from .. import card
from .contenders import CONTENDERS, FOLDS, SHIPPED, Case, fold, split
from .training import train
from .trial import Outcome, bundle_of, outcomes

BUNDLE = card.SHIPPED / "pet_sarcoma"
SPLIT = -1
SEED = 20261121
#: of the cross-validation's trainings, in budgets of the others: what is shipped is to be known best
FOLD_BUDGETS = 2


@dataclass(frozen=True)
class Trial:
    """One training and what it did on patients that it has not seen.

    Attributes:
        fold: of the cross-validation; SPLIT: the fixed split.
        budget: processor seconds that a contender is given; a fold has FOLD_BUDGETS times as many.
        seconds, elapsed, steps, parameters, loss: as `Trained` has them.
    """

    name: str
    fold: int
    budget: float
    seconds: float
    elapsed: float
    steps: int
    parameters: int
    loss: float
    outcomes: tuple[Outcome, ...]

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def of_line(cls, line: str) -> Trial:
        said = json.loads(line)
        return cls(**{**said, "outcomes": tuple(Outcome(**one) for one in said["outcomes"])})


def wanted() -> list[tuple[str, int]]:
    """Every training: each contender on the fixed split, the shipped recipe on each fold."""
    return [(SHIPPED.name, number) for number in range(FOLDS)] + [(one.name, SPLIT) for one in CONTENDERS]


def budgets() -> int:
    """How many times the budget of one contender all of it takes."""
    return len(CONTENDERS) + FOLDS * FOLD_BUDGETS


def run(name: str, number: int, cases: Sequence[Case], budget: float) -> Trial:
    """Train and judge one contender, on one core."""
    torch.set_num_threads(1)
    (contender,) = (one for one in CONTENDERS if one.name == name)
    seen, unseen = split(cases) if number == SPLIT else fold(cases, number)
    seconds = budget if number == SPLIT else budget * FOLD_BUDGETS
    paths = [{"image": case["image"], "label": case["label"]} for case in seen]
    trained = train(BUNDLE, paths, contender.all_changes, seconds, SEED)
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_of(BUNDLE, Path(folder) / BUNDLE.name, trained.weights, contender.all_changes)
        found = tuple(outcomes(bundle, unseen))
    return Trial(
        name,
        number,
        budget,
        trained.seconds,
        trained.elapsed,
        trained.steps,
        trained.parameters,
        trained.loss,
        found,
    )


def run_all(
    run: Callable[[str, int, list[Case], float], Trial],
    every: Sequence[tuple[str, int]],
    cases: Sequence[Case],
    budget: float,
    processes: int,
    kept: Path,
) -> Iterator[Trial]:
    """Every trial, in the order in which they end; those that `kept` has with this budget are not made again.

    Args:
        run: makes one of them, from the name of its contender and the number of its fold.
        every: those two, of each that is wanted.
    """
    done = [Trial.of_line(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    done = [trial for trial in done if trial.budget == budget and (trial.name, trial.fold) in every]
    yield from done
    left = [one for one in every if one not in {(trial.name, trial.fold) for trial in done}]
    # one process per training: what one leaves behind (random state, memory) is not the next one's
    with ProcessPoolExecutor(processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [pool.submit(run, name, number, list(cases), budget) for name, number in left]
        for future in as_completed(futures):
            trial = future.result()
            with kept.open("a") as stream:
                stream.write(trial.line())
            yield trial


def cases_of(folder: Path) -> list[Case]:
    """What the folder's dataset.json lists, with whole paths."""
    listed = json.loads((folder / "dataset.json").read_text())["cases"]
    return [{key: said if key == "patient" else str(folder / said) for key, said in one.items()} for one in listed]
