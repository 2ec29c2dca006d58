"""The page of the question, in Markdown: what was measured, patient by patient, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from ..contenders import Case
from ..figures import Difference, difference, figures
from ..trial import Outcome, by_threshold
from ..trials import Trial
from .contenders import BOTH, CONTENDERS, FOLDS, LATE, PET

SUV, OF_MAXIMUM = 2.5, 0.41
Rows = Mapping[str, Sequence[Outcome]]
HEAD = """# Does fusion help?

PET shows what is hot, CT shows where muscle ends and fat begins. Does a network that reads both outline the mass of a
soft-tissue sarcoma better than one that reads the PET alone, on patients that it has not seen? `make compare-fusion`
measures it and writes this page; the recipe is that of the shipped demonstration `ct_pet_sarcoma`. All images are
cropped around the tumour, so these numbers are no forecast for a whole body.

**{answer}**

**How it was measured.** The {patients} patients of Soft-tissue-Sarcoma (Vallieres et al. 2015, doi
10.7937/K9/TCIA.2015.7GO2GSKS, CC BY 3.0) of whom both series are at hand; the truth is the experts' outline on the PET.
The CT is brought onto the grid of the PET by the node's own code, linearly, before a network sees it. {folds}-fold
cross-validation by patient{repeated}: every network learnt from {seen} patients and was judged on the others, and the
contenders share folds, seed, augmentation and {budget:.0f} processor seconds of one core, from random weights;
the last weights count, none were chosen. They were judged through the node's own inference, on the grid of the PET,
with the card's rules. A failure is a Dice below 0.5. The surface's distance is the average of both ways. The difference
to the PET alone is paired, with the 95 % interval of Student's t and the p of Wilcoxon's signed ranks.

![Dice of each patient]({picture})

| contender | Dice, mean | SD | median | failures | surface, mm | less the PET alone | p | steps | weights |
|---|---|---|---|---|---|---|---|---|---|
"""
REPEATED = ", {repeats} times with other folds and seeds (a patient's Dice is the mean)"
OF_LATE = """
Late fusion is the mean of the logits of the two networks that were trained for one channel each; so it had twice the
time, and the weights of both.
"""
TAIL = """
The thresholds take everything above, with no region chosen and nothing taken away: SUV > {suv:g}, and {part:.0%} of the
highest value.

## What this does not show

