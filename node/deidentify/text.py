"""Text without what names somebody: descriptions keep the words of a list, every other text loses known identifiers."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

WORD = re.compile(r"[^\W_]+(?:\.\d+)?")
#: numbers of so few digits are thicknesses, kernels, phases and echo times; longer ones may be somebody's
FEW_DIGITS = re.compile(r"\d{1,3}(?:\.\d{1,2})?(?:mm|cm|mas|ma|kv|kvp|s|ms|ml)?")


@cache
def ordinary() -> frozenset[str]:
    """The words that name no one, in lower case."""
    lines = files(__package__).joinpath("words.txt").read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def cleaned(text: str) -> str:
    """The words of a description that are on the list, and short numbers, with single blanks between them."""
    kept = [word for word in WORD.findall(text) if word.lower() in ordinary() or FEW_DIGITS.fullmatch(word.lower())]
    return " ".join(kept)
