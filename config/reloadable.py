"""The part of a configuration that a running node takes anew, as it was written: peers, routes and some more."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from typing import Any

import tomli_w

#: what a site routes by: a configuration has all of it, and what it does not name is not there
ROUTING = ("peer", "route")
#: tables that are taken anew as a whole; what a configuration does not name stays as the file has it
TABLES = ("recipient", "alarms", "mail", "retention")
#: of other tables, the keys that are
KEYS: Mapping[str, tuple[str, ...]] = {
    "receive": ("quiet_seconds", "reserve_gb", "refuse_gb"),
    "work": ("night", "ageing_minutes"),
}
SETTINGS = (*TABLES, *KEYS)
RELOADABLE = (*ROUTING, *SETTINGS)
IN_WORDS = ", ".join(
    [*(f"[[{name}]]" for name in (*ROUTING, "recipient")), *(f"[{name}]" for name in TABLES[1:])]
    + [f"[{table}] {' '.join(keys)}" for table, keys in KEYS.items()]
)
HEAD = re.compile(r"^[ \t]*\[\[?\s*\"?([\w-]+)\"?[^\]]*\]\]?[ \t]*(?:#.*)?$")
KEY = re.compile(r"^[ \t]*\"?([\w-]+)\"?[ \t]*=")


def part_of(text: str, tables: Collection[str] = RELOADABLE) -> str:
    """These tables, with the comments in them and right above them.

    Where they cannot be cut out as they are written (inline tables at the top, say), they are written anew.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML.
    """
    meant = values_of(text, tables)
    kept: list[str] = []
    above: list[str] = []  # comments right above what comes next belong to that
    table, ours = "", False
    for line in text.splitlines():
        if head := HEAD.match(line):
            table = head[1]
            ours = table in meant
        elif line.lstrip().startswith("#"):
            above.append(line)
            continue
        elif key := KEY.match(line):
            ours = table in meant and (table not in KEYS or key[1] in KEYS[table])
        if ours:
            kept += [*above, line]
        above = []
    kept += above if ours else []
    cut = "\n".join(kept).strip() + "\n" if kept else ""
    try:
        same = values_of(cut, tables) == meant
    except tomllib.TOMLDecodeError:
        same = False
    return cut if same else tomli_w.dumps(meant)


def values_of(text: str, tables: Collection[str] = RELOADABLE) -> dict[str, Any]:
    """What they say; of a table that is taken in part, the keys that are.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML.
    """
    return {name: said for name, (said, _) in _split(text).items() if name in tables and (said or name not in KEYS)}


def others_of(text: str) -> dict[str, Any]:
    """What the rest of a configuration says.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML.
    """
    return {name: rest for name, (_, rest) in _split(text).items() if rest}


def with_part(data: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """All that a file says, with a reloadable part in place of its own."""
    made = {name: value for name, value in data.items() if name not in ROUTING}
    for name, value in part.items():
        made[name] = {**made.get(name, {}), **value} if name in KEYS and isinstance(value, dict) else value
    return made


def _split(text: str) -> dict[str, tuple[Any, Any]]:
    """Name of a table -> what of it is taken anew, and the rest."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, said in tomllib.loads(text).items():
        if name in KEYS and isinstance(said, dict):
            ours = {key: value for key, value in said.items() if key in KEYS[name]}
            found[name] = ours, {key: value for key, value in said.items() if key not in ours}
        else:
            found[name] = (said, None) if name in RELOADABLE else (None, said)
    return found
