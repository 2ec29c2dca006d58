"""A report as PDF."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TypeAlias

from PIL import Image as Pixels
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, Image, KeepTogether, Paragraph, Spacer
from reportlab.platypus import Table as Laid

from ...objects.pictures import paper
from ...objects.pictures.fonts import in_document
from ...objects.pictures.paper import (
    CELL,
    FAINT,
    HEAD,
    HEAD_NUMBER,
    HEADING,
    NOTE,
    NUMBER,
    TITLE,
    WIDTH,
    boxed,
    say,
)
from .blocks import BAD, DOUBT, GOOD, NEUTRAL, Block, Callout, Cell, Charts, Heading, Listed, Pictured, Says, Table
from .chart import Chart
from .shapes import COLOURS, drawing
from .story import story, title
from .values import Evaluation
from .words import RESEARCH

GAP = 5 * mm
JPEG_QUALITY = 88
SMALLER = 6.2
#: tables of fewer rows stay on one page; longer ones begin where there is so much room
SHORT, ROOM = 10, 70 * mm
#: pixels to the inch of a picture that does not fill the width; and how high one may be
INCH, HIGHEST = 110, 200 * mm
GROUNDS: dict[str, Color] = {
    GOOD: HexColor("#e6f4ea"),
    BAD: HexColor("#fdecea"),
    DOUBT: HexColor("#fff4d6"),
    NEUTRAL: HexColor("#f2f4f7"),
}
LARGE = ParagraphStyle("large", HEADING, fontSize=12.5, leading=16, spaceBefore=0)
SECTION = ParagraphStyle("section", HEADING, fontSize=12, leading=15, spaceBefore=12)
CODE = ParagraphStyle("code", CELL, fontSize=6.4, leading=8.6, splitLongWords=1)


def pdf(of: Evaluation) -> bytes:
    """The report of an evaluation.

    Raises:
        Refused: as `story.story`.
    """
    return document(title(of), f"{of.network} · {of.made}", story(of))


def document(heading: str, below: str, blocks: Sequence[Block]) -> bytes:
    """A whole file. The same blocks make the same bytes."""
    content: list[Flowable] = [say(heading, TITLE), say(below, NOTE), Spacer(0, 2 * mm)]
    heads: list[Flowable] = []
    for block in blocks:
        made = _block(block)
        if isinstance(block, Heading):
            heads += [one for one in made if not isinstance(one, list)]
            continue
        content += _laid(heads, made)
        heads = []
    return paper.document(
        content + heads, title=heading, author="Planimeter", head=heading, foot=below, warning=RESEARCH
    )


#: one flowable, or several that stay together: one KeepTogether in another breaks the page before both
Part: TypeAlias = "Flowable | list[Flowable]"


def _laid(heads: list[Flowable], made: list[Part]) -> list[Flowable]:
    """Parts below the beginning of their section, which is never alone at the end of a page."""
    if heads and made and isinstance(made[0], CondPageBreak):
        made = [made[0], *heads, *made[1:]]
    elif heads and made:
        first = made[0] if isinstance(made[0], list) else [made[0]]
        made = [[*heads, *first], *made[1:]]
    return [KeepTogether(one) if isinstance(one, list) else one for one in made]


def _block(block: Block) -> list[Part]:
    match block:
        case Heading():
            return [say(block.text, SECTION)]
        case Says():
            return [say(block.text, NOTE if block.faint else CELL), Spacer(0, 1.5 * mm)]
        case Listed():
            return [say(f"• {one}", NOTE if block.faint else CELL) for one in block.items]
        case Callout():
            head = ParagraphStyle("callout", LARGE, textColor=COLOURS.get(block.tone, FAINT))
            lines = [say(line) for line in block.lines]
            edge = COLOURS.get(block.tone, FAINT)
            return [boxed([say(block.title, head), *lines], GROUNDS[block.tone], edge), Spacer(0, 3 * mm)]
        case Table():
            return _table(block)
        case Charts():
            return _charts(block.charts)
        case Pictured():
            return [[say(block.title, HEADING), _picture(block.image), say(block.caption, NOTE)]]


def _table(table: Table) -> list[Part]:
    total = sum(column.width for column in table.columns)
    widths = [WIDTH * column.width / total for column in table.columns]
    rows: list[list[Flowable]] = [
        [_cell(cell, number=column.number) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    has_head = any(column.head for column in table.columns)
    if has_head:
        rows.insert(0, [say(one.head, HEAD_NUMBER if one.number else HEAD) for one in table.columns])
    made = paper.table(rows, widths, head=int(has_head))
    title = [say(table.title, HEADING)] if table.title else []
    if len(rows) < SHORT:
        return [[*title, made], Spacer(0, 2 * mm)]
    return [CondPageBreak(ROOM), *title, made, Spacer(0, 2 * mm)]


def _cell(cell: Cell, *, number: bool) -> Paragraph:
    style = CODE if cell.code else NUMBER if number else CELL
    if cell.tone != NEUTRAL:
        style = ParagraphStyle(f"{style.name} {cell.tone}", style, textColor=COLOURS[cell.tone])
    if not cell.below:
        return say(cell.text, style)
    below = f'<font size="{SMALLER}" color="{FAINT.hexval()}">{in_document(cell.below).markup}</font>'
    return Paragraph(f"{in_document(cell.text).markup}<br/>{below}", style)


def _charts(charts: Sequence[Chart]) -> list[Part]:
    """Two beside one another."""
    room = (WIDTH - GAP) / 2
    found: list[Part] = []
    for first in range(0, len(charts), 2):
        cells = [
            [say(one.title, HEADING), drawing(one, room), say(one.said, NOTE)] for one in charts[first : first + 2]
        ]
        made = Laid([cells], colWidths=[room + GAP, room][: len(cells)], hAlign="LEFT")
        made.setStyle(
            [
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (0, -1), GAP if len(cells) > 1 else 0),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]
        )
        found.append(made)
    return found


def _picture(image: Pixels.Image) -> Image:
    stream = BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    stream.seek(0)
    width = max(WIDTH / 2, min(WIDTH, image.width * 72 / INCH))
    height = width * image.height / image.width
    scale = min(1.0, HIGHEST / height)
    return Image(stream, width * scale, height * scale, hAlign="LEFT")
