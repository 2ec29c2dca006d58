"""The page of the comparison, in Markdown: what was measured, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .contenders import CONTENDERS, FOLDS, HELD_OUT, SHIPPED
from .figures import Difference, difference, figures
from .trial import Outcome
from .trials import FOLD_BUDGETS, SPLIT, Trial

THRESHOLD_SUV = 2.5
#: a contender that made fewer has not been seen at what it can do
HARDLY_BEGUN_STEPS = 100
THRESHOLD = f"Threshold, SUV > {THRESHOLD_SUV:g}"
HEAD = """# Networks side by side

Which network segments the masses of soft-tissue sarcoma in FDG-PET best, on the same patients with the same time to
learn? `make compare` measures it and writes this page; the recipe is the one of the shipped network `pet_sarcoma`, and
each contender changes one thing of it. Its images are cropped around the tumour, so these numbers are no forecast for
a whole body. Whether a CT beside the PET helps: [fusion.md](fusion.md).

**How it was measured.** {patients} patients (Soft-tissue-Sarcoma, Vallieres et al. 2015, doi
10.7937/K9/TCIA.2015.7GO2GSKS, CC BY 3.0; outlined by experts), {seen} to train on and {unseen} to judge by, parted by
a hash of the patient's name and nothing else. Each contender had {budget:.0f} seconds of one processor core (its own
time, not the clock's), from random weights, with one seed, the same patches, learning rate schedule, augmentation and
momentum of batch norm; nothing was pretrained; the last weights count, none were chosen. It was
judged through the node's own inference, on the grid of the images. A failure is a Dice below 0.5. Seconds are those
of one inference on one core{clock}.

The recipe was chosen in a few short runs judged on eight patients, five of whom are among the {unseen}: what is
compared with it has to make up for that.
"""
COLUMNS = """
| contender | Dice, mean | SD | median | failures | less the shipped recipe (95 % interval) | steps | weights | s |
|---|---|---|---|---|---|---|---|---|
"""
FOLD_HEAD = f"""
## The shipped recipe, {FOLDS}-fold cross-validation by patient

Every patient is judged by the one network of {FOLDS} that has not seen it; it had {FOLD_BUDGETS} times the
seconds of a contender above.

| fold | patients | Dice, mean | SD | median | failures | threshold, mean | steps |
|---|---|---|---|---|---|---|---|
"""


def page(trials: Sequence[Trial], threshold: Sequence[Outcome], picture: str) -> str:
    """Everything in one Markdown text.

    Args:
        trials: one of each contender on the fixed split, and one of the shipped recipe for each fold.
        threshold: of every patient.
        picture: file name of the plot.
    """
    on_split = {trial.name: trial for trial in trials if trial.fold == SPLIT}
    folds = sorted((trial for trial in trials if trial.fold != SPLIT), key=lambda trial: trial.fold)
    busy = sum(trial.elapsed for trial in trials) / sum(trial.seconds for trial in trials)
    said = f"; the machine was busy, and a second of the processor took {busy:.1f} of the clock"
    head = HEAD.format(
        patients=len(threshold),
        seen=len(threshold) - HELD_OUT,
        unseen=HELD_OUT,
        budget=trials[0].budget,
        clock=said if busy > 1.1 else "",
    )
    return "".join(
        [
            head,
            f"\n![Dice of each patient]({picture})\n",
            _split_table(on_split, threshold),
            _what_it_shows(on_split),
            FOLD_HEAD,
            _fold_rows(folds, threshold),
            _of_all(folds, threshold),
        ]
    )


def rows_of(on_split: Mapping[str, Trial], threshold: Sequence[Outcome]) -> dict[str, Sequence[Outcome]]:
    """The outcomes of the fixed split by contender, the threshold last."""
    rows: dict[str, Sequence[Outcome]] = {one.name: on_split[one.name].outcomes for one in CONTENDERS}
    judged = {one.patient for one in on_split[SHIPPED.name].outcomes}
    rows[THRESHOLD] = [one for one in threshold if one.patient in judged]
    return rows


def _split_table(on_split: Mapping[str, Trial], threshold: Sequence[Outcome]) -> str:
    lines = []
    shipped = on_split[SHIPPED.name].outcomes
    for name, outcomes in rows_of(on_split, threshold).items():
        found = figures(outcomes)
        cells = [name, f"{found.mean:.3f}", f"{found.sd:.3f}", f"{found.median:.3f}", str(found.failures)]
        cells.append("" if name == SHIPPED.name else _interval(difference(outcomes, shipped)))
        trial = on_split.get(name)
        cells += [str(trial.steps), f"{trial.parameters:,}", f"{found.seconds:.2f}"] if trial else ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |\n")
    return COLUMNS + "".join(lines)


def _interval(found: Difference) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} ... {found.high:+.3f})"


def _what_it_shows(on_split: Mapping[str, Trial]) -> str:
    shipped = on_split[SHIPPED.name].outcomes
    differences = {
        one.name: difference(on_split[one.name].outcomes, shipped) for one in CONTENDERS if one is not SHIPPED
    }
    halves = sorted(found.high - found.mean for found in differences.values())
    narrow, wide = halves[0], halves[-1]
    better = [name for name, found in differences.items() if found.is_distinct and found.mean > 0]
    worse = [name for name, found in differences.items() if found.is_distinct and found.mean < 0]
    slow = [trial.name for trial in on_split.values() if trial.steps < HARDLY_BEGUN_STEPS]
    return f"""
