"""The Dice of every patient by every contender, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from .figures import FAILED_BELOW, figures
from .trial import Outcome

LEFT, WIDTH, ROW, TOP, BOTTOM = 300, 480, 30, 34, 44
RIGHT = 30


def plot(title: str, rows: Mapping[str, Sequence[Outcome]]) -> str:
    """A row per contender: a dot per patient, a bar at the mean, a line where failures begin.

    Args:
        rows: name of the contender to its outcomes; from top to bottom.
    """
    bottom = TOP + ROW * len(rows)
    width, height = LEFT + WIDTH + RIGHT, bottom + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-size="13">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="100%" height="100%" fill="#fff"/><text x="12" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for tenth in range(0, 11, 2):
        at = _x(tenth / 10)
        parts.append(f'<line x1="{at}" x2="{at}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle" fill="#444">{tenth / 10:g}</text>')
    failed = _x(FAILED_BELOW)
    parts.append(f'<line x1="{failed}" x2="{failed}" y1="{TOP}" y2="{bottom}" stroke="#c60" stroke-dasharray="4 3"/>')
    said = "Dice: a dot per patient, a bar at the mean; below the dashed line a failure"
    parts.append(f'<text x="{_x(0.5)}" y="{bottom + 36}" text-anchor="middle" fill="#444">{said}</text>')
    for number, (name, outcomes) in enumerate(rows.items()):
        parts += _row(name, outcomes, TOP + ROW * number + ROW / 2)
    return "\n".join([*parts, "</svg>", ""])


def _row(name: str, outcomes: Sequence[Outcome], y: float) -> list[str]:
    mean = _x(figures(outcomes).mean)
    dots = [f'<circle cx="{_x(one.dice)}" cy="{y:g}" r="4" fill="#27c" fill-opacity="0.45"/>' for one in outcomes]
    return [
        f'<text x="{LEFT - 14}" y="{y + 4:g}" text-anchor="end">{escape(name)}</text>',
        *dots,
        f'<line x1="{mean}" x2="{mean}" y1="{y - 10:g}" y2="{y + 10:g}" stroke="#000" stroke-width="2.5"/>',
    ]


def _x(dice: float) -> str:
    return f"{LEFT + WIDTH * dice:.1f}"
