"""Charts of the paired differences: the candidate against the champion, patient by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.scores.summary import Spread

from .chart import (
    BAD,
    CANDIDATE,
    CHAMPION,
    FAINT,
    GOOD,
    INK,
    LETTERS,
    RULE,
    SHADE,
    WIDTH,
    Axis,
    Bar,
    Chart,
    Dot,
    Letters,
    Shape,
    Stroke,
    across,
    fitting,
    upwards,
)
from .words import number, of_patients

#: of a chart with an axis at its left
LEFT, RIGHT, TOP = 44.0, WIDTH - 8.0, 26.0
NAMES = 150.0
LINE = 24.0


@dataclass(frozen=True)
class Effect:
    """A mean difference with what is known of it.

    Attributes:
        low: lower end of the interval; `high` None: it is one-sided.
        primary: the one that decides.
    """

    name: str
    mean: float
    low: float | None
    high: float | None
    patients: int
    primary: bool = False


def of_spread(name: str, found: Spread) -> Effect:
    """With its two-sided interval."""
    low, high = found.interval or (None, None)
    return Effect(name, found.mean, low, high, found.count)


def effects(title: str, found: Sequence[Effect], margin: float) -> Chart:
    """Mean differences below one another, with a line where there is none."""
    ends = [part for one in found for part in (one.mean, one.low, one.high) if part is not None]
    axis = Axis.around([*ends, 0.0, -margin], NAMES, RIGHT - 6)
    bottom = TOP + len(found) * LINE
    zero = axis.at(0)
    shapes: list[Shape] = [Bar(axis.at(-margin), TOP - 6, zero - axis.at(-margin), bottom - TOP + 6, SHADE)]
    shapes += across(axis, TOP - 6, bottom, "Difference in Dice, candidate − champion")
    shapes.append(Stroke(((zero, TOP - 12), (zero, bottom)), INK, 1.2))
    shapes.append(Letters(zero - 6, TOP - 13, "◂ worse", FAINT, "end", LETTERS - 1.5))
    shapes.append(Letters(zero + 6, TOP - 13, "better ▸", FAINT, "start", LETTERS - 1.5))
    for n, one in enumerate(found):
        shapes += _effect(one, axis, TOP + (n + 0.5) * LINE)
    heard = "; ".join(f"{one.name} {number(one.mean, 3, signed=True)}" for one in found)
    said = "Mean over patients, and how many they are. Shaded: the margin of the guards."
    return Chart(title, said, bottom + 34, (*shapes,), heard=f"{heard}.")


def _effect(one: Effect, axis: Axis, y: float) -> list[Shape]:
    name = fitting(f"{one.name} · {one.patients}", NAMES - 12)
    colour = CANDIDATE if one.primary else FAINT
    found: list[Shape] = [Letters(0, y + 4, name, INK, bold=one.primary)]
    if one.low is not None:
        end = axis.at(one.high) if one.high is not None else axis.stop + 4
        found.append(Stroke(((axis.at(one.low), y), (end, y)), colour, 2.5 if one.primary else 1.5))
        found.append(Stroke(((axis.at(one.low), y - 5), (axis.at(one.low), y + 5)), colour, 2))
        if one.high is not None:
            found.append(Stroke(((end, y - 5), (end, y + 5)), colour, 2))
        else:
            found.append(Stroke(((end - 5, y - 4), (end, y), (end - 5, y + 4)), colour, 2))
    hint = f"{one.name}: {number(one.mean, 4, signed=True)} over {of_patients(one.patients)}"
    found.append(Dot(axis.at(one.mean), y, colour, 5 if one.primary else 4, hint))
    return found


def each_patient(differences: Mapping[str, float], short: Mapping[str, str], named_loss: float) -> Chart:
    """The difference of every patient, the worst at the left."""
    ranked = sorted(differences.items(), key=lambda one: (one[1], one[0]))
    values = [difference for _, difference in ranked]
    bottom = 250.0
    axis = Axis.around([*values, 0.0], bottom, TOP + 8, least=0.1)
    shapes = upwards(axis, LEFT, RIGHT, "Difference in mean Dice")
    step = (RIGHT - LEFT) / len(ranked)
    if axis.low < -named_loss:
        y = axis.at(-named_loss)
        shapes.append(Stroke(((LEFT, y), (RIGHT, y)), BAD, 1, dashed=True))
        shapes.append(Letters(RIGHT, y - 5, f"named below {number(-named_loss, 2)}", BAD, "end", LETTERS - 1))
    for n, (patient, difference) in enumerate(ranked):
        x, colour = LEFT + (n + 0.5) * step, GOOD if difference >= 0 else BAD
        shapes.append(Stroke(((x, axis.at(0)), (x, axis.at(difference))), colour, min(3.0, max(1.0, step / 3))))
        hint = f"{short[patient]}: {number(difference, 3, signed=True)}"
        shapes.append(Dot(x, axis.at(difference), CANDIDATE, min(3.5, max(1.8, step / 3)), hint))
    shapes.append(Stroke(((LEFT, axis.at(0)), (RIGHT, axis.at(0))), INK, 1.2))
    better = sum(value > 0 for value in values)
    worse = sum(value < 0 for value in values)
    said = f"{better} gain, {worse} lose, {len(values) - better - worse} stay as they were; one mark per patient."
    return Chart("Difference of every patient", said, bottom + 16, (*shapes,))


def slopes(pairs: Mapping[str, tuple[float, float]], short: Mapping[str, str]) -> Chart:
    """The Dice of every patient, by the champion at the left and by the candidate at the right."""
    bottom, left, right = 250.0, LEFT + 90, RIGHT - 90
    axis = Axis.around([value for both in pairs.values() for value in both], bottom, TOP + 8, least=0.1)
    shapes = upwards(axis, LEFT, RIGHT, "Mean Dice of the primary classes")
    for colour, x, name in ((CHAMPION, left, "Champion"), (CANDIDATE, right, "Candidate")):
        shapes.append(Stroke(((x, axis.start), (x, axis.stop)), RULE, 1.5))
        shapes.append(Letters(x, bottom + 15, name, colour, "middle", bold=True))
    for patient, (old, new) in sorted(pairs.items()):
        loses = new < old
        shapes.append(Stroke(((left, axis.at(old)), (right, axis.at(new))), BAD if loses else GOOD, 1.2, dashed=loses))
        hint = f"{short[patient]}: {number(old, 3)} to {number(new, 3)}"
        shapes += [Dot(left, axis.at(old), CHAMPION, 3.2, hint), Dot(right, axis.at(new), CANDIDATE, 3.2, hint)]
    said = "One line per patient; whole where the candidate is as good or better, dashed where it is worse."
    return Chart("Every patient by both", said, bottom + 24, (*shapes,))
