"""What becomes of each attribute: PS3.15 table E.1-1, held as `table.csv` beside this file.

Of the actions that an attribute may have, the one is taken that keeps every object valid without a look at its IOD:
X/Z is Z, and whatever may be D is D: of a sequence, its items with dummies and mapped UIDs. X/D of a sequence is X.
X/Z/U* keeps the sequence and maps its UIDs.

The Standard's table is kept as it is. What it does not name and yet says who or where stands in `beside.csv`, alike.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from enum import StrEnum
from functools import cache
from importlib.resources import files

from .options import COLUMNS, Option


class Action(StrEnum):
    """PS3.15 table E.1-1a."""

    KEEP = "K"
    CLEAN = "C"
    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"


#: what may be done -> what is done, of a sequence and of anything else
RESOLVED = {
    "X/Z": (Action.EMPTY, Action.EMPTY),
    "X/D": (Action.REMOVE, Action.DUMMY),
    "Z/D": (Action.EMPTY, Action.DUMMY),
    "X/Z/D": (Action.DUMMY, Action.DUMMY),
    "X/Z/U*": (Action.UID, Action.UID),
}
#: in this order: what is retained is not cleaned
OPTIONS = tuple(COLUMNS)


@cache
def rows() -> dict[int, dict[str, str]]:
    """Tag -> the columns of its row in the Standard's table."""
    return _read("table.csv")


@cache
def beside() -> dict[int, dict[str, str]]:
    """The same of attributes that the Standard's table does not name."""
    return _read("beside.csv")


def _read(name: str) -> dict[int, dict[str, str]]:
    text = files(__package__).joinpath(name).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {int(row["tag"], 16): row for row in csv.DictReader(lines)}


def action(tag: int, vr: str, options: Collection[Option]) -> Action | None:
    """What becomes of an attribute; None where neither table names it."""
    row = rows().get(tag) or beside().get(tag)
    if row is None:
        return None
    for option in OPTIONS:
        if option in options and (said := row[COLUMNS[option]]):
            return Action(said)
    basic = row["basic"]
    return RESOLVED[basic][vr != "SQ"] if basic in RESOLVED else Action(basic)
