"""A run from its folder to done.json."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..card import Bundle
from . import cases, checkpoint, synthetic
from .recipe import Recipe
from .run import CANDIDATE, DONE, Diverged, Run, Untrainable
from .synthetic import Synthetic
from .together import Together
from .training import Training

LIBRARIES = ("torch", "monai", "pytorch-ignite", "numpy", "nibabel")


def train(run: Run, folder: Path, bundle: Bundle, leave: Callable[[], bool], begin: Callable[[], None]) -> None:
    """Train, and write candidate.pt and done.json.

    Args:
        bundle: verified.
        leave: whether somebody asked this process to leave.
        begin: called once there is something to save.

    Raises:
        Untrainable, Stopped, Diverged: see there.
    """
    channels = [one.channel for one in bundle.card.input]
    training, validation = cases.read_all(run.train, run.validation, channels)
    told = [case for case in validation if len(case.missing(run.classes)) < len(run.classes)]
    together = Together.join(run.device)
    try:
        made = _made_up(run, folder, bundle, training, together, leave, begin)
        recipe = Recipe(bundle, run, folder, together.device)
        made_up = made.cases if made else ()
        recipe.build(training, together.share(told), axis_of=[*training, *validation], synthetic=made_up)
        doing = Training(run, folder, recipe, together, leave)
        begin()
        doing.train()
        if together.writes:
            done = _done(run, folder, doing, len(told), made)
            synthetic.remove(folder)
            checkpoint.write_json(folder / DONE, done)
            for file in (checkpoint.FILE, *(best.name for best in folder.glob("best-*.pt"))):
                (folder / file).unlink(missing_ok=True)
    except (Untrainable, Diverged):
        synthetic.remove(folder)  # nobody goes on with it, and it holds something of patients
        raise
    finally:
        together.leave()


def _made_up(
    run: Run,
    folder: Path,
    bundle: Bundle,
    training: list[cases.Case],
    together: Together,
    leave: Callable[[], bool],
    begin: Callable[[], None],
) -> Synthetic | None:
    """The made-up cases, where the run asks for them; of the training cases alone."""
    if not run.augmentation.synthetic_share:
        return None
    if together.world > 1:
        raise Untrainable("[augmentation]: made-up cases are made by one process; train with one, or without them")
    begin()
    return synthetic.make(run, folder, bundle, training, together.device, leave)


def _done(run: Run, folder: Path, training: Training, validated: int, made: Synthetic | None) -> dict[str, Any]:
    standing, recipe, together = training.standing, training.recipe, training.together
    notes = [*recipe.notes, *(training.progress.notes if training.progress else [])]
    if made is not None:
        notes.append(made.note)
    if standing.best is None:
        notes.append("nothing was validated: the candidate has the last weights")
    elif standing.by != "dice":
        notes.append(f"the best weights are those with the best {standing.by}, the bundle's own metric")
    on_gpu = together.device.type == "cuda"
    return {
        "epochs": standing.epochs,
        "steps": standing.steps,
        "best_dice": standing.best,
        "best_epoch": standing.best_epoch or None,
        "why_ended": standing.why_ended,
        "seconds": round(standing.seconds(), 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "device": torch.cuda.get_device_name(together.device) if on_gpu else "cpu",
        "processes": together.world,
        "amp": bool(training.trainer.amp),
        "seed": run.seed,
        "run": run.identity,
        "start_sha256": checkpoint.sha256(run.start) if run.start else None,
        "candidate_sha256": checkpoint.sha256(folder / CANDIDATE),
        "trained_cases": len(recipe.used),
        "validation_cases": validated,
        "synthetic": made.record if made else None,
        "left_out": recipe.left_out,
        "partly_annotated": [case.said.case for case in recipe.used if case.missing(run.classes)],
        "transfer": None
        if training.taken is None or not run.transfer
        else {"taken": list(training.taken.taken), "not_fitting": list(training.taken.not_fitting)},
        "notes": notes,
    }
