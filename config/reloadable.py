"""The part of a configuration that a running node takes anew: its peers and routes, as they were written."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import tomli_w

#: the tables that versions are kept of; every other key needs a restart
RELOADABLE = ("peer", "route")
HEAD = re.compile(r"^[ \t]*\[\[?\s*\"?([\w-]+)\"?[^\]]*\]\]?[ \t]*(?:#.*)?$")


def part_of(text: str) -> str:
    """The tables of `RELOADABLE`, with the comments in them and right above them.

    Where they cannot be cut out as they are written (inline tables at the top, say), they are written anew.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML.
    """
    meant = values_of(text)
    kept: list[str] = []
    above: list[str] = []  # comments right above what comes next belong to that
    ours = False
    for line in text.splitlines():
        if head := HEAD.match(line):
            ours = head[1] in RELOADABLE
        elif line.lstrip().startswith("#"):
            above.append(line)
            continue
        if ours:
            kept += [*above, line]
        above = []
    kept += above if ours else []
    cut = "\n".join(kept).strip() + "\n" if kept else ""
    try:
        same = values_of(cut) == meant
    except tomllib.TOMLDecodeError:
        same = False
    return cut if same else tomli_w.dumps(meant)


def values_of(text: str) -> dict[str, Any]:
    """What they say.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML.
    """
    return {key: value for key, value in tomllib.loads(text).items() if key in RELOADABLE}


def others_of(text: str) -> dict[str, Any]:
    """What the rest of a configuration says.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML.
    """
    return {key: value for key, value in tomllib.loads(text).items() if key not in RELOADABLE}
