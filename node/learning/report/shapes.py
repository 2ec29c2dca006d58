"""A chart as a drawing of a document."""

from __future__ import annotations

from reportlab.graphics.shapes import Circle, Drawing, PolyLine, Rect, String
from reportlab.lib.colors import Color, HexColor, white

from ...objects.pictures.fonts import BOLD, REGULAR, ready
from . import chart
from .chart import BASELINE, CHAMPION, Bar, Chart, Dot, Letters, Shape, Stroke

COLOURS: dict[str, Color] = {
    chart.INK: HexColor("#15181c"),
    chart.FAINT: HexColor("#59616b"),
    chart.RULE: HexColor("#d5dae1"),
    chart.SHADE: HexColor("#e8ecf2"),
    chart.BASELINE: HexColor("#6b7280"),
    chart.CHAMPION: HexColor("#1f6fb4"),
    chart.CANDIDATE: HexColor("#c2491d"),
    chart.GOOD: HexColor("#1a7431"),
    chart.BAD: HexColor("#b3261e"),
    chart.DOUBT: HexColor("#8a5a00"),
}


def drawing(of: Chart, width: float) -> Drawing:
    """As wide as there is room, in points."""
    known = ready()
    scale = width / of.width
    made = Drawing(width, of.height * scale)
    made.scale(scale, scale)
    for shape in of.shapes:
        made.add(_shape(shape, of.height, known))
    return made


def _shape(shape: Shape, height: float, known: frozenset[int]) -> Rect | Circle | PolyLine | String:
    """Upside down: in a document y goes up."""
    colour = COLOURS[shape.colour]
    match shape:
        case Stroke():
            points = [part for x, y in shape.points for part in (x, height - y)]
            dashes = [5, 4] if shape.dashed else None
            return PolyLine(points, strokeColor=colour, strokeWidth=shape.width, strokeDashArray=dashes)
        case Bar():
            y = height - shape.y - shape.height
            faded = Color(colour.red, colour.green, colour.blue, shape.opacity)
            return Rect(shape.x, y, shape.width, shape.height, fillColor=faded, strokeColor=None)
        case Dot():
            return _dot(shape, height - shape.y, colour)
        case Letters():
            text = "".join(letter if ord(letter) in known else "?" for letter in shape.text)
            font = BOLD if shape.bold else REGULAR
            size = shape.size * 0.92  # its letters are wider than those of most pages
            return String(
                shape.x, height - shape.y, text, fontName=font, fontSize=size, fillColor=colour, textAnchor=shape.anchor
            )


def _dot(dot: Dot, y: float, colour: Color) -> Rect | Circle:
    r = dot.radius
    if dot.colour == BASELINE:
        return Rect(dot.x - r, y - r, 2 * r, 2 * r, fillColor=colour, strokeColor=None)
    if dot.colour == CHAMPION:
        return Circle(dot.x, y, r - 0.5, fillColor=white, strokeColor=colour, strokeWidth=1.5)
    return Circle(dot.x, y, r, fillColor=colour, strokeColor=None)
