"""The page of the ablation, in Markdown: what was measured, and what it does not show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..comparison.figures import Difference, difference, figures
from ..comparison.trial import Outcome
from .pairs import FOLDS, SHARE, SYNTHETIC_CASES, Pair

HEAD = """# Made-up training cases: do they help?

A generator learns to draw the slices of a training case from its labels; then it draws new ones for labels that nobody
has drawn, and a network is trained on both. A card may ask for it, and none does ([model-card.md](model-card.md)):

```toml
[augmentation]
synthetic_share = 0.25
```

`make ablation DATA=folder` measures on the PET of `pet_sarcoma` whether that helps, and writes the figures below.

**How it works.** A SPADE generator with styles and a discriminator of patches, both MONAI's, learn from the slices
of the run's training cases, and of nothing else, on a canvas of one pixel size. What is shown to the generator is
the label of a slice and of its two neighbours, and in place of a body that no label describes four levels of its
smoothed brightness. To make a case, the surroundings of one training patient are taken, the lesions of another one
are turned, resized and moved into them, everything is bent, and the generator draws all slices in the style of a
third one. What a card does not call lesions stays where it is and is only bent. A made-up case half of whose slices
are as like a training slice as that one's own neighbour is thrown away.

**Where it ends.** Made-up cases stand in for a share of the samples of the training, never in the validation or in
a test: they are made inside of the run's folder, after the lists of real cases were read; a list that holds one
ends the run; the node refuses to read one (`synthetic-case`); and they are deleted when the training has ended.
They have no patient, no images and no row, so there is nothing that could be sent or exported. The run's record
keeps the share, the seed, the hashes of generator and cases, whose surroundings, lesions and style each has, and
the figures of likeness; the evaluation's report says that there were any.
"""
MEASURED = """
## What was measured

{patients} patients were judged, in {folds} parts by a hash of their names; neither network nor generator has seen
them. On the same training patients, with the same seed, the shipped recipe was trained twice from random
weights for {seconds:.0f} processor seconds: without, and with {share:.0%} of the samples from {cases} made-up
cases. The generator's {steps} steps ({generator:.0f} processor seconds with the drawing) come on top and were not
given to the training without. Both were judged through the node's own inference. A failure is a Dice below 0.5.

| trained on | judged | Dice without | with | with less without (95 % interval) | failures | steps |
|---|---|---|---|---|---|---|
"""
LIKENESS = """
## How like the real they are

The structural similarity (SSIM) of slices, within the images; medians, then the mean over the parts. A generator
that knew its patients by heart would have made-up slices as like a training slice as that one's own neighbour is;
one that always draws the same, made-up cases that are more like one another than patients are.

| trained on | real to other patients | made up to real | made up to one another | neighbouring slices | repeated |
|---|---|---|---|---|---|
"""
FIDELITY = """
Given the map of an unseen patient's slice, the generator's slice has this likeness to what that slice really shows;
beside it, the same map painted in the mean value of each of its parts, which takes no learning.

| trained on | generated | painted |
|---|---|---|
"""


def page(pairs: Sequence[Pair], picture: str) -> str:
    """Everything in one Markdown text.

    Args:
        pairs: of any folds, each size on the same ones.
        picture: file name of the picture.
    """
    sizes = sorted({pair.size for pair in pairs})
    of_size = {size: [pair for pair in pairs if pair.size == size] for size in sizes}
    folds = len({pair.fold for pair in pairs})
    measured = MEASURED.format(
        patients=len(_outcomes(of_size[sizes[0]], lambda pair: pair.without)),
        folds=f"{folds} of {FOLDS}" if folds < FOLDS else str(folds),
        seconds=pairs[0].budget.seconds,
        share=SHARE,
        cases=SYNTHETIC_CASES,
        steps=pairs[0].budget.steps,
        generator=np.mean([pair.generator_seconds for pair in pairs]),
    )
    return "".join(
        [
            HEAD,
            measured,
            *(_dice_row(size, of_size[size]) for size in sizes),
            _what_it_shows(of_size),
            f"\n![Slices of training patients, and made-up ones]({picture})\n",
            LIKENESS,
            *(_likeness_row(size, of_size[size]) for size in sizes),
            FIDELITY,
            *(_fidelity_row(size, of_size[size]) for size in sizes),
        ]
    )


def gain(pairs: Sequence[Pair]) -> Difference:
    """Dice with made-up cases less Dice without, patient by patient."""
    return difference(_outcomes(pairs, lambda pair: pair.with_synthetic), _outcomes(pairs, lambda pair: pair.without))


def _outcomes(pairs: Sequence[Pair], which: Callable[[Pair], Sequence[Outcome]]) -> list[Outcome]:
    return [one for pair in pairs for one in which(pair)]


def _dice_row(size: int, pairs: Sequence[Pair]) -> str:
    without, with_synthetic = (
        figures(_outcomes(pairs, which)) for which in (lambda one: one.without, lambda one: one.with_synthetic)
    )
    found = gain(pairs)
    steps = [round(float(np.mean([getattr(one, name) for one in pairs]))) for name in ("steps_without", "steps_with")]
    return (
        f"| {size} patients | {without.patients} | {without.mean:.3f} | {with_synthetic.mean:.3f} | "
        f"{found.mean:+.3f} ({found.low:+.3f} ... {found.high:+.3f}) | "
        f"{without.failures}, {with_synthetic.failures} | {steps[0]}, {steps[1]} |\n"
    )


def _what_it_shows(of_size: dict[int, list[Pair]]) -> str:
    gains = {size: gain(pairs) for size, pairs in of_size.items()}
    better = [f"{size} patients" for size, one in gains.items() if one.low > 0]
    worse = [f"{size} patients" for size, one in gains.items() if one.high < 0]
    half = max(one.high - one.mean for one in gains.values())
    verdict = "**They help here.**" if better and not worse else "**That they help was not shown.**"
    return f"""
{verdict} Better with made-up cases, beyond the interval: {_named(better)}. Worse: {_named(worse)}. The interval
is that of the patients' differences, up to {half:.2f} to either side; smaller effects, of either sign, could
not have been seen. It takes patients as independent, though those of a part were judged by the same network,
and one seed a part says little of how trainings differ by chance: the true uncertainty is larger. Nothing was
tuned, neither generator nor share. The trainings are short, and the generators too; what hours on a GPU would
give was not asked. The images are cropped around a tumour.
"""


def _likeness_row(size: int, pairs: Sequence[Pair]) -> str:
    names = ("real_to_others", "synthetic_to_real", "synthetic_to_synthetic", "neighbours")
    means = [float(np.mean([getattr(pair.likeness, name) for pair in pairs])) for name in names]
    repeated = float(np.mean([pair.likeness.repeated for pair in pairs]))
    return f"| {size} patients | " + " | ".join(f"{one:.2f}" for one in means) + f" | {repeated:.1%} |\n"


def _fidelity_row(size: int, pairs: Sequence[Pair]) -> str:
    means = [float(np.mean([getattr(pair.fidelity, name) for pair in pairs])) for name in ("generated", "painted")]
    return f"| {size} patients | {means[0]:.2f} | {means[1]:.2f} |\n"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
