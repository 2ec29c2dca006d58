"""Elements as the dictionary knows them, whatever value representation a file gives them (PS3.5 6.2.2, PS3.6).

Converters with old dictionaries write sequences as UN, others write a name as LO. Whoever asks such an element what it
is would take it for bytes, or for a word.
"""

from __future__ import annotations

from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ..objects.characters import UNREADABLE_ELEMENT

TEXT = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"])
BYTES = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])


def settle(ds: Dataset) -> None:
    """Give each public element, at every depth, a value representation that the dictionary has for it.

    Text, and what came as bytes, is read anew as what it is. What cannot be that goes: text for numbers, numbers for
    text, anything but UN for a sequence, and what no dictionary has.
    """
    for tag in list(ds.keys()):
        if tag.is_private:
            continue
        if not dictionary_has_tag(tag):
            del ds[tag]
            continue
        element, known = ds.get_item(tag), dictionary_VR(tag)
        if element is None or element.VR is None or element.VR == known or element.VR in known.split(" or "):
            pass
        elif (anew := _anew(element, known)) is None:
            del ds[tag]
        else:
            ds[tag] = anew
        if known == "SQ" and tag in ds:
            _settle_items(ds, tag)


def _settle_items(ds: Dataset, tag: Any) -> None:
    try:
        items = ds[tag].value
    except UNREADABLE_ELEMENT:
        del ds[tag]  # nobody can say what is in it
        return
    for item in items if isinstance(items, Sequence) else ():
        settle(item)


def _anew(element: DataElement | RawDataElement, known: str) -> DataElement | RawDataElement | None:
    """The element with the value representation of the dictionary; None where it cannot have it."""
    vr, value = str(element.VR), element.value
    if known not in TEXT and known != "SQ" and vr not in TEXT and vr not in ("SQ", "UN"):
        return element  # numbers of another width, or as bytes
    if vr != "UN" and (known not in TEXT or vr not in TEXT | BYTES):
        return None
    if value is None or isinstance(value, bytes):
        little = vr == "UN" or not isinstance(element, RawDataElement) or element.is_little_endian
        return RawDataElement(element.tag, known, len(value or b""), value, 0, vr == "UN", little)
    return DataElement(element.tag, known, value) if vr in TEXT else None
