"""Tables of the statement, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table."""
    return rows([columns, ["---"] * len(columns), *lines])


def rows(lines: Iterable[Sequence[object]]) -> str:
    """Rows of a table; what would end a cell is escaped."""
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", r"\|").split())
