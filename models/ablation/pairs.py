"""One pair of trainings: on the same patients for the same time, without and with made-up cases."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from .. import card
from ..comparison.contenders import Case, ordered
from ..comparison.training import train
from ..comparison.trial import Outcome, bundle_of, outcomes, read
from ..network import LPS_TO_RAS
from ..synthesis import likeness
from ..synthesis.adversaries import Adversaries
from ..synthesis.bucket import Bucket
from ..synthesis.fidelity import Fidelity, fidelity
from ..synthesis.likeness import Likeness
from ..synthesis.sampling import Made, Sampler
from ..synthesis.volume import Volume
from .picture import picture

BUNDLE = card.SHIPPED / "pet_sarcoma"
VALUES = [1]
FOLDS = 3
#: patients that are trained on
SIZES = (6, 24)
SHARE = 0.25
SYNTHETIC_CASES = 16
CANVAS = 56
SEED = 20261121


@dataclass(frozen=True)
class Budget:
    """What every pair is given.

    Attributes:
        seconds: of the processor, for each of the two trainings.
        steps: of the generator, for which the training without has no counterpart.
    """

    seconds: float
    steps: int


@dataclass(frozen=True)
class Pair:
    """Both trainings, and what they did on patients that neither has seen.

    Attributes:
        size: patients that were trained on.
        fold: which patients were not.
        generator_seconds: of the processor, to learn and to make the cases.
        steps_without, steps_with: that the two made in the same time.
    """

    size: int
    fold: int
    budget: Budget
    generator_seconds: float
    likeness: Likeness
    fidelity: Fidelity
    steps_without: int
    steps_with: int
    without: tuple[Outcome, ...]
    with_synthetic: tuple[Outcome, ...]

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def of_line(cls, line: str) -> Pair:
        said = json.loads(line)
        parts = {"budget": Budget, "likeness": Likeness, "fidelity": Fidelity}
        made: dict[str, Any] = {name: kind(**said[name]) for name, kind in parts.items()}
        for name in ("without", "with_synthetic"):
            made[name] = tuple(Outcome(**one) for one in said[name])
        return cls(**{**said, **made})


def patients(cases: Sequence[Case], size: int, fold: int) -> tuple[list[Case], list[Case]]:
    """Those to train on and those to judge by: a third of all, by a hash of their names."""
    order = ordered(cases)
    unseen = order[fold::FOLDS]
    return [one for n, one in enumerate(order) if n % FOLDS != fold][:size], unseen


def generated(seen: Sequence[Case], steps: int, seed: int) -> tuple[Bucket, Sampler, list[Made]]:
    """Train a generator on these patients, and let it make its cases."""
    volumes = [volume(case) for case in seen]
    grids = [(one.spacing_mm, one.label.shape) for one in volumes]
    bucket = Bucket.of([lambda one=one: one for one in volumes], grids, CANVAS, VALUES)  # type: ignore[misc]
    adversaries = Adversaries(bucket, seed, torch.device("cpu"))
    for _ in range(steps):
        adversaries.step()
    sampler = Sampler(bucket, adversaries.generator, VALUES, seed)
    return bucket, sampler, [sampler(number) for number in range(SYNTHETIC_CASES)]


def run(size: int, fold: int, cases: Sequence[Case], budget: Budget, shown: Path) -> Pair:
    """Train the generator and both networks, and judge them, on one core.

    Args:
        shown: file for the picture of some training slices and some made-up ones.
    """
    torch.set_num_threads(1)
    seen, unseen = patients(cases, size, fold)
    seed = SEED + fold
    begun = time.process_time()
    bucket, sampler, made = generated(seen, budget.steps, seed)
    spent = time.process_time() - begun
    picture(bucket, made).save(shown, optimize=True)
    paths = [{"image": case["image"], "label": case["label"]} for case in seen]
    with tempfile.TemporaryDirectory() as folder:
        synthetic = [write(one.volume, Path(folder)) for one in made]
        without = train(BUNDLE, paths, {}, budget.seconds, seed)
        mixed = train(BUNDLE, paths, mixing(synthetic), budget.seconds, seed)
        judged = [
            tuple(outcomes(bundle_of(BUNDLE, Path(folder) / name / BUNDLE.name, one.weights, {}), unseen))
            for name, one in (("without", without), ("with", mixed))
        ]
    return Pair(
        size,
        fold,
        budget,
        spent,
        *quality(bucket, sampler, made, unseen),
        without.steps,
        mixed.steps,
        *judged,
    )


def quality(
    bucket: Bucket, sampler: Sampler, made: Sequence[Made], unseen: Sequence[Case]
) -> tuple[Likeness, Fidelity]:
    """How like the training cases what was made is, and what the generator makes of unseen patients' maps."""
    real = [bucket.bare(one.volume.values) for one in bucket.cases]
    found = likeness.of(real, [bucket.bare(one.volume.values) for one in made])
    return found, fidelity(sampler, [volume(case) for case in unseen])


def mixing(synthetic: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The change to train.json by which made-up cases are mixed in, as the service mixes them."""
    real = json.loads((BUNDLE / "configs" / "train.json").read_text())["train"]["dataset"]
    parts = {"real": real, "synthetic": {**real, "data": [dict(one) for one in synthetic]}}
    return {"train#dataset": {"_target_": "models.training.mixed.Mixed", **parts, "share": SHARE}}


def volume(case: Case) -> Volume:
    (values,), truth, affine = read(case, ["image"])
    return Volume(case["patient"], values[None], truth.astype(np.uint8), affine)


def write(made: Volume, folder: Path) -> dict[str, str]:
    """As NIfTI, which the bundle's train.json reads; the folder goes when the training has ended."""
    paths = {name: str(folder / f"{made.case}_{name}.nii.gz") for name in ("image", "label")}
    for name, array in (("image", made.values[0]), ("label", made.label)):
        nib.save(nib.Nifti1Image(array.transpose(2, 1, 0).copy(), LPS_TO_RAS @ made.affine), paths[name])
    return paths
