"""A trend as a drawing: where its line, its points and its letters stand. The page has the numbers as a table, too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

from .values import Point, Trend

WIDTH, HEIGHT = 420, 170
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 30
#: what a scale may end with, times a power of ten
ROUND = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class Dot:
    """A point of the drawing; hollow where another version of the network measured it."""

    x: float
    y: float
    hollow: bool
    here: bool
    hint: str


@dataclass(frozen=True)
class Tick:
    """A line across, with its number."""

    y: float
    said: str


@dataclass(frozen=True)
class Chart:
    """Everything in the units of the drawing.

    Attributes:
        line: the points of one version, joined: "x,y x,y".
        said: what it shows, for those who cannot see it.
    """

    width: int
    height: int
    left: int
    right: int
    line: str
    dots: tuple[Dot, ...]
    ticks: tuple[Tick, ...]
    first: str
    last: str
    said: str


def chart(trend: Trend) -> Chart:
    """Draw a trend of two points or more: time to the right, from nothing upwards."""
    days = [_day(point.date) for point in trend.points]
    begin, span = min(days), max(max(days) - min(days), 1)
    top = _round_above(max(point.value for point in trend.points))
    dots = tuple(
        Dot(
            round(LEFT + (WIDTH - LEFT - RIGHT) * (day - begin) / span, 1),
            round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * point.value / top, 1),
            not point.same_version,
            point.here,
            _hint(point, trend.unit),
        )
        for day, point in zip(days, trend.points, strict=True)
    )
    ticks = tuple(
        Tick(round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part, 1), f"{top * part:,g}") for part in (0, 0.5, 1)
    )
    first, last = trend.points[0], trend.points[-1]
    said = (
        f"{trend.label}: {trend.quantity} in {len(trend.points)} studies, from {first.value:.4g} {trend.unit} "
        f"on {first.date} to {last.value:.4g} {trend.unit} on {last.date}"
    )
    line = " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots if not dot.hollow)
    return Chart(WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, line, dots, ticks, first.date, last.date, said)


def _round_above(value: float) -> float:
    """The end of a scale: a round number, a little above the largest value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((one * power for one in ROUND if one * power >= value * 1.02), 10 * power)


def _day(written: str) -> int:
    try:
        return date.fromisoformat(written).toordinal()
    except ValueError:  # StudyDate has eight digits, and no more is known of them
        return 0


def _hint(point: Point, unit: str) -> str:
    other = "" if point.same_version else f", by version {point.version}"
    return f"{point.date}: {point.value:.4g} {unit}{other}"
