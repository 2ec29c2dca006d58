"""The look of a document: A4 upright, its styles, and what stands at the top and bottom of every page."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate, Paragraph, Table

from .fonts import BOLD, REGULAR, in_document, ready

LEFT, TOP, BOTTOM = 16 * mm, 20 * mm, 16 * mm
WIDTH = A4[0] - 2 * LEFT
INK, FAINT, LINE, SHADE = HexColor("#15181c"), HexColor("#59616b"), HexColor("#c9ced6"), HexColor("#f2f4f7")
WARNING, WARNING_INK = HexColor("#fff2cc"), HexColor("#7a4b00")

TEXT = ParagraphStyle("text", fontName=REGULAR, fontSize=8.5, leading=11.5, textColor=INK)
FINE = ParagraphStyle("fine", TEXT, fontSize=7.2, leading=9.6)
NOTE = ParagraphStyle("note", FINE, textColor=FAINT, spaceAfter=2)
CELL = ParagraphStyle("cell", FINE)
NUMBER = ParagraphStyle("number", CELL, alignment=2)
HEAD = ParagraphStyle("head", CELL, fontName=BOLD, textColor=FAINT)
HEAD_NUMBER = ParagraphStyle("head number", HEAD, alignment=2)
TITLE = ParagraphStyle("title", TEXT, fontName=BOLD, fontSize=16, leading=20, spaceAfter=2)
HEADING = ParagraphStyle("heading", TEXT, fontName=BOLD, fontSize=10.5, leading=14, spaceBefore=9, spaceAfter=4)
ALERT = ParagraphStyle("alert", TEXT, fontName=BOLD, textColor=WARNING_INK)


def say(text: str, style: ParagraphStyle = TEXT) -> Paragraph:
    """A paragraph of plain text, in whatever script."""
    return Paragraph(in_document(text).markup, style)


RULED = (
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("TOPPADDING", (0, 0), (-1, -1), 2.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
)


def table(rows: list[list[Flowable]], widths: list[float], *, head: int = 1) -> Table:
    """Rows with a line below each; as many as `head` are repeated on every page."""
    made = Table(rows, colWidths=widths, repeatRows=head, hAlign="LEFT")
    of_head = [("LINEBELOW", (0, head - 1), (-1, head - 1), 0.8, FAINT), ("BACKGROUND", (0, 0), (-1, head - 1), SHADE)]
    made.setStyle([*RULED, *(of_head if head else ())])
    return made


def boxed(content: list[Flowable], ground: Color, edge: Color) -> Table:
    """Paragraphs in a box, which may go on on the next page."""
    made = Table([[one] for one in content], colWidths=[WIDTH], hAlign="LEFT")
    made.setStyle(
        [
            ("BACKGROUND", (0, 0), (-1, -1), ground),
            ("LINEBEFORE", (0, 0), (0, -1), 3, edge),
            ("LEFTPADDING", (0, 0), (-1, -1), 9),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ("TOPPADDING", (0, 0), (-1, 0), 5),
            ("BOTTOMPADDING", (0, -1), (-1, -1), 6),
        ]
    )
    return made


class _Numbered(Canvas):
    """Pages that know how many there are: they are written when the last one is done."""

    def __init__(self, *args: Any, said: Callable[[Canvas], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self.said = said
        self.pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        self.pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for page in self.pages:
            self.__dict__.update(page)
            self.said(self)
            self.setFont(REGULAR, 7.2)
            self.setFillColor(FAINT)
            self.drawRightString(A4[0] - LEFT, 9 * mm, f"{self._pageNumber} of {len(self.pages)}")
            super().showPage()
        super().save()


def document(story: list[Flowable], *, title: str, author: str, head: str, foot: str, warning: str) -> bytes:
    """Lay out a PDF: the same bytes for the same story.

    Args:
        head, foot: on every page, at the left.
        warning: on every page, at the right of the top.
    """
    ready()
    at_top, at_bottom, warned = say(head, NOTE), say(foot, NOTE), say(warning, ParagraphStyle("w", ALERT, alignment=2))

    def said(canvas: Canvas) -> None:
        canvas.setFillColor(white)
        for paragraph, width, x in ((at_top, WIDTH * 0.55, LEFT), (warned, WIDTH * 0.44, LEFT + WIDTH * 0.56)):
            paragraph.wrapOn(canvas, width, 8 * mm)
            paragraph.drawOn(canvas, x, A4[1] - 14 * mm)
        _, height = at_bottom.wrapOn(canvas, WIDTH - 20 * mm, 8 * mm)
        at_bottom.drawOn(canvas, LEFT, 12 * mm - height)
        canvas.setStrokeColor(LINE)
        canvas.setLineWidth(0.5)
        for y in (A4[1] - 15.5 * mm, 13 * mm):
            canvas.line(LEFT, y, A4[0] - LEFT, y)

    stream = BytesIO()
    laid_out = BaseDocTemplate(
        stream, pagesize=A4, title=title, author=author, subject=warning, creator="Planimeter", lang="en", invariant=1
    )
    room = Frame(
        LEFT, BOTTOM, WIDTH, A4[1] - TOP - BOTTOM, leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0
    )
    laid_out.addPageTemplates([PageTemplate(frames=[room])])
    laid_out.build(story, canvasmaker=lambda *args, **options: _canvas(said, *args, **options))
    return stream.getvalue()


def _canvas(said: Callable[[Canvas], None], *args: Any, **options: Any) -> _Numbered:
    made = _Numbered(*args, said=said, **options)
    made.setViewerPreference("DisplayDocTitle", "true")
    return made