With {patients} patients a difference in mean Dice below about {half:.2f} cannot be seen. One scanner model, one
collection, crops of 15 cm; no CT with contrast; resampled to the voxels of the PET, 4 to 5 mm, the CT has lost what is
finer. In STS_019 the limb moved by 7 mm between CT and PET, so the CT says something wrong about where the mass lies:
registration is believed as the frame of reference says, and nothing here corrects it.
One seed for each fold, and short trainings: a network that learns for hours from hundreds of patients may use the CT
better, or not at all.
"""


def baselines(cases: Sequence[Case]) -> dict[str, Sequence[Outcome]]:
    """The two thresholds that nuclear medicine uses, on every patient."""
    return {
        f"Threshold, SUV > {SUV:g}": by_threshold(cases, SUV, channel="pet"),
        f"Threshold, {OF_MAXIMUM:.0%} of the maximum": by_threshold(cases, OF_MAXIMUM, of_maximum=True, channel="pet"),
    }


def rows_of(trials: Sequence[Trial], plain: Rows) -> dict[str, Sequence[Outcome]]:
    """The outcome of each patient by contender, mean of the repeats; the thresholds last."""
    names = [one.name for one in CONTENDERS if any(trial.name == one.name for trial in trials)]
    return {name: _mean([one for t in trials if t.name == name for one in t.outcomes]) for name in names} | dict(plain)


def _mean(outcomes: Sequence[Outcome]) -> list[Outcome]:
    by_patient: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_patient.setdefault(one.patient, []).append(one)
    return [_of_one(patient, by_patient[patient]) for patient in sorted(by_patient)]


def _of_one(patient: str, same: Sequence[Outcome]) -> Outcome:
    apart = [one.surface_mm for one in same if one.surface_mm is not None]
    return Outcome(
        patient=patient,
        dice=float(np.mean([one.dice for one in same])),
        truth_ml=same[0].truth_ml,
        predicted_ml=float(np.mean([one.predicted_ml for one in same])),
        seconds=float(np.mean([one.seconds for one in same])),
        surface_mm=float(np.mean(apart)) if apart else None,
    )


def page(trials: Sequence[Trial], plain: Rows, picture: str) -> str:
    """Everything in one Markdown text.

    Args:
        trials: the same folds of every contender.
        plain: what `baselines` gave.
        picture: file name of the plot.
    """
    rows = rows_of(trials, plain)
    repeats = len({trial.fold for trial in trials}) // FOLDS
    patients = len(rows[PET.name])
    found = difference(rows[BOTH.name], rows[PET.name])
    head = HEAD.format(
        answer=answer(rows),
        patients=patients,
        folds=FOLDS,
        repeated=REPEATED.format(repeats=repeats) if repeats > 1 else "",
        seen=patients - patients // FOLDS,
        budget=trials[0].budget,
        picture=picture,
    )
    tail = TAIL.format(suv=SUV, part=OF_MAXIMUM, patients=patients, half=found.high - found.mean)
    return (
        head
        + "".join(_line(name, rows, trials) for name in rows)
        + _by_patient(rows)
        + OF_LATE * (LATE.name in rows)
        + tail
    )


def answer(rows: Rows) -> str:
    """The sentence that the page is for: yes, no, or that these patients do not say."""
    found = difference(rows[BOTH.name], rows[PET.name])
    said = _interval(found)
    better = sum(
        one.dice > other.dice for one, other in zip(_sorted(rows[BOTH.name]), _sorted(rows[PET.name]), strict=True)
    )
    number = f"mean difference in Dice {said}, better in {better} of {len(rows[PET.name])} patients"
    if not found.is_distinct:
        return f"These patients do not show that it helps: {number}."
    return f"On these patients it {'helps' if found.mean > 0 else 'does harm'}: {number}."


def _sorted(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda one: one.patient)


def _interval(found: Difference) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} ... {found.high:+.3f})"


def _line(name: str, rows: Rows, trials: Sequence[Trial]) -> str:
    outcomes, alone = rows[name], rows[PET.name]
    found = figures(outcomes)
    apart = [one.surface_mm for one in outcomes if one.surface_mm is not None]
    cells = [name, f"{found.mean:.3f}", f"{found.sd:.3f}", f"{found.median:.3f}", str(found.failures)]
    lacking = f", none in {len(outcomes) - len(apart)}" if len(apart) < len(outcomes) else ""
    cells.append(f"{np.mean(apart):.1f}{lacking}" if apart else "none found")
    cells += ["", ""] if name == PET.name else [_interval(difference(outcomes, alone)), f"{_p(outcomes, alone):.3f}"]
    of_it = [trial for trial in trials if trial.name == name]
    cells += [f"{np.mean([one.steps for one in of_it]):.0f}", f"{of_it[0].parameters:,}"] if of_it else ["", ""]
    return "| " + " | ".join(cells) + " |\n"


def _p(outcomes: Sequence[Outcome], reference: Sequence[Outcome]) -> float:
    """Of Wilcoxon's signed ranks, two-sided; 1 where no patient differs."""
    pairs = zip(_sorted(outcomes), _sorted(reference), strict=True)
    differences = [one.dice - other.dice for one, other in pairs]
    return float(stats.wilcoxon(differences).pvalue) if any(differences) else 1.0


def _by_patient(rows: Rows) -> str:
    """Dice and surface distance of every patient."""
    heads = {PET.name: "PET", BOTH.name: "both, early", LATE.name: "both, late"}
    named = [heads.get(name, name) for name in rows]
    lines = ["\n## Patient by patient\n\nDice, and the distance of the surfaces in mm.\n\n"]
    lines.append(f"| patient | ml | {' | '.join(named)} |\n|{'---|' * (len(named) + 2)}\n")
    by_name = {name: {one.patient: one for one in outcomes} for name, outcomes in rows.items()}
    for one in _sorted(rows[PET.name]):
        cells = [_dice_and_surface(found[one.patient]) for found in by_name.values()]
        lines.append(f"| {one.patient} | {one.truth_ml:.0f} | {' | '.join(cells)} |\n")
    return "".join(lines)


def _dice_and_surface(one: Outcome) -> str:
    return f"{one.dice:.2f}, " + ("none" if one.surface_mm is None else f"{one.surface_mm:.1f}")
