"""The weeks of a network as charts; the page has every number of them in its tables, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...learning.report import svg
from ...learning.report.chart import (
    BAD,
    BASELINE,
    CANDIDATE,
    FAINT,
    INK,
    LETTERS,
    RULE,
    Axis,
    Bar,
    Chart,
    Dot,
    Letters,
    Shape,
    Stroke,
    fitting,
    plain,
    upwards,
)
from .drift import Bounds
from .show import Watched
from .weeks import Spread, Week

#: three of them lie beside one another
WIDTH = 360.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, WIDTH - 8.0, 36.0, 176.0
HEIGHT = BOTTOM + 26
#: below the title: what each mark means
KEY = 20.0
ROW = 40.0
#: week names that have room below a chart
MOST_NAMES = 6
#: structures that have a chart of their own: those found most often
MOST_SEGMENTS = 6
LEAST = {"KS": Bounds.least_ks, "PSI": Bounds.least_psi}


@dataclass(frozen=True)
class _Weeks:
    """The axis of time: a place per week, the oldest at the left."""

    names: tuple[str, ...]
    left: float = LEFT

    @property
    def step(self) -> float:
        return (RIGHT - self.left) / len(self.names)

    def at(self, name: str) -> float:
        return round(self.left + (self.names.index(name) + 0.5) * self.step, 2)

    def shapes(self, bottom: float) -> Iterator[Shape]:
        every = -(-len(self.names) // MOST_NAMES)
        for name in self.names[::-every][::-1]:
            yield Letters(self.at(name), bottom + 16, name.partition("-")[2] or name, FAINT, "middle", LETTERS - 1)


def charts(of: Watched) -> list[tuple[Chart, str]]:
    """Each with its drawing; none of what nothing is known of."""
    weeks = list(reversed(of.weeks))
    axis = _Weeks(tuple(week.week for week in weeks))
    found = [_rates(weeks, axis), _dice(weeks, axis), *_volumes(of, weeks, axis), _empty(weeks, axis), _drift(of, axis)]
    return [(one, svg.svg(one)) for one in found if one is not None]


def _rates(weeks: Sequence[Week], axis: _Weeks) -> Chart | None:
    """Of what was judged, how much was accepted; of all results, how much was corrected."""
    accepted = {week.week: week.acceptance_rate * 100 for week in weeks if week.acceptance_rate is not None}
    corrected = {week.week: week.corrected / week.results * 100 for week in weeks if week.results}
    if not corrected:
        return None
    y = Axis(0, 100, BOTTOM, TOP)
    shapes = [*upwards(y, LEFT, RIGHT, ""), *axis.shapes(BOTTOM)]
    shapes += _line(corrected, axis, y, BASELINE, "corrected", " %")
    shapes += _line(accepted, axis, y, CANDIDATE, "accepted", " %")
    shapes += _key(("accepted of judged, %", CANDIDATE), ("corrected of all, %", BASELINE))
    last = max(corrected)
    said = f"In {last} {corrected[last]:.0f} % of the results were corrected."
    if accepted:
        last = max(accepted)
        said = f"In {last} {accepted[last]:.0f} % were accepted. " + said
    return Chart(
        "Accepted and corrected",
        said + " A week with results that still wait has no rate yet.",
        HEIGHT,
        (*shapes,),
        WIDTH,
    )


def _dice(weeks: Sequence[Week], axis: _Weeks) -> Chart | None:
    spreads = {week.week: week.dice for week in weeks if week.dice is not None}
    return _spreads("Dice of drafts with their corrections", "Dice", spreads, axis, 3) if spreads else None


def _volumes(of: Watched, weeks: Sequence[Week], axis: _Weeks) -> Iterator[Chart]:
    often: dict[int, int] = {}
    for week in weeks:
        for value, spread in week.volumes_ml.items():
            often[value] = often.get(value, 0) + spread.number
    chosen = sorted(often, key=lambda value: (-often[value], value))[:MOST_SEGMENTS]
    for value in sorted(chosen):
        spreads = {week.week: week.volumes_ml[value] for week in weeks if value in week.volumes_ml}
        name = of.segments.get(value, f"label value {value}")
        yield _spreads(f"Volume: {name}", "ml", spreads, axis, 0)


def _spreads(title: str, unit: str, spreads: Mapping[str, Spread], axis: _Weeks, digits: int) -> Chart:
    """The median of each week, and the quartiles as a line through it."""
    values = [value for one in spreads.values() for value in (one.lower, one.median, one.upper)]
    y = Axis.around(values, BOTTOM, TOP, least=max(0.02, 0.05 * max(values)))
    shapes: list[Shape] = [*upwards(y, LEFT, RIGHT, ""), *axis.shapes(BOTTOM)]
    for name, one in spreads.items():
        x = axis.at(name)
        shapes.append(Stroke(((x, y.at(one.lower)), (x, y.at(one.upper))), FAINT, 3))
    shapes += _line({name: one.median for name, one in spreads.items()}, axis, y, CANDIDATE, "median", f" {unit}")
    shapes += _key((f"median, {unit}", CANDIDATE), ("line: quartiles", None))
    last = max(spreads)
    one = spreads[last]
    said = (
        f"In {last} the median of {one.number} is {one.median:.{digits}f} {unit}, the quartiles {one.lower:.{digits}f} "
    )
    return Chart(title, f"{said}and {one.upper:.{digits}f}.", HEIGHT, (*shapes,), WIDTH)


def _empty(weeks: Sequence[Week], axis: _Weeks) -> Chart | None:
    """Bars: all results, and those in which nothing was found."""
    most = max((week.results for week in weeks), default=0)
    if not most:
        return None
    y = Axis(0, most * 1.06, BOTTOM, TOP)
    shapes: list[Shape] = []
    for value in y.ticks(4, whole=True):
        shapes.append(Stroke(((LEFT, y.at(value)), (RIGHT, y.at(value))), RULE))
        shapes.append(Letters(LEFT - 6, y.at(value) + 4, plain(value), FAINT, "end", LETTERS - 1))
    width = axis.step * 0.6
    for week in weeks:
        for number, colour, opacity in ((week.results, BASELINE, 0.45), (week.empty, CANDIDATE, 1.0)):
            if number:
                top = y.at(number)
                shapes.append(Bar(axis.at(week.week) - width / 2, top, width, BOTTOM - top, colour, opacity))
    shapes += [*axis.shapes(BOTTOM), *_key(("nothing found", CANDIDATE), ("all results", BASELINE))]
    empty, every = sum(week.empty for week in weeks), sum(week.results for week in weeks)
    said = f"Nothing was found in {empty} of {every} results of {len(weeks)} weeks."
    return Chart("Empty results", said, HEIGHT, (*shapes,), WIDTH)


def _drift(of: Watched, axis: _Weeks) -> Chart | None:
    """A row for each thing that is compared: its effect, week by week, against the smallest that is called drift."""
    looks = [look for look in of.looks if look["week"] in axis.names]
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for look in reversed(looks):
        for one in look["findings"]:
            rows.setdefault((one["what"], one["test"]), {})[look["week"]] = one
    if not rows:
        return None
    wide = _Weeks(axis.names, left=124.0)
    shapes: list[Shape] = []
    heard = []
    for n, ((what, test), by_week) in enumerate(sorted(rows.items())):
        top = TOP + n * ROW
        bottom, least = top + ROW - 12, LEAST[test]
        y = Axis(0, max(2 * least, *(one["effect"] for one in by_week.values())), bottom, top)
        shapes.append(Letters(8, top + 12, fitting(what, wide.left - 16), INK))
        shapes.append(Letters(8, top + 25, f"{test}, drift from {least:g}", FAINT, "start", LETTERS - 1))
        shapes.append(Stroke(((wide.left, bottom), (RIGHT, bottom)), RULE))
        shapes.append(Stroke(((wide.left, y.at(least)), (RIGHT, y.at(least))), FAINT, 1, dashed=True))
        shapes += _line({week: one["effect"] for week, one in by_week.items()}, wide, y, CANDIDATE, test, "")
        shapes += [Dot(wide.at(week), y.at(one["effect"]), BAD, 5) for week, one in by_week.items() if one["drifted"]]
        last = max(by_week)
        heard.append(f"{what}: {test} {by_week[last]['effect']:.3f} in {last}.")
    bottom = TOP + len(rows) * ROW - 12
    shapes += [*wide.shapes(bottom), *_key(("effect", CANDIDATE), ("drift", BAD), ("dashed: where drift begins", None))]
    drifted = sorted({what for (what, _), by_week in rows.items() if any(one["drifted"] for one in by_week.values())})
    said = f"Drift of {', '.join(drifted)}." if drifted else "None of these weeks has drift."
    return Chart("What it reads, against the reference", said, bottom + 26, (*shapes,), WIDTH, heard=" ".join(heard))


def _line(values: Mapping[str, float], axis: _Weeks, y: Axis, colour: str, what: str, unit: str) -> list[Shape]:
    """Marks, joined where a week follows the other."""
    shapes: list[Shape] = []
    names = [name for name in axis.names if name in values]
    for one, other in pairwise(names):
        if axis.names.index(other) - axis.names.index(one) == 1:
            points = tuple((axis.at(name), y.at(values[name])) for name in (one, other))
            shapes.append(Stroke(points, colour, 2))
    for name in names:
        hint = f"{name}: {what} {values[name]:.4g}{unit}"
        shapes.append(Dot(axis.at(name), y.at(values[name]), colour, hint=hint))
    return shapes


def _key(*marks: tuple[str, str | None]) -> Iterator[Shape]:
    """What each mark means, above the chart."""
    x = 8.0
    for text, colour in marks:
        if colour is not None:
            yield Dot(x + 4, KEY - 8, colour)
            x += 14
        yield Letters(x, KEY - 4, text, FAINT, "start", LETTERS - 0.5)
        x += len(text) * 5.9 + 16
