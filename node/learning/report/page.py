"""A report as one HTML file: no script, nothing loaded from anywhere, light or dark, on a phone and on paper."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from .blocks import Block, Callout, Cell, Charts, Heading, Listed, Pictured, Says, Table
from .story import story, title
from .svg import safe, svg
from .values import Evaluation
from .words import RESEARCH

STYLE = Path(__file__).with_name("style.css")
JPEG_QUALITY = 88
#: tables of more columns may be moved sideways on a phone
NARROW = 4
#: nothing but what is in the file: no script, no address
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html(of: Evaluation) -> str:
    """The report of an evaluation.

    Raises:
        Refused: as `story.story`.
    """
    return page(title(of), f"{of.network} · {of.made}", story(of))


def page(heading: str, below: str, blocks: Sequence[Block]) -> str:
    """A whole file. The same blocks make the same bytes."""
    links = "".join(f'<a href="#{safe(one.anchor)}">{safe(one.text)}</a>' for one in blocks if isinstance(one, Heading))
    first = next((one for one in blocks if isinstance(one, Callout)), None)
    body = "\n".join(_block(one, first=one is first) for one in blocks)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{safe(heading)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<h1>{safe(heading)}</h1>
<p>{safe(below)}</p>
<p class="research">{RESEARCH}</p>
</header>
<nav aria-label="Sections">{links}</nav>
{body}
<footer>{safe(heading)} · {safe(below)} · {RESEARCH}</footer>
</main>
</body>
</html>
"""


def _block(block: Block, *, first: bool) -> str:
    match block:
        case Heading():
            return f'<h2 id="{safe(block.anchor)}">{safe(block.text)}</h2>'
        case Says():
            return f"<p{_faint(block.faint)}>{safe(block.text)}</p>"
        case Listed():
            return f"<ul{_faint(block.faint)}>" + "".join(f"<li>{safe(one)}</li>" for one in block.items) + "</ul>"
        case Callout():
            lines = "".join(f"<p>{safe(line)}</p>" for line in block.lines)
            more = " first" if first else ""
            return f'<div class="callout {block.tone}{more}"><h3>{safe(block.title)}</h3>{lines}</div>'
        case Table():
            return _table(block)
        case Charts():
            return (
                '<div class="charts">'
                + "".join(
                    f"<figure><h3>{safe(one.title)}</h3>{svg(one)}<figcaption>{safe(one.said)}</figcaption></figure>"
                    for one in block.charts
                )
                + "</div>"
            )
        case Pictured():
            return (
                f'<figure id="{safe(block.anchor)}"><h3>{safe(block.title)}</h3>'
                f'<img alt="{safe(block.title)}. {safe(block.caption)}" src="{_data(block.image)}">'
                f"<figcaption>{safe(block.caption)}</figcaption></figure>"
            )


def _faint(faint: bool) -> str:
    return ' class="quiet"' if faint else ""


def _table(table: Table) -> str:
    wide = " wide" if len(table.columns) > NARROW else ""
    total = sum(column.width for column in table.columns)
    widths = "".join(f'<col style="width:{100 * column.width / total:.1f}%">' for column in table.columns)
    numbers = [' class="number"' if column.number else "" for column in table.columns]
    head = ""
    if any(column.head for column in table.columns):
        cells = "".join(
            f'<th scope="col"{number}>{safe(column.head)}</th>'
            for column, number in zip(table.columns, numbers, strict=True)
        )
        head = f"<thead><tr>{cells}</tr></thead>"
    rows = "".join(_row(row, table) for row in table.rows)
    caption = f"<h3>{safe(table.title)}</h3>" if table.title else ""
    body = f"<table><colgroup>{widths}</colgroup>{head}<tbody>{rows}</tbody></table>"
    return f'{caption}<div class="scroll{wide}">{body}</div>'


def _row(row: Sequence[Cell], table: Table) -> str:
    cells = "".join(_cell(cell, number=column.number) for cell, column in zip(row[1:], table.columns[1:], strict=True))
    return f'<tr><th scope="row">{_content(row[0])}</th>{cells}</tr>'


def _cell(cell: Cell, *, number: bool) -> str:
    classes = " ".join(name for name in ("number" if number else "", cell.tone) if name)
    return f'<td class="{classes}">{_content(cell)}</td>'


def _content(cell: Cell) -> str:
    text = f"<code>{safe(cell.text)}</code>" if cell.code else safe(cell.text)
    text += f"<small>{safe(cell.below)}</small>" if cell.below else ""
    return f'<a href="#{safe(cell.link)}">{text}</a>' if cell.link else text


def _data(image: Image.Image) -> str:
    stream = BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
