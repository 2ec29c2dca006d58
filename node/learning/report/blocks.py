"""The parts that a report is made of, before they become a page or a document."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from .chart import Chart

#: how something is meant: each has a colour, and never only that
GOOD, BAD, DOUBT, NEUTRAL = "good", "bad", "doubt", "neutral"


@dataclass(frozen=True)
class Heading:
    """The beginning of a section; `anchor` names it for links."""

    text: str
    anchor: str


@dataclass(frozen=True)
class Says:
    """A paragraph."""

    text: str
    faint: bool = False


@dataclass(frozen=True)
class Listed:
    """Points."""

    items: tuple[str, ...]
    faint: bool = False


@dataclass(frozen=True)
class Callout:
    """A box that is seen first."""

    tone: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Attributes:
        below: a smaller line below it.
        tone: how it is meant.
        link: anchor of what it leads to.
        code: in letters of equal width, broken anywhere: hashes and pseudonyms.
    """

    text: str
    below: str = ""
    tone: str = NEUTRAL
    link: str = ""
    code: bool = False


@dataclass(frozen=True)
class Column:
    """Of a table: its head, how wide it is beside the others, whether it has numbers."""

    head: str
    width: float = 1.0
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first cell of a row says what the row is about."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Charts:
    """Charts beside one another where there is room."""

    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Pictured:
    """A picture over the whole width."""

    anchor: str
    title: str
    caption: str
    image: Image.Image


Block = Heading | Says | Listed | Callout | Table | Charts | Pictured


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """A row of a table, of which most is plain text."""
    return tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)
