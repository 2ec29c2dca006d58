"""The made-up cases of a run: made from its training cases, mixed into its training, and gone when it has ended.

    <run>/generator.pt              the generator while it learns; a run that was interrupted goes on with it
    <run>/synthetic/<name>/         a case as any other, whose case.json says that it is made up
    <run>/synthetic/record.json     what was made of what, and how like the real it is; written last

Nothing outside of the run's folder is written, and the validation's cases are not even an argument here. A made-up case
that is found among the cases a run is given ends it (`cases.read_all`).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..card import Bundle
from ..synthesis import likeness
from ..synthesis.adversaries import Adversaries
from ..synthesis.bucket import Bucket
from ..synthesis.likeness import Slices
from ..synthesis.sampling import Made, Sampler
from ..synthesis.volume import Volume
from . import checkpoint
from .cases import Case, read
from .run import Diverged, Run, Stopped, Untrainable

FOLDER, RECORD, GENERATOR = "synthetic", "record.json", "generator.pt"
#: a made-up case is thrown away where so many of its slices are training slices come again
REPEATS = 0.5
#: of a run's max_minutes, beside which the generator learns
PART_OF_MINUTES = 0.5


@dataclass(frozen=True)
class Synthetic:
    """What was made.

    Attributes:
        share: of the samples that are to be made up.
        cases: to be mixed in.
        record: for done.json.
    """

    share: float
    cases: tuple[Case, ...]
    record: dict[str, Any]

    @property
    def note(self) -> str:
        return (
            f"{self.share:.0%} of the samples were made up: {len(self.cases)} synthetic cases, "
            f"by a generator trained on the same training cases"
        )


def make(
    run: Run, folder: Path, bundle: Bundle, training: Sequence[Case], device: torch.device, leave: Callable[[], bool]
) -> Synthetic:
    """Train a generator on the training cases, and let it make cases; or read what was made before.

    Args:
        run: whose augmentation asks for made-up cases.
        training: the run's training cases, and no others.
        leave: whether somebody asked this process to leave.

    Raises:
        Untrainable: no case is annotated with every class, or in colour; all that was made is a training case again;
            the generator does not end in time.
        Stopped: asked to leave; the generator goes on later.
        Diverged: its loss is not a number.
    """
    whole = [case for case in training if not case.missing(run.classes)]
    if not whole:
        raise Untrainable("[augmentation]: no training case is annotated with every class, so no label can be varied")
    if not _made(run, folder):
        _make(run, folder, bundle, whole, device, leave)
    record = json.loads((folder / FOLDER / RECORD).read_bytes())
    names = [one["case"] for one in record["cases"]]
    channels = [one.channel for one in bundle.card.input]
    cases = tuple(read(folder / FOLDER / name, channels) for name in names)
    return Synthetic(run.augmentation.synthetic_share, cases, record)


def remove(folder: Path) -> None:
    """Take away what was made: it can be made again, and is nobody's image."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    (folder / GENERATOR).unlink(missing_ok=True)


def _made(run: Run, folder: Path) -> bool:
    file = folder / FOLDER / RECORD
    if not file.is_file():
        return False
    if json.loads(file.read_bytes())["run"] != run.identity:
        raise Untrainable(f"{file}: is of another run (its run.json was another)")
    return True


def _make(
    run: Run, folder: Path, bundle: Bundle, whole: Sequence[Case], device: torch.device, leave: Callable[[], bool]
) -> None:
    bucket = _bucket(run, whole)
    adversaries = Adversaries(bucket, run.seed, device)
    seconds = _learn(run, folder, adversaries, leave)
    lesions = [segment.value for segment in bundle.card.segment if segment.lesions and segment.value in run.classes]
    sampler = Sampler(bucket, adversaries.generator, lesions, run.seed)
    real = [bucket.bare(one.volume.values) for one in bucket.cases]
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    kept = [
        (_write(one, folder / FOLDER, bundle, run.classes), slices)
        for one, slices in _drawn(sampler, run.augmentation.synthetic_cases, real, leave)
    ]
    if not kept:
        raise Untrainable("[augmentation]: every made-up case is a training case come again; nothing is gained by them")
    alike = likeness.of(real, [slices for _, slices in kept])
    said = {
        "run": run.identity,
        **run.augmentation.model_dump(),
        "seed": run.seed,
        "generator_seconds": round(seconds, 1),
        "generator_sha256": _sha256(adversaries.generator),
        "trained_on": [case.said.case for case in whole],
        "likeness": {name: round(value, 4) for name, value in asdict(alike).items()},
        "dropped": run.augmentation.synthetic_cases - len(kept),
        "cases": [said for said, _ in kept],
    }
    checkpoint.write_json(folder / FOLDER / RECORD, said)


