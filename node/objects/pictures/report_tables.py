"""The numbers of a run as tables of a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reportlab.lib.colors import Color
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, Table

from ...measurements.values import Change, Lesion, Line, Measured
from ..run import Run
from . import words
from .drawing import Colour
from .paper import CELL, HEAD, HEAD_NUMBER, NUMBER, WIDTH, say, table
from .words import NONE, number

#: rows of lesions per segment; what is more is counted
MOST_LESIONS = 30
MARK = 7 * mm


class _Column(NamedTuple):
    head: str
    width: float


def sizes(run: Run) -> Table:
    """How large each segment is."""
    is_volume = run.volume.geometry.in_patient
    of_length = words.unit(run.measured[0].pixel_size)
    columns = [_Column("Segment", 44), _Column("Volume, ml" if is_volume else "Area", 24)]
    columns += [_Column(f"{name}, {of_length}", 23) for name in ("Long axis", "Short axis")]
    if is_volume:
        columns += [_Column("3D diameter, mm", 24), _Column("Surface, cm²", 22)]
    columns.append(_Column("Pieces", 15))
    rows = [_size_row(run, n, is_volume=is_volume) for n in range(len(run.measured))]
    return _marked(run, columns, rows)


def _size_row(run: Run, n: int, *, is_volume: bool) -> list[str]:
    one = run.measured[n]
    row = [run.provenance.card.segment[n].label]
    row.append(words.millilitres(one.volume_ml) if is_volume else words.size(one))
    row += [_length(one.long_axis), _length(one.short_axis)]
    if is_volume:
        surface = None if one.surface_mm2 is None else one.surface_mm2 / 100
        row += [number(one.diameter_3d_mm), number(surface)]
    return [*row, number(one.components, 0)]


def _length(line: Line | None) -> str:
    return number(line.length) if line else NONE


def intensities(run: Run) -> Table | None:
    """What the values inside each segment are; None where none were measured."""
    if all(one.intensity is None for one in run.measured):
        return None
    names = ("Mean", "SD", "Least", "10 %", "Median", "90 %", "Most")
    columns = [_Column(f"Segment, values in {_unit(run)}", 62), *(_Column(name, 16.2) for name in names)]
    rows = [[run.provenance.card.segment[n].label, *_intensity(one)] for n, one in enumerate(run.measured)]
    return _marked(run, columns, rows)


def _unit(run: Run) -> str:
    return {"HU": "HU", "suv_bw": "SUV (body weight), g/ml"}.get(run.volume.quantity, "units of the images")


def _intensity(one: Measured) -> list[str]:
    it = one.intensity
    if it is None:
        return [NONE] * 7
    parts = (it.mean, it.sd, it.least, it.percentile_10, it.median, it.percentile_90, it.most)
    digits = 1 if max(abs(part) for part in parts) >= 100 else 2
    return [number(part, digits).replace("-", "\u2212") for part in parts]


def lesions(run: Run) -> list[tuple[str, Table, int]]:
    """For each segment that has lesions: its label, their table, and how many are not in it."""
    return [
        (segment.label, _lesion_table(run, one.lesions[:MOST_LESIONS]), max(0, len(one.lesions) - MOST_LESIONS))
        for segment, one in zip(run.provenance.card.segment, run.measured, strict=True)
        if one.lesions
    ]


def _lesion_table(run: Run, these: Sequence[Lesion]) -> Table:
    is_volume = run.volume.geometry.in_patient
    of_length = words.unit(run.measured[0].pixel_size)
    heads = ["Lesion", "Volume, ml" if is_volume else "Area, mm²"]
    heads += [f"Long axis, {of_length}", f"Short axis, {of_length}", "Slice"]
    rows = [
        [
            str(one.number),
            words.millilitres(one.volume_ml) if is_volume else number(one.area_mm2),
            _length(one.long_axis),
            _length(one.short_axis),
            str(one.largest_slice + 1),
        ]
        for one in these
    ]
    head = [Paragraph(text, HEAD_NUMBER) for text in heads]
    return table([head, *([say(text, NUMBER) for text in row] for row in rows)], [30 * mm] * len(heads))


def changes(run: Run) -> Table:
    """Against the prior result."""
    labels = {segment.value: segment.label for segment in run.provenance.card.segment}
    heads = ("Segment", "Quantity", "Now", "Prior", "Prior study", "Finding", "Least change")
    widths = (40, 18, 22, 22, 20, 34, 22)
    rows = [[say(text, style) for text, style in zip(_change(labels, one), CHANGE, strict=True)] for one in run.changes]
    head = [
        Paragraph(text, HEAD_NUMBER if style is NUMBER else HEAD) for text, style in zip(heads, CHANGE, strict=True)
    ]
    return table([head, *rows], [width * mm for width in widths])


CHANGE = (CELL, CELL, NUMBER, NUMBER, CELL, CELL, NUMBER)


def _change(labels: dict[int, str], one: Change) -> list[str]:
    unit = {"volume": "ml", "long axis": "mm"}.get(one.quantity, "")
    return [
        labels.get(one.segment, f"segment {one.segment}"),
        one.quantity,
        f"{number(one.now)} {unit}",
        NONE if one.prior is None else f"{number(one.prior)} {unit}",
        words.day(one.prior_date),
        words.difference(one),
        f"{number(one.least)} {unit}",
    ]


def _marked(run: Run, columns: Sequence[_Column], rows: Sequence[Sequence[str]]) -> Table:
    """A table with the colour of its segment before every row."""
    head: list[Flowable] = [Paragraph("", HEAD)]
    head += [Paragraph(column.head, HEAD_NUMBER if n else HEAD) for n, column in enumerate(columns)]
    body: list[list[Flowable]] = []
    for segment, row in zip(run.provenance.card.segment, rows, strict=True):
        cells = [say(text, NUMBER if n else CELL) for n, text in enumerate(row)]
        body.append([Mark(segment.colour), *cells])
    room = (WIDTH - MARK) / sum(column.width for column in columns)
    return table([head, *body], [MARK, *(column.width * room for column in columns)])


class Mark(Flowable):
    """A square of a segment's colour."""

    def __init__(self, colour: Colour, side: float = 3 * mm) -> None:
        super().__init__()
        self.colour, self.width, self.height = colour, side, side

    def draw(self) -> None:
        self.canv.setFillColor(Color(*(part / 255 for part in self.colour)))
        self.canv.setStrokeColor(Color(0.3, 0.3, 0.3))
        self.canv.setLineWidth(0.4)
        self.canv.rect(0, 0, self.width, self.height, fill=1)
