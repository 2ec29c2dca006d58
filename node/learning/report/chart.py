"""A chart as lines, dots and letters, before it is drawn on a page or in a document; and its axes.

Everything is in one unit, about a pixel: x to the right, y down. A colour is named by what it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

#: what a colour stands for
INK, FAINT, RULE, SHADE = "ink", "faint", "rule", "shade"
BASELINE, CHAMPION, CANDIDATE = "baseline", "champion", "candidate"
GOOD, BAD, DOUBT = "good", "bad", "doubt"

WIDTH = 440.0
LETTERS = 11.0
#: the mean width of a letter, as a part of its size
LETTER = 0.6
ROUND = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A rectangle; hollow ones have an edge alone."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A mark: the shape says the same as the colour. Of baseline a square, of champion a ring, of candidate a disc."""

    x: float
    y: float
    colour: str
    radius: float = 3.5
    hint: str = ""


@dataclass(frozen=True)
class Letters:
    """A text; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    colour: str = INK
    anchor: str = "start"
    size: float = LETTERS
    bold: bool = False


Shape = Stroke | Bar | Dot | Letters


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: above it.
        said: what it shows, below it.
        heard: the rest of it for those who cannot see it.
    """

    title: str
    said: str
    height: float
    shapes: tuple[Shape, ...] = field(repr=False)
    width: float = WIDTH
    heard: str = ""


@dataclass(frozen=True)
class Axis:
    """Values onto a length.

    Attributes:
        low, high: the values of the two ends; `start`, `stop` where they lie.
    """

    low: float
    high: float
    start: float
    stop: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, stop: float, *, least: float = 0.02) -> Axis:
        """With some room around the values, and at least so much of them."""
        low, high = min(values), max(values)
        room = max((high - low) * 0.06, (least - (high - low)) / 2, 1e-9)
        return cls(low - room, high + room, start, stop)

    def at(self, value: float) -> float:
        """Where a value lies; what is beyond the ends lies at the end."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + part * (self.stop - self.start), 2)

    def ticks(self, most: int = 6, *, whole: bool = False) -> list[float]:
        """Round values, as many as there may be; on request none that are no whole numbers."""
        rough = max((self.high - self.low) / most, 1.0 if whole else 0.0)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(one * power for one in ROUND if one * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(k * step, 10) + 0.0 for k in range(first, last + 1)]


def across(axis: Axis, top: float, bottom: float, label: str, *, whole: bool = False) -> list[Shape]:
    """The axis of x: rules, numbers below them, and what they are."""
    found: list[Shape] = []
    for value in axis.ticks(whole=whole):
        x = axis.at(value)
        found.append(Stroke(((x, top), (x, bottom)), RULE))
        found.append(Letters(x, bottom + 14, plain(value), FAINT, "middle", LETTERS - 1))
    if label:
        found.append(Letters((axis.start + axis.stop) / 2, bottom + 29, label, FAINT, "middle", LETTERS - 0.5))
    return found


def upwards(axis: Axis, left: float, right: float, label: str) -> list[Shape]:
    """The axis of y: rules, numbers beside them, and what they are, above."""
    found: list[Shape] = []
    for value in axis.ticks(5):
        y = axis.at(value)
        found.append(Stroke(((left, y), (right, y)), RULE))
        found.append(Letters(left - 6, y + 4, plain(value), FAINT, "end", LETTERS - 1))
    found.append(Letters(left, axis.stop - 8, label, FAINT, "start", LETTERS - 0.5))
    return found


def plain(value: float) -> str:
    """A number at an axis."""
    return f"{value:.6g}".replace("-", "\u2212")


def fitting(text: str, room: float, size: float = LETTERS) -> str:
    """As much of a text as has room."""
    most = max(3, int(room / (LETTER * size)))
    return text if len(text) <= most else f"{text[: most - 1]}…"
