"""Codes for what a label says in words: proposals that a person looks at, for a card that is drafted."""

from __future__ import annotations

import re
from functools import cache

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

ANATOMY = ["123037004", "SCT", "Anatomical Structure"]
ABNORMAL = ["49755003", "SCT", "Morphologically Abnormal Structure"]
SIDES = {"left": ["7771000", "SCT", "Left"], "right": ["24028007", "SCT", "Right"]}
#: words of labels for what grows, bleeds or is dead
CHANGES = re.compile(
    r"tumou?r|lesion|mass|nodule|neoplasm|cancer|oedema|edema|h(a)?emorrhage|infarct|necro|cyst|metasta"
)


@cache
def _by_words() -> dict[str, tuple[str, str]]:
    """Letters of a concept's keyword -> code and meaning, of SNOMED CT."""
    found = {}
    for keyword in codes.SCT.trait_names():
        code = getattr(codes.SCT, keyword)
        if isinstance(code, Code):
            found[_letters(keyword)] = (str(code.value), str(code.meaning))
    return found


def _letters(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.lower())


def suggest(label: str) -> tuple[list[str], list[str], list[str] | None] | None:
    """Category, type and laterality of what a label says, as in "left lung"; None where no code is called so."""
    words = re.sub(r"[^a-z0-9]+", " ", label.lower()).split()
    side = next((SIDES[word] for word in words if word in SIDES), None)
    rest = [word for word in words if word not in SIDES]
    found = _by_words().get(_letters("".join(rest))) or _by_words().get(_letters("".join(rest)).removesuffix("s"))
    if found is None:
        return None
    value, meaning = found
    category = ABNORMAL if CHANGES.search(label.lower()) else ANATOMY
    return category, [value, "SCT", meaning], side
