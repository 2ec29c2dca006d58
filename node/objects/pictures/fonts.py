"""The letters of pictures and documents. They come with us, so that every machine draws the same bytes.

DejaVu Sans has Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew and Arabic; Droid Sans Fallback has Chinese, Japanese
and Korean. What neither has is said in words, never drawn as empty boxes. In documents the letters that are used are
embedded: a viewer needs no fonts of its own.
"""

from __future__ import annotations

import itertools
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from PIL import ImageFont
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

from .right_to_left import visual

FOLDER = Path(__file__).with_name("letters")
REGULAR, BOLD, EASTERN = "DejaVuSans", "DejaVuSans-Bold", "DroidSansFallback"


class Printed(NamedTuple):
    """A text as markup for a paragraph.

    Attributes:
        lacking: names of the scripts in it that could not be printed.
    """

    markup: str
    lacking: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def ready() -> frozenset[int]:
    """Make the fonts known to documents.

    Returns:
        The code points that the regular and the bold font have.
    """
    known = _letters(REGULAR) & _letters(BOLD)
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
    return known


@lru_cache(maxsize=3)
def _letters(name: str) -> frozenset[int]:
    """Make a font known to documents; the code points that it has."""
    font = TTFont(name, FOLDER / f"{name}.ttf")
    pdfmetrics.registerFont(font)
    return frozenset(font.face.charToGlyph)


@lru_cache(maxsize=64)
def drawn(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of pictures, in pixels."""
    file = FOLDER / f"{BOLD if bold else REGULAR}.ttf"
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)  # the other engine differs by machine


def in_picture(text: str, otherwise: str) -> str:
    """A text as it is drawn from left to right; `otherwise`, where the letters of pictures do not have all of it.

    Args:
        otherwise: says the same; of it, what cannot be drawn is left out.
    """
    known, shown = ready(), visual(_clean(text))
    if all(ord(letter) in known for letter in shown):
        return shown
    return "".join(letter for letter in visual(_clean(otherwise)) if ord(letter) in known)


def in_document(text: str) -> Printed:
    """A text as the markup of a paragraph, each part of it in a font that has it."""
    parts: list[str] = []
    lacking: list[str] = []
    of_each = ((_font_of(letter), letter) for letter in visual(_clean(text)))
    for font, run in itertools.groupby(of_each, key=lambda pair: pair[0]):
        letters = "".join(letter for _, letter in run)
        if font == REGULAR:
            parts.append(escape(letters))
        elif font:
            parts.append(f'<font name="{font}">{escape(letters)}</font>')
        else:
            script = unicodedata.name(letters[0], "UNKNOWN").split(" ")[0].capitalize()
            lacking.append(script)
            parts.append(f"[{len(letters)} characters: {script}]")
    return Printed("".join(parts), tuple(lacking))


def _font_of(letter: str) -> str:
    """Which font has a letter; empty for none."""
    if ord(letter) in ready():
        return REGULAR
    return EASTERN if ord(letter) in _letters(EASTERN) else ""


def _clean(text: str) -> str:
    """Without control characters and without marks of direction; composed, since fonts have composed letters."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(" " if letter.isspace() else letter for letter in composed if not _is_hidden(letter))


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs") and not letter.isspace()
