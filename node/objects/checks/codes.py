"""Every code of an object: well formed, of a scheme that readers know, and where the Standard closes a list, in it.

PS3.3 8.8 and table 8.8-1; PS3.16 for the context groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import Code, codes

from models.card import Segment
from models.finding_rules import Finding

from ..run import Run
from .read import Read, nested

Triple = tuple[str, str, str]

OUR_SCHEME = "99PLANIMETER"
UNITS = "MeasurementUnitsCodeSequence"
#: sequences of codes whose keyword does not say so
ALSO_CODES = {"AnatomicRegionSequence"}
#: concept -> the context group that its value is of; these are not extensible (PS3.16)
CLOSED = {"272741003": "cid244", "121005": "cid270"}

#: what the units of images are made of, by the grammar of UCUM: annotation, symbol and exponent, joined by . and /
NOTE = r"(?:\{[^{} ]+\})?"
SYMBOL = r"(?:10\*|\d+|%|\[[^\] ]+\]|[kdcmunMG]?(?:m|g|l|L|s|mol|Bq|eq|Hz|Gy|V)|min|h|d|deg|rad|Cel)"
TERM = rf"(?=[^./]){NOTE}(?:{SYMBOL}(?:-?\d+)?)?{NOTE}"
#: what a code of a scheme looks like
SHAPES = {
    "UCUM": re.compile(rf"/?{TERM}(?:[./]{TERM})*", re.ASCII),
    "LN": re.compile(r"\d{1,7}-\d", re.ASCII),
    "IBSI": re.compile(r"[0-9A-Z]{4}", re.ASCII),
    "RFC5646": re.compile(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*", re.ASCII),
    "UMLS": re.compile(r"C\d{7}", re.ASCII),
    "NCIt": re.compile(r"C\d{3,7}", re.ASCII),
    "FMA": re.compile(r"\d{3,7}", re.ASCII),
    OUR_SCHEME: re.compile(r"[A-Z0-9_-]{1,16}", re.ASCII),
}

#: Verhoeff's check digit, which every code of SNOMED CT ends with: the dihedral group of ten, and its permutation
DIHEDRAL = [
    [(a + b) % 5 if b < 5 else 5 + (a + b) % 5 for b in range(10)]
    if a < 5
    else [5 + (a - b) % 5 if b < 5 else (a - b) % 5 for b in range(10)]
    for a in range(10)
]
STEP = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def faults(one: Read, run: Run, more: Iterable[Dataset] = ()) -> Iterator[str]:
    """Every fault in the codes of an object, each once.

    Args:
        more: items that are looked at as well.
    """
    ds, given = one.ds, {code[:2] for code in _given(run)}
    identified = {item.get("CodingSchemeDesignator") for item in ds.get("CodingSchemeIdentificationSequence") or ()}
    found: dict[str, None] = {}
    for keyword, item in (*one.items, *(pair for other in more for pair in nested(other))):
        if keyword.endswith("CodeSequence") or keyword in ALSO_CODES:
            found.update(dict.fromkeys(_of_one(keyword, item, given, identified)))
        if name := _code(item.get("ConceptNameCodeSequence")):
            found.update(dict.fromkeys(_outside(name, item)))
    yield from found
    yield from _categories(ds)


def _given(run: Run) -> Iterator[Triple]:
    """The codes that come from elsewhere and are not ours to judge: of the card, and of the images' procedure."""
    card = run.provenance.card
    meanings: tuple[Segment | Finding, ...] = (*card.segment, *card.finding)
    for one in meanings:
        for code in (one.category, one.type, one.laterality, one.anatomic_region):
            if code is not None:
                yield code
    for item in run.sources[0].get("ProcedureCodeSequence") or ():
        yield str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning)


def _of_one(keyword: str, item: Dataset, given: set[tuple[str, str]], identified: set[str | None]) -> Iterator[str]:
    short, long = str(item.get("CodeValue") or ""), str(item.get("LongCodeValue") or "")
    scheme, meaning = str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or "")
    value = short or long
    if bool(short) is bool(long) or len(short) > 16 or (long and len(long) <= 16):
        yield f"an item of {keyword} has no code, or one of a wrong length ({value!r})"
        return
    if not 1 <= len(scheme) <= 16 or not 1 <= len(meaning) <= 64:
        yield f"the code {value} has no scheme or no meaning, or too long a one"
        return
    if keyword == UNITS and scheme != "UCUM":
        yield f"a unit is not of UCUM: ({value}, {scheme})"
    if scheme == OUR_SCHEME and scheme not in identified:
        yield f"nothing says whose codes those of {scheme} are (CodingSchemeIdentificationSequence)"
    if (value, scheme) in given:
        return
    if not _is_known(value, scheme):
        yield f"({value}, {scheme}, {meaning}) is not a code that readers can know"


def _is_known(value: str, scheme: str) -> bool:
    if scheme == "SCT":
        return is_snomed(value)
    if scheme == "DCM":
        return value in _dicom_codes()
    shape = SHAPES.get(scheme)
    return shape is not None and shape.fullmatch(value) is not None


def is_snomed(value: str) -> bool:
    """Whether a text can be an identifier of SNOMED CT: 6 to 18 digits, the last of which checks the others."""
    if not (value.isascii() and value.isdigit() and 6 <= len(value) <= 18):
        return False
    check, permuted = 0, list(range(10))
    for digit in reversed(value):
        check = DIHEDRAL[check][permuted[int(digit)]]
        permuted = [permuted[STEP[n]] for n in range(10)]
    return check == 0


def read_tables() -> None:
    """Read pydicom's dictionaries of codes now, which else the first check of a process does."""
    _dicom_codes()
    for group in ("cid7150", "cid7151", *CLOSED.values()):
        getattr(codes, group)


@cache
def _dicom_codes() -> frozenset[str]:
    return frozenset(code.value for code in codes.DCM.concepts.values())


def _outside(name: Triple, item: Dataset) -> Iterator[str]:
    """A value that is not in the closed list of its concept."""
    value = _code(item.get("ConceptCodeSequence"))
    group = CLOSED.get(name[0])
    if group and (value is None or Code(*value) not in getattr(codes, group)):
        yield f"{stated(item.get('ConceptCodeSequence'))} is none of the values of {name[2]} (PS3.16, {group.upper()})"


def _categories(ds: Dataset) -> Iterator[str]:
    """The lists of categories and types may be extended, but a listed type is no category (CID 7150, CID 7151)."""
    for item in ds.get("SegmentSequence") or ():
        if not item.get("SegmentNumber"):
            continue  # what a label map calls its background
        category = _code(item.get("SegmentedPropertyCategoryCodeSequence"))
        kind = _code(item.get("SegmentedPropertyTypeCodeSequence"))
        if category is None or kind is None or Code(*category) in codes.cid7150:
            continue
        if Code(*category) in codes.cid7151 or category[:2] == kind[:2]:
            yield f"segment {item.get('SegmentNumber')}: its category ({category[2]}) is a type"


def _code(items: Sequence[Dataset] | None) -> Triple | None:
    """The one code of a sequence."""
    if not items or len(items) != 1:
        return None
    item = items[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or "")


def same_code(items: Sequence[Dataset] | None, wanted: Triple | None) -> bool:
    """Whether a sequence holds this one code, or none where none is wanted."""
    found = _code(items)
    return not items if wanted is None else found == tuple(wanted)


def stated(items: Sequence[Dataset] | None) -> str:
    """A code as a person reads it."""
    found = _code(items)
    return "nothing" if found is None else f"({', '.join(found)})"
