"""Where the numbers come from: the data, the protocol, the hashes, and the rules for numbers that do not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.scores import case, lesions, summary

from . import words
from .blocks import Block, Cell, Column, Heading, Listed, Says, Table, row
from .values import Evaluation, Manifest
from .words import NONE

#: reasons why labels were left out that are printed one by one
MOST_REASONS = 12
PROTOCOL = {
    "primary_classes": "Primary classes",
    "alpha": "Alpha of the first look, one-sided",
    "margin": "Margin, all primary classes",
    "class_margin": "Margin of a class",
    "class_margins": "Margins of single classes",
    "subgroup_margin": "Margin of a subgroup",
    "subgroup_patients": "Subgroups have a margin from, patients",
    "small_subgroup_patients": "Small subgroups are judged from, patients",
    "small_subgroup_drop": "Most that a small subgroup may lose",
    "failure_dice": "A failure is below",
    "named_loss": "Named is who loses more than",
    "fewest_patients": "Fewest patients for a verdict",
    "automatic_patients": "Fewest patients for automatic promotion",
    "runtime_factor": "Runtime, times that of the champion",
    "absolute": "Dice to be reached without a champion",
    "bootstraps": "Bootstrap samples",
    "permutations": "Permutations",
    "seed": "Seed of both tests",
}

ONE_LACKS = (
    "A class that one of the two lacks has Dice, surface Dice, precision and recall 0, and no Hausdorff distance. In "
    "what the gate compares, where the truth lacks a class, a network that rightly found none has 1 and one that found "
    "some has 0."
)
PATIENTS = (
    "The unit is the patient: several cases of one are averaged first. Intervals are 95 %, by the percentile bootstrap "
    f"over patients, {summary.BOOTSTRAPS} samples; none is given for fewer than {summary.FEWEST_FOR_INTERVAL} patients."
)
SURFACES = (
    "Surfaces by marching cubes, distances in mm through the geometry of the images. Hausdorff distance: the greater "
    "one of the two directed 95th percentiles, by area."
)
LESIONS = (
    f"Lesions: connected parts (26 neighbours). One is found when {lesions.MEETS:.0%} of its voxels are predicted; a "
    "predicted part is false when less of its voxels are in a lesion."
)
CURVES = (
    "ROC and PR AUC: over all voxels of a scan, exact; equal probabilities count half in ROC, and PR is the average "
    f"precision. Calibration error: ten bins, over the voxels up to {case.AROUND_MM:g} mm around the truth, and none "
    "where the truth lacks the class."
)


def data(of: Evaluation) -> list[Block]:
    """Whom the networks were trained and tested on."""
    found: list[Block] = [Heading("Data", "data")]
    for name, manifest in (("Test set (locked)", of.test), ("Training set", of.training)):
        if not manifest:
            found.append(Says(f"{name}: not described in what this report was made from.", faint=True))
            continue
        found.append(_roles(name, manifest))
        if (groups := _groups(manifest, of)) is not None:
            found.append(groups)
        if left_out := _left_out(manifest):
            found += [Says(f"{name}: labels that were left out, and why."), Listed(left_out)]
    return found


def _roles(name: str, manifest: Manifest) -> Table:
    rows = []
    for role, its in dict(manifest.get("roles", {})).items():
        patients = its.get("patients", ())
        rows.append(row(str(role), words.count(len(patients)), words.count(its.get("labels"))))
    rows.append(row("SHA-256", Cell(str(manifest.get("sha256", NONE)), code=True), ""))
    columns = (Column("Bucket", 1), Column("Patients", 3, number=True), Column("Labels", 1, number=True))
    return Table(name, columns, tuple(rows))


def _groups(manifest: Manifest, of: Evaluation) -> Table | None:
    rows = [
        row(str(kind), ", ".join(f"{group}: {count}" for group, count in its.items()) or NONE)
        for kind, its in dict(manifest.get("groups", {})).items()
    ]
    for kind, its in dict(manifest.get("classes", {})).items():
        said = ", ".join(f"{of.label(int(value))}: {count}" for value, count in its.items())
        rows.append(row(f"classes {kind}", said or NONE))
    return Table("", (Column("", 1), Column("Labels of each", 5)), tuple(rows)) if rows else None


def _left_out(manifest: Manifest) -> tuple[str, ...]:
    """Each reason once, with how many labels it concerns."""
    reasons = Counter(str(one.get("reason", NONE)) for one in manifest.get("left_out", ()))
    said = [f"{count} × {reason}" for reason, count in reasons.most_common(MOST_REASONS)]
    more = len(reasons) - len(said)
    return (*said, *([f"and {more} more reasons"] if more > 0 else []))


def provenance(of: Evaluation) -> list[Block]:
    """What would make the same numbers again."""
    rows = [row(name, Cell(value or NONE, code=_is_hash(value))) for name, value in of.provenance]
    rows.append(row("Protocol SHA-256", Cell(of.protocol.sha256(), code=True)))
    declared = asdict(of.protocol)
    rules = [row(title, _said(declared[key], of)) for key, title in PROTOCOL.items()]
    columns = (Column("", 2), Column("", 4))
    return [
        Heading("Provenance", "provenance"),
        Table("How it was made", columns, tuple(rows)),
        Table("Protocol, declared before the training", columns, tuple(rules)),
    ]


def _is_hash(value: str) -> bool:
    return len(value) >= 16 and " " not in value


def _said(value: Any, of: Evaluation) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{of.label(int(key))}: {one:g}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(of.label(int(one)) for one in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rules(of: Evaluation) -> list[Block]:
    """How every number came about, and what happens where there is none."""
    said = (
        f"{NONE} is a number that does not exist; why is said below its table. It is in no mean.",
        "A class that neither truth nor prediction has is left out of every mean, and counted.",
        ONE_LACKS,
        "A class that was not annotated in a case is not scored there: nobody knows whether it is absent.",
        PATIENTS,
        f"Surface Dice: the part of both surfaces, by area, within {of.tolerance_mm:g} mm of the other one. {SURFACES}",
        LESIONS,
        CURVES,
        "Accuracy is over all voxels of the scan: nearly all of them are background, so it is near 1 for anything.",
    )
    return [Heading("Rules of the numbers", "rules"), Listed(said, faint=True)]
