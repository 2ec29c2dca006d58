"""What commands print: JSON for programs, tables for people, and text that cannot do anything to a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: the newest so many; --json shows all
SHOWN = 30
#: characters of a line that no terminal folds
UNFOLDED = 10_000


def output() -> Console:
    """Standard output. A terminal gets lines that fit it; a pipe or a file gets each row of a table as one line,
    however long, so that `grep` finds all of it. COLUMNS says another width, as everywhere."""
    return Console() if sys.stdout.isatty() or os.environ.get("COLUMNS") else Console(width=UNFOLDED)


def print_json(everything: object) -> None:
    """For programs: complete."""
    sys.stdout.write(json.dumps(everything, indent=2) + "\n")


def plain(value: object) -> str:
    """As text for a terminal: names and reasons may hold words of a header, and these anything; None is empty."""
    text = "" if value is None else str(value)
    return escape("".join(letter if letter.isprintable() else " " for letter in text))


def new_table(title: str, columns: Sequence[str]) -> Table:
    """A table without rows; long cells are folded, never cut."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def new_list(*columns: str) -> Table:
    """Rows without lines or heads; long cells are folded, never cut: they may end in the path that matters."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_table(
    console: Console,
    title: str,
    keys: Sequence[str],
    listed: Sequence[Mapping[str, Any]],
    styles: Mapping[str, str] | None = None,
) -> None:
    """The newest of a list, a column for each key, and how many there are.

    Args:
        styles: of the rows, by their "state".
    """
    if not listed:
        console.print(f"[dim]{title}: none[/]")
        return
    table = new_table(f"{title} ({len(listed)})", [key.replace("_", " ") for key in keys])
    for row in listed[:SHOWN]:
        table.add_row(*(plain(row[key]) for key in keys), style=(styles or {}).get(row.get("state", "")))
    console.print(table)
    print_older(console, len(listed))


def print_older(console: Console, count: int) -> None:
    """How many of a list were not shown, if any."""
    if count > SHOWN:
        console.print(f"[dim]and {count - SHOWN} older ones; --json shows all[/]")
