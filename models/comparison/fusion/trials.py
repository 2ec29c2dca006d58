"""The trainings of the question, each in a process of its own, each outcome kept as soon as it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ... import card
from ..contenders import Case, Contender
from ..training import train
from ..trial import Outcome, bundle_of, outcomes
from ..trials import SEED, Trial
from .contenders import CT, FOLDS, LATE, PET, TRAINED, fold

BUNDLE = card.SHIPPED / "ct_pet_sarcoma"


def wanted(repeats: int) -> list[tuple[str, int]]:
    """Every training: each contender on each fold, one repeat after the other."""
    return [(one.name, number) for number in range(FOLDS * repeats) for one in TRAINED]


def run(weights: Path, name: str, number: int, cases: Sequence[Case], budget: float) -> Trial:
    """Train and judge one contender on one fold, on one core; a fold has the same seed for all.

    Args:
        weights: folder to keep them in, for late fusion.
    """
    torch.set_num_threads(1)
    (contender,) = (one for one in TRAINED if one.name == name)
    seen, unseen = fold(cases, number)
    paths = [{key: path for key, path in case.items() if key != "patient"} for case in seen]
    trained = train(BUNDLE, paths, contender.all_changes, budget, SEED + number)
    torch.save(trained.weights, _file(weights, name, number))
    return Trial(
        name=name,
        fold=number,
        budget=budget,
        seconds=trained.seconds,
        elapsed=trained.elapsed,
        steps=trained.steps,
        parameters=trained.parameters,
        loss=trained.loss,
        outcomes=_judged(contender, trained.weights, unseen),
    )


def _file(weights: Path, name: str, number: int) -> Path:
    return weights / f"{name} {number}.pt"


def _judged(contender: Contender, weights: Mapping[str, torch.Tensor], unseen: Sequence[Case]) -> tuple[Outcome, ...]:
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_of(BUNDLE, Path(folder) / BUNDLE.name, weights, contender.all_changes)
        return tuple(outcomes(bundle, unseen))


def late(weights: Path, alone: Sequence[Trial], cases: Sequence[Case]) -> Trial:
    """Late fusion on one fold, of the two networks that were trained for one channel each: nothing is learnt for it.

    Args:
        alone: what the two did on that fold.
    """
    number = alone[0].fold
    merged = {
        f"branches.{n}.{key}": value
        for n, one in enumerate((PET, CT))
        for key, value in torch.load(_file(weights, one.name, number), weights_only=True).items()
    }
    seconds, elapsed, loss = (sum(getattr(one, key) for one in alone) for key in ("seconds", "elapsed", "loss"))
    steps, parameters = (sum(getattr(one, key) for one in alone) for key in ("steps", "parameters"))
    judged = _judged(LATE, merged, fold(cases, number)[1])
    return replace(
        alone[0],
        name=LATE.name,
        seconds=seconds,
        elapsed=elapsed,
        steps=steps,
        parameters=parameters,
        loss=loss / len(alone),
        outcomes=judged,
    )
