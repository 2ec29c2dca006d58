"""Arabic and Hebrew as they are printed: joined, and from right to left, for fonts that only draw one letter at a time.

One line of plain text, such as a name: letters take the forms of their places (Unicode 9.2, Arabic), and runs are put
into the order in which they are seen (a part of UAX #9: no embeddings, no brackets that mirror).
"""

from __future__ import annotations

import itertools
import unicodedata
from functools import lru_cache
from typing import NamedTuple

#: the blocks of presentation forms
FORMS = (*range(0xFB50, 0xFE00), *range(0xFE70, 0xFF00))
LAM, ALEF_BEHIND_LAM = "\u0644", "\u0622\u0623\u0625\u0627"
TATWEEL = "\u0640"
MIRRORED = str.maketrans("()[]{}<>", ")(][}{><")


class _Forms(NamedTuple):
    isolated: str = ""
    final: str = ""
    initial: str = ""
    medial: str = ""


@lru_cache(maxsize=1)
def _forms() -> dict[str, _Forms]:
    """Letter, or pair of letters -> its forms, out of the decompositions of the presentation forms."""
    found: dict[str, dict[str, str]] = {}
    for code in FORMS:
        tag, *letters = unicodedata.decomposition(chr(code)).split(" ")
        kind, plain = tag.strip("<>"), "".join(chr(int(letter, 16)) for letter in letters)
        is_letter = len(plain) == 1 or (plain[:1] == LAM and plain[1:] in tuple(ALEF_BEHIND_LAM))
        if kind in _Forms._fields and is_letter:
            found.setdefault(plain, {})[kind] = chr(code)
    return {plain: _Forms(**forms) for plain, forms in found.items()}


def visual(text: str) -> str:
    """A line of text in the order in which it is seen, from left to right."""
    if not any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        return text
    runs = _runs(_joined(text))
    if _base(text) == "R":
        runs.reverse()
    return "".join(_turned(letters) if direction == "R" else letters for direction, letters in runs)


def _joined(text: str) -> str:
    """Every Arabic letter in the form of its place."""
    forms, shaped, at, joins = _forms(), [], 0, False
    while at < len(text):
        letter = text[at : at + 2] if text[at : at + 2] in forms else text[at]
        at += len(letter)
        if unicodedata.category(letter[0]) == "Mn":
            shaped.append(letter)
            continue
        follows = next((one for one in text[at:] if unicodedata.category(one) != "Mn"), "")
        own = forms.get(letter, _Forms())
        before = joins and bool(own.final)
        after = bool(own.initial) and (follows == TATWEEL or bool(forms.get(follows, _Forms()).final))
        shaped.append(_of(own, before=before, after=after) or letter)
        joins = bool(own.initial) or letter == TATWEEL
    return "".join(shaped)


def _of(forms: _Forms, *, before: bool, after: bool) -> str:
    if before:
        return forms.medial if after else forms.final
    return forms.initial if after else forms.isolated


def _base(text: str) -> str:
    kinds = (unicodedata.bidirectional(letter) for letter in text)
    first = next((kind for kind in kinds if kind in ("L", "R", "AL")), "L")
    return "L" if first == "L" else "R"


def _direction(letter: str) -> str:
    """R, L, or nothing where the letter follows its neighbours."""
    kind = unicodedata.bidirectional(letter)
    if kind in ("R", "AL"):
        return "R"
    return "L" if kind in ("L", "EN", "AN") else ""


def _runs(text: str) -> list[tuple[str, str]]:
    """Runs of one direction; what has none goes with its neighbours where these agree, else with the line."""
    base = _base(text)
    parts = [(direction, "".join(run)) for direction, run in itertools.groupby(text, key=_direction)]
    runs: list[tuple[str, str]] = []
    for n, (direction, letters) in enumerate(parts):
        sides = {parts[n - 1][0] if n else base, parts[n + 1][0] if n + 1 < len(parts) else base}
        own = direction or (sides.pop() if len(sides) == 1 else base)
        if runs and runs[-1][0] == own:
            runs[-1] = (own, runs[-1][1] + letters)
        else:
            runs.append((own, letters))
    return runs


def _turned(letters: str) -> str:
    """Reversed; marks stay behind the letter that they stand on."""
    groups: list[str] = []
    for letter in letters:
        if groups and unicodedata.category(letter) == "Mn":
            groups[-1] += letter
        else:
            groups.append(letter)
    return "".join(reversed(groups)).translate(MIRRORED)
