"""Charts of a training, and of the probabilities: loss and Dice by epoch, ROC, reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .chart import (
    CANDIDATE,
    FAINT,
    GOOD,
    INK,
    LETTERS,
    WIDTH,
    Axis,
    Chart,
    Dot,
    Letters,
    Shape,
    Stroke,
    across,
    upwards,
)
from .values import Contender
from .words import number

LEFT, RIGHT, TOP, BOTTOM = 44.0, WIDTH - 10.0, 34.0, 240.0
SQUARE = 260.0


def epochs(progress: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines that are of a whole epoch, in order; of one that was told twice, the last."""
    found = {int(line["epoch"]): line for line in progress if "step" not in line and "epoch" in line}
    return [found[epoch] for epoch in sorted(found)]


def learning(progress: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss and validation Dice by epoch; none where nothing was told."""
    charts = []
    for key, title in (("loss", "Loss by epoch"), ("dice", "Validation Dice by epoch")):
        points = [
            (int(line["epoch"]), value) for line in epochs(progress) if (value := _finite(line.get(key))) is not None
        ]
        if points:
            charts.append(_by_epoch(title, points, best=key == "dice"))
    return charts


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _by_epoch(title: str, points: Sequence[tuple[int, float]], *, best: bool) -> Chart:
    x = Axis(min(1, points[0][0]), max(points[-1][0], points[0][0] + 1), LEFT, RIGHT)
    y = Axis.around([value for _, value in points], BOTTOM, TOP)
    shapes = upwards(y, LEFT, RIGHT, "")
    shapes += across(x, TOP, BOTTOM, "Epoch", whole=True)
    line = tuple((x.at(epoch), y.at(value)) for epoch, value in points)
    shapes.append(Stroke(line, CANDIDATE, 2) if len(line) > 1 else Dot(*line[0], CANDIDATE))
    said = f"{len(points)} values, from {number(points[0][1], 3)} to {number(points[-1][1], 3)}."
    if best:
        epoch, value = max(points, key=lambda point: point[1])
        at = x.at(epoch)
        shapes += [Dot(at, y.at(value), GOOD, 4.5)]
        anchor = "end" if at > (LEFT + RIGHT) / 2 else "start"
        away = -8 if anchor == "end" else 8
        shapes.append(Letters(at + away, y.at(value) - 6, f"best {number(value, 3)}, epoch {epoch}", INK, anchor))
        said += f" The best, {number(value, 3)}, is of epoch {epoch}: these weights are the candidate."
    return Chart(title, said, BOTTOM + 34, (*shapes,))


def of_probabilities(value: int, label: str, contenders: Sequence[tuple[str, Contender]]) -> list[Chart]:
    """ROC and reliability of a class; none where no probabilities were kept."""
    there = [(role, one.ranked[value]) for role, one in contenders if value in one.ranked]
    areas = [(role, of, of.roc_auc()) for role, of in there]
    charts = []
    if known := [(role, of, area) for role, of, area in areas if area is not None]:
        lines = {}
        for role, of, _ in known:
            false, true = of.roc()
            lines[role] = list(zip(false.tolist(), true.tolist(), strict=True))
        names = [(role, f"{role} {number(area, 4)}") for role, _, area in known]
        said = "Over the voxels of all cases, by threshold."
        charts.append(_square(f"ROC: {label}", said, lines, names, ("False positive rate", "True positive rate")))
    bins = {role: _bins(of.reliability()) for role, of in there}
    if any(bins.values()):
        names = [(role, role) for role in bins]
        said = "Ten bins of the voxels of all cases; on the line, a probability of 0.7 is right 7 times of 10."
        charts.append(
            _square(f"Reliability: {label}", said, bins, names, ("Probability", "Part that is right"), marks=True)
        )
    return charts


def _bins(found: tuple[Any, Any, Any]) -> list[tuple[float, float]]:
    return [(float(said), float(seen)) for said, seen, voxels in zip(*found, strict=True) if voxels]


def _square(
    title: str,
    said: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    names: Sequence[tuple[str, str]],
    axes: tuple[str, str],
    *,
    marks: bool = False,
) -> Chart:
    x, y = Axis(0, 1, LEFT, LEFT + SQUARE), Axis(0, 1, TOP + SQUARE, TOP)
    shapes: list[Shape] = [*upwards(y, LEFT, LEFT + SQUARE, axes[1]), *across(x, TOP, TOP + SQUARE, axes[0])]
    shapes.append(Stroke(((x.at(0), y.at(0)), (x.at(1), y.at(1))), FAINT, 1, dashed=True))
    for role, points in lines.items():
        placed = tuple((x.at(a), y.at(b)) for a, b in points)
        if len(placed) > 1:
            shapes.append(Stroke(placed, role, 2))
        if marks:
            shapes += [Dot(*point, role, 3) for point in placed]
    for n, (role, name) in enumerate(names):
        shapes += [
            Dot(LEFT + SQUARE + 14, TOP + 12 + n * 18, role),
            Letters(LEFT + SQUARE + 22, TOP + 16 + n * 18, name, INK, size=LETTERS - 0.5),
        ]
    return Chart(title, said, TOP + SQUARE + 34, (*shapes,))
