"""Charts of how the scores of the patients spread: boxes, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

from models.scores.summary import NUMBERS, by_patient, of_class, spread

from .chart import INK, WIDTH, Axis, Bar, Chart, Dot, Letters, Shape, Stroke, across, fitting
from .values import Contender
from .words import Metric, number

NAMES, RIGHT, TOP = 96.0, WIDTH - 12.0, 8.0
LINE, CAPTION = 20.0, 20.0
BOX = 11.0
#: beside the middle of the box, so that equal numbers do not hide one another
ASIDE = (0.0, 3.2, -3.2, 1.6, -1.6, 4.4, -4.4)


def boxes(
    metric: Metric, classes: Sequence[tuple[int, str]], contenders: Sequence[tuple[str, Contender]]
) -> Chart | None:
    """The patients' numbers, per class and contender; None where nobody has one.

    Args:
        classes: label value and name.
        contenders: role and who.
    """
    found = {
        (value, role): sorted(by_patient(one.cases, of_class(value, NUMBERS[metric.name])).values())
        for value, _ in classes
        for role, one in contenders
    }
    everything = [number for values in found.values() for number in values]
    if not everything:
        return None
    axis = Axis.around(everything, NAMES, RIGHT)
    bottom = TOP + len(classes) * (CAPTION + len(contenders) * LINE)
    shapes = across(axis, TOP, bottom, "")
    y, said = TOP, []
    for value, label in classes:
        shapes.append(Letters(0, y + 14, fitting(label, WIDTH - 8), INK, bold=True))
        y += CAPTION
        for role, _ in contenders:
            shapes += _box(role, found[value, role], axis, y + LINE / 2, metric)
            y += LINE
            if of := spread(found[value, role]):
                said.append(f"{label}, {role}: median {number(of.median, metric.digits)}")
    explained = "Box: quartiles, line: median, marks: patients."
    return Chart(metric.title, explained, bottom + 20, (*shapes,), heard="; ".join(said) + ".")


def _box(role: str, values: Sequence[float], axis: Axis, y: float, metric: Metric) -> list[Shape]:
    shapes: list[Shape] = [Letters(8, y + 4, role.capitalize(), role)]
    of = spread(values)
    if of is None:
        return [*shapes, Letters(NAMES, y + 4, "no number", INK)]
    low, high = axis.at(of.lower_quartile), axis.at(of.upper_quartile)
    shapes.append(Stroke(((axis.at(of.least), y), (axis.at(of.most), y)), role, 1))
    shapes.append(Bar(low, y - BOX / 2, max(high - low, 1.0), BOX, role, 0.28))
    shapes.append(Stroke(((axis.at(of.median), y - BOX / 2 - 1), (axis.at(of.median), y + BOX / 2 + 1)), role, 2.5))
    for n, value in enumerate(values):
        shapes.append(Dot(axis.at(value), y + ASIDE[n % len(ASIDE)], role, 1.8, number(value, metric.digits)))
    return shapes
