"""Cards as TOML that a person can read and write on: short lists stay on one line."""

from __future__ import annotations

import re
from typing import Any

import tomli_w

_LIST = re.compile(r"\[\n((?:    [^\n]*,\n)+)\]")


def dumps(values: dict[str, Any]) -> str:
    """TOML, with every list of plain values on a line of its own."""
    return _LIST.sub(_on_one_line, tomli_w.dumps(values))


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + ", ".join(line.strip().removesuffix(",") for line in found[1].splitlines()) + "]"
