"""The content tree of a report (PS3.3 C.17.3), and whether its items may stand where they do (A.35.13.3, TID 1500)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

CONTAINS, MODIFIES, CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
PROPERTIES, INFERRED, SELECTED = "HAS PROPERTIES", "INFERRED FROM", "SELECTED FROM"

_VALUES = {"TEXT", "CODE", "NUM", "DATETIME", "DATE", "TIME", "UIDREF", "PNAME"}
_OBJECTS = {"IMAGE", "WAVEFORM", "COMPOSITE"}
_PLACES = {"SCOORD", "SCOORD3D", "TCOORD"}
#: relationship -> from which value types to which (PS3.3 table A.35.13-2)
ALLOWED = {
    CONTAINS: ({"CONTAINER"}, {*_VALUES, *_OBJECTS, *_PLACES, "CONTAINER"}),
    MODIFIES: ({*_VALUES, *_OBJECTS, *_PLACES, "CONTAINER"}, {"TEXT", "CODE"}),
    CONTEXT: ({"CONTAINER", *_VALUES}, {*_VALUES, "COMPOSITE"}),
    PROPERTIES: (_VALUES, {*_VALUES, *_OBJECTS, *_PLACES, "CONTAINER"}),
    INFERRED: (_VALUES, {*_VALUES, *_OBJECTS, *_PLACES, "CONTAINER"}),
    SELECTED: (_PLACES, {"IMAGE", "WAVEFORM", *_PLACES}),
}
#: concept -> how it is related to what it stands in (TID 1500, 1501, 1411, 1419, 1204, 1002, 1004, 4019, 300, 320)
RELATED = {
    "121049": MODIFIES,  # language
    "121046": MODIFIES,  # country of language
    "121005": CONTEXT,  # observer type
    "121012": CONTEXT,  # device observer: UID, name, manufacturer, model, serial number
    "121013": CONTEXT,
    "121014": CONTEXT,
    "121015": CONTEXT,
    "121016": CONTEXT,
    "121058": MODIFIES,  # procedure reported
    "126010": CONTAINS,  # imaging measurements
    "125007": CONTAINS,  # measurement group
    "112039": CONTEXT,  # tracking identifier
    "112040": CONTEXT,  # tracking unique identifier
    "276214006": CONTAINS,  # finding category
    "121071": CONTAINS,  # finding
    "121191": CONTAINS,  # referenced segment
    "121214": CONTAINS,  # referenced segmentation frame
    "121232": CONTAINS,  # source series for segmentation
    "121233": CONTAINS,  # source image for segmentation
    "363698007": MODIFIES,  # finding site
    "272741003": MODIFIES,  # laterality
    "106233006": MODIFIES,  # topographical modifier
    "370129005": MODIFIES,  # measurement method
    "121401": MODIFIES,  # derivation
    "111000": MODIFIES,  # algorithm family, name, version, manufacturer
    "111001": MODIFIES,
    "111003": MODIFIES,
    "122405": MODIFIES,
    "121106": CONTAINS,  # comment
}
#: value type -> what it must hold
HOLDS = {
    "TEXT": "TextValue",
    "CODE": "ConceptCodeSequence",
    "UIDREF": "UID",
    "NUM": "MeasuredValueSequence",
    "IMAGE": "ReferencedSOPSequence",
    "COMPOSITE": "ReferencedSOPSequence",
    "SCOORD": "GraphicData",
}


@dataclass(frozen=True)
class Item:
    """One content item.

    Attributes:
        ds: it itself.
        code: the value of its concept name; empty where it has none.
        value_type, relationship: as the Standard names them.
        children: that it holds.
    """

    ds: Dataset
    code: str
    value_type: str
    relationship: str
    children: tuple[Item, ...]

    @property
    def text(self) -> str:
        """Of a TEXT or UIDREF item."""
        return str(self.ds.get("TextValue") or self.ds.get("UID") or "")

    @property
    def value(self) -> tuple[str, str, str]:
        """Of a CODE item."""
        for code in self.ds.get("ConceptCodeSequence") or ():
            return str(code.get("CodeValue")), str(code.get("CodingSchemeDesignator")), str(code.get("CodeMeaning"))
        return "", "", ""

    def walk(self) -> Iterator[Item]:
        """Itself, and everything below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def named(self, code: str) -> list[Item]:
        """Its children of a name."""
        return [child for child in self.children if child.code == code]


def content_of(ds: Dataset) -> Item:
    """The tree of a report, from its root."""
    name = ds.get("ConceptNameCodeSequence")
    return Item(
        ds,
        str(name[0].get("CodeValue") or "") if name else "",
        str(ds.get("ValueType") or ""),
        str(ds.get("RelationshipType") or ""),
        tuple(content_of(child) for child in ds.get("ContentSequence") or ()),
    )


def faults(root: Item) -> Iterator[str]:
    """Items in a relationship that they cannot have, or without what they must hold; each kind once."""
    found: dict[str, None] = {}
    for item in root.walk():
        found.update(dict.fromkeys(_empty(item)))
        for child in item.children:
            found.update(dict.fromkeys(_unrelated(item, child)))
    yield from found


def _unrelated(above: Item, item: Item) -> Iterator[str]:
    sources, targets = ALLOWED.get(item.relationship, (set[str](), set[str]()))
    if above.value_type not in sources or item.value_type not in targets:
        yield f"a {above.value_type} item cannot be related to {item.value_type} by {item.relationship!r}"
    wanted = RELATED.get(item.code, item.relationship)
    if item.value_type == "NUM" and above.code == "125007":
        wanted = CONTAINS
    if item.relationship != wanted:
        yield f"content item {item.code} is related by {item.relationship}; the template has {wanted}"


def _empty(item: Item) -> Iterator[str]:
    holds = HOLDS.get(item.value_type)
    if holds and not item.ds.get(holds):
        yield f"content item {item.code} has no {holds}"
    if not item.code and item.value_type != "IMAGE":
        yield f"a {item.value_type or 'content'} item has no name"
    if item.value_type == "NUM":
        for measured in item.ds.get("MeasuredValueSequence") or ():
            if not measured.get("MeasurementUnitsCodeSequence"):
                yield f"the measurement {item.code} has no unit"