def _drawn(
    sampler: Sampler, count: int, real: Sequence[Slices], leave: Callable[[], bool]
) -> Iterator[tuple[Made, Slices]]:
    """So many cases, less those that are a training case come again, each with its slices on the canvas."""
    as_neighbours, everything = likeness.neighbours(real), np.concatenate(real)
    for number in range(count):
        if leave():
            raise Stopped("training was asked to leave while cases were made; they are made again")
        made = sampler(number)
        slices = sampler.bucket.bare(made.volume.values)
        if likeness.repeats(slices, everything, as_neighbours) < REPEATS:
            yield made, slices


def _bucket(run: Run, whole: Sequence[Case]) -> Bucket:
    shapes = [np.load(case.folder / "label.npy", mmap_mode="r").shape for case in whole]
    affines = [np.array(case.said.affine, np.float64) for case in whole]
    grids = [
        (np.linalg.norm(affine[:3, :3], axis=0)[::-1], shape) for affine, shape in zip(affines, shapes, strict=True)
    ]
    return Bucket.of(
        [lambda case=case: _volume(case) for case in whole],  # type: ignore[misc]
        grids,
        run.augmentation.canvas,
        run.classes,
    )


def _volume(case: Case) -> Volume:
    """Read a case.

    Raises:
        Untrainable: it is in colour.
    """
    channels = [np.load(case.folder / f"channel_{number}.npy") for number in range(len(case.said.channels))]
    if any(channel.ndim != 3 for channel in channels):
        raise Untrainable("[augmentation]: made-up cases are of grey images; set synthetic_share = 0 for this network")
    label = np.load(case.folder / "label.npy")
    return Volume(case.said.case, np.stack(channels), label, np.array(case.said.affine, np.float64))


def _learn(run: Run, folder: Path, adversaries: Adversaries, leave: Callable[[], bool]) -> float:
    """Make all steps of the generator; the seconds that they took, over all starts."""
    file = folder / GENERATOR
    before = 0.0
    saved = checkpoint.load(folder, run.identity, GENERATOR)
    if saved is not None:
        adversaries.restore(saved["adversaries"])
        before = float(saved["seconds"])
    begun = last_saved = time.monotonic()

    def seconds() -> float:
        return before + time.monotonic() - begun

    def save() -> None:
        state = {"identity": run.identity, "seconds": seconds(), "adversaries": adversaries.saved()}
        checkpoint.write_tensors(file, state)

    while adversaries.steps < run.augmentation.generator_steps:
        if leave():
            save()
            raise Stopped("training was asked to leave while its generator learnt; its state is saved")
        if run.max_minutes is not None and seconds() > PART_OF_MINUTES * 60 * run.max_minutes:
            raise Untrainable(
                f"[augmentation]: the generator made {adversaries.steps} of {run.augmentation.generator_steps} steps "
                f"in half of max_minutes; ask for fewer generator_steps, or give it more minutes"
            )
        if not math.isfinite(adversaries.step()):
            raise Diverged(f"the generator's loss is not a number at step {adversaries.steps}")
        if time.monotonic() - last_saved >= run.checkpoint_seconds:
            last_saved = time.monotonic()
            save()
    save()
    return seconds()


def _sha256(network: torch.nn.Module) -> str:
    """Of its weights alone: a file would hold the time as well."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write(made: Made, root: Path, bundle: Bundle, classes: Sequence[int]) -> dict[str, str]:
    """The folder of a case; what the record says of it."""
    volume = made.volume
    folder = root / volume.case
    folder.mkdir(parents=True)
    names = ["label.npy", *(f"channel_{number}.npy" for number in range(len(volume.values)))]
    for name, array in zip(names, (volume.label, *volume.values), strict=True):
        np.save(folder / name, np.ascontiguousarray(array))
    said = {
        "case": volume.case,
        "patient": FOLDER,
        "synthetic": True,
        "affine": volume.affine.tolist(),
        "channels": [one.channel for one in bundle.card.input],
        "annotated": sorted(classes),
    }
    (folder / "case.json").write_text(json.dumps(said))
    hashes = {name: checkpoint.sha256(folder / name) for name in names}
    return {"case": volume.case, "host": made.host, "donor": made.donor, "style_of": made.style_of, **hashes}
