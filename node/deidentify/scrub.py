"""Text that is kept, without the identifiers that are known."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from .keys import Keys

#: identifiers of so many characters are found inside words too; shorter ones as words alone
LONG = 5
UID_TOKEN = re.compile(r"(?<![\d.])[0-2](?:\.\d+){3,}")


def pattern(identifiers: Iterable[str]) -> re.Pattern[str] | None:
    """Of any of them, in any case; None where there is none."""
    listed = sorted(set(identifiers), key=len, reverse=True)
    return re.compile("|".join(_one(text) for text in listed), re.IGNORECASE) if listed else None


def _one(text: str) -> str:
    if text.isdecimal():
        return rf"(?<!\d){re.escape(text)}(?!\d)"
    if len(text) < LONG and text.isascii():
        return rf"(?<![^\W_]){re.escape(text)}(?![^\W_])"
    return re.escape(text)


def scrubbed(text: str, known: re.Pattern[str] | None, uids: Collection[str], keys: Keys) -> str:
    """A text without identifiers, its UIDs mapped."""

    def mapped(found: re.Match[str]) -> str:
        return keys.uid(found[0]) if found[0] in uids else found[0]

    text = UID_TOKEN.sub(mapped, text) if uids else text
    return known.sub("", text).strip() if known is not None and known.search(text) else text