## What this shows, and what it does not

With {len(shipped)} patients and one seed a difference in mean Dice has an interval of {narrow:.2f} to {wide:.2f} to
either side: whatever is smaller means nothing, and the order within the table is not a ranking. Better than the shipped
recipe beyond that interval: {_named(better)}. Worse: {_named(worse)}.
{len(halves)} comparisons were made at 95 % each without a correction, so one of them may leave out zero by chance about
every third time. Where the threshold's interval holds zero, these patients do not show that a network is worth having;
the cross-validation below, with all of them, is the better witness.

Equal time is not equal steps: a large network makes fewer, and may well be better after hours on a GPU. Fewer than
{HARDLY_BEGUN_STEPS} steps were made by: {_named(slow)}.
Such a network had hardly begun; its row says that it is slow here, and nothing else. The recipe was made for the U-Net,
with its learning rate and its patches, and no contender was tuned; that favours the U-Net. So this page answers which
is worth its time on a hospital's spare processor, and not which architecture is best.
"""


def _named(names: Sequence[str]) -> str:
    return "; ".join(names) if names else "none"


def _fold_rows(folds: Sequence[Trial], threshold: Sequence[Outcome]) -> str:
    of_threshold = {one.patient: one for one in threshold}
    lines = []
    for trial in folds:
        found = figures(trial.outcomes)
        plain = figures([of_threshold[one.patient] for one in trial.outcomes])
        lines.append(
            f"| {trial.fold + 1} | {found.patients} | {found.mean:.3f} | {found.sd:.3f} | {found.median:.3f} | "
            f"{found.failures} | {plain.mean:.3f} | {trial.steps} |\n"
        )
    return "".join(lines)


def _of_all(folds: Sequence[Trial], threshold: Sequence[Outcome]) -> str:
    outcomes = [one for trial in folds for one in trial.outcomes]
    found, plain = figures(outcomes), figures(threshold)
    worst = sorted(outcomes, key=lambda one: one.dice)[: found.failures]
    named = ", ".join(f"{one.patient} {one.dice:.2f}" for one in worst)
    return f"""| **all** | {found.patients} | **{found.mean:.3f}** | {found.sd:.3f} | {found.median:.3f} | \
{found.failures} | {plain.mean:.3f} | |

Less the threshold (SUV > {THRESHOLD_SUV:g}: mean {plain.mean:.3f}, SD {plain.sd:.3f}, median {plain.median:.3f}, \
{plain.failures} failures) on the same patients:
{_interval(difference(outcomes, threshold))}. Failures of the network: {named or "none"}.
"""
