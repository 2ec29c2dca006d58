"""A sheet of pictures: title, warnings, the pictures in rows, a legend, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .drawing import BLACK, INK, Colour
from .fonts import drawn, in_picture
from .tiles import Tile
from .words import RESEARCH

MARGIN, GAP = 14, 10
GROUND, FAINT, WARNING, NOTICE = (16, 18, 22), (168, 174, 182), (255, 190, 40), (120, 200, 255)
TITLE, SMALL, CAPTION, LEGEND = 24, 15, 14, 16
#: lines of warnings; what is more is in the report
MOST_WARNINGS = 5


@dataclass(frozen=True)
class Entry:
    """A line of the legend."""

    colour: Colour
    text: str


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is on a sheet.

    Attributes:
        width: in pixels; the height follows.
        columns: pictures in a row.
        title, below: two lines at the top.
        warnings: what a person should look at.
        notice: the result in words; may be empty.
        tiles: the pictures.
        legend: segments.
        footer: who made it.
    """

    width: int
    columns: int
    title: str
    below: str
    warnings: tuple[str, ...] = ()
    notice: str = ""
    tiles: Sequence[Tile]
    legend: Sequence[Entry]
    footer: str


def room_of(width: int, columns: int) -> int:
    """The width that a picture has in a row of so many."""
    return (width - 2 * MARGIN - (columns - 1) * GAP) // columns


def compose(sheet: Sheet) -> Image.Image:
    """Draw a sheet."""
    blocks = [
        _header(sheet),
        *([_warnings(sheet)] if sheet.warnings else []),
        *([_notice(sheet)] if sheet.notice else []),
        _pictures(sheet),
        *([_legend(sheet)] if sheet.legend else []),
        _footer(sheet),
    ]
    whole = Image.new("RGB", (sheet.width, sum(block.height for block in blocks)), GROUND)
    y = 0
    for block in blocks:
        whole.paste(block, (0, y))
        y += block.height
    return whole


def _strip(sheet: Sheet, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (sheet.width, height), GROUND)
    return image, ImageDraw.Draw(image)


def _header(sheet: Sheet) -> Image.Image:
    image, draw = _strip(sheet, MARGIN + 58)
    said = drawn(SMALL, bold=True)
    left = sheet.width - MARGIN - said.getlength(RESEARCH)
    draw.text((MARGIN, MARGIN), _cut(sheet.title, left - 2 * MARGIN, TITLE, bold=True), INK, drawn(TITLE, bold=True))
    draw.text((left, MARGIN + 6), RESEARCH, WARNING, said)
    draw.text((MARGIN, MARGIN + 32), _cut(sheet.below, sheet.width - 2 * MARGIN, SMALL), FAINT, drawn(SMALL))
    return image


def _warnings(sheet: Sheet) -> Image.Image:
    font = drawn(SMALL, bold=True)
    lines = [line for text in sheet.warnings for line in wrapped(f"CHECK: {text}", sheet.width - 4 * MARGIN, font)]
    if len(lines) > MOST_WARNINGS:
        lines = [*lines[: MOST_WARNINGS - 1], f"and more: {len(sheet.warnings)} warnings in all"]
    image, draw = _strip(sheet, len(lines) * 22 + 22)
    draw.rectangle((MARGIN, 0, sheet.width - MARGIN - 1, image.height - 11), fill=WARNING)
    for n, line in enumerate(lines):
        draw.text((2 * MARGIN, 7 + n * 22), line, BLACK, font)
    return image


def _notice(sheet: Sheet) -> Image.Image:
    image, draw = _strip(sheet, 40)
    draw.text(
        (MARGIN, 2), _cut(sheet.notice, sheet.width - 2 * MARGIN, TITLE, bold=True), NOTICE, drawn(TITLE, bold=True)
    )
    return image


def _pictures(sheet: Sheet) -> Image.Image:
    """In rows; every row as high as its highest picture, every picture in the middle of its room."""
    room = room_of(sheet.width, sheet.columns)
    rows = [sheet.tiles[n : n + sheet.columns] for n in range(0, len(sheet.tiles), sheet.columns)]
    below = CAPTION + 12
    heights = [max(tile.image.height for tile in row) for row in rows]
    image, draw = _strip(sheet, sum(heights) + len(rows) * below + 4)
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for n, tile in enumerate(row):
            x = MARGIN + n * (room + GAP)
            draw.rectangle((x, y, x + room - 1, y + height - 1), fill=BLACK)
            image.paste(tile.image, (x + (room - tile.image.width) // 2, y + (height - tile.image.height) // 2))
            draw.text((x + 2, y + height + 5), _cut(tile.caption, room - 4, CAPTION), FAINT, drawn(CAPTION))
        y += height + below
    return image


def _legend(sheet: Sheet) -> Image.Image:
    """In columns as wide as the longest line; downwards."""
    font = drawn(LEGEND)
    whole = sheet.width - 2 * MARGIN
    widest = min(whole, max(26 + font.getlength(entry.text) for entry in sheet.legend) + 24)
    columns = max(1, int(whole // widest))
    rows = -(-len(sheet.legend) // columns)
    image, draw = _strip(sheet, rows * 24 + 12)
    for n, entry in enumerate(sheet.legend):
        x, y = MARGIN + n // rows * (whole // columns), 6 + n % rows * 24
        draw.rectangle((x, y + 2, x + 15, y + 16), fill=BLACK, outline=entry.colour, width=3)
        draw.text((x + 24, y), _cut(entry.text, whole // columns - 30, LEGEND), INK, font)
    return image


def _footer(sheet: Sheet) -> Image.Image:
    font = drawn(CAPTION)
    lines = wrapped(sheet.footer, sheet.width - 2 * MARGIN, font)
    image, draw = _strip(sheet, len(lines) * 20 + MARGIN)
    for n, line in enumerate(lines):
        draw.text((MARGIN, 2 + n * 20), line, FAINT, font)
    return image


def wrapped(text: str, width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """A text in lines, broken between words."""
    lines = [""]
    for word in in_picture(text, text).split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _cut(text: str, width: float, size: int, *, bold: bool = False) -> str:
    """A text that fits, with an ellipsis where it did not."""
    font = drawn(size, bold=bold)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
