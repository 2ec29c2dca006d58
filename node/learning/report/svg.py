"""A chart as SVG within a page: its colours are those of the page's style sheet, light or dark."""

from __future__ import annotations

from html import escape

from .chart import BASELINE, CHAMPION, Bar, Chart, Dot, Letters, Shape, Stroke


def svg(chart: Chart) -> str:
    """The drawing, with what it shows for those who cannot see it."""
    body = "".join(_shape(shape) for shape in chart.shapes)
    return (
        f'<svg viewBox="0 0 {chart.width:g} {chart.height:g}" role="img" aria-label="{safe(chart.title)}. '
        f'{safe(chart.said)} {safe(chart.heard)}">{body}</svg>'
    )


def safe(text: str) -> str:
    """Any text for a page or one of its attributes; control characters become spaces."""
    return escape("".join(letter if letter.isprintable() else " " for letter in text), quote=True)


def _shape(shape: Shape) -> str:
    match shape:
        case Stroke():
            points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
            dashes = ' stroke-dasharray="5 4"' if shape.dashed else ""
            return f'<polyline points="{points}" class="s {shape.colour}" stroke-width="{shape.width:g}"{dashes}/>'
        case Bar():
            return (
                f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}" '
                f'class="f {shape.colour}" opacity="{shape.opacity:g}"/>'
            )
        case Dot():
            return _dot(shape)
        case Letters():
            weight = ' font-weight="700"' if shape.bold else ""
            return (
                f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" class="f {shape.colour}" font-size="{shape.size:g}" '
                f'text-anchor="{shape.anchor}"{weight}>{safe(shape.text)}</text>'
            )


def _dot(dot: Dot) -> str:
    hint = f"<title>{safe(dot.hint)}</title>" if dot.hint else ""
    r = dot.radius
    if dot.colour == BASELINE:
        at = f'x="{dot.x - r:.2f}" y="{dot.y - r:.2f}" width="{2 * r:g}" height="{2 * r:g}"'
        return f'<rect {at} class="f {dot.colour}">{hint}</rect>'
    at = f'cx="{dot.x:.2f}" cy="{dot.y:.2f}"'
    if dot.colour == CHAMPION:
        return f'<circle {at} r="{r - 0.5:g}" class="s {dot.colour} hollow" stroke-width="1.5">{hint}</circle>'
    return f'<circle {at} r="{r:g}" class="f {dot.colour}">{hint}</circle>'
