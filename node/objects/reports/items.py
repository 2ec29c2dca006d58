"""Content items (PS3.3 C.17.3) as bytes: Explicit VR Little Endian, UTF-8.

highdicom copies and checks its items again at every level that they are put into, and pydicom writes deep trees
slowly: together seconds for a report of many groups. Here every item is encoded once. What comes out is read back by
the node's own check before it is sent, and by the validators in the tests.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from ..segments.elements import element, sequence
from .codes import Code

CONTAINS, HAS_CONCEPT_MOD, HAS_OBS_CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
INFERRED_FROM, SELECTED_FROM = "INFERRED FROM", "SELECTED FROM"

#: LO (PS3.5 6.2): meanings and names; a longer one is cut, which changes no code
LONGEST_MEANING = 64


def code(name: Code, value: Code, relationship: str = CONTAINS, children: Sequence[bytes] = ()) -> bytes:
    """A CODE item."""
    return _item(relationship, "CODE", name, _coded(0x0040A168, value), children)


def text(name: Code, value: str, relationship: str = CONTAINS) -> bytes:
    """A TEXT item."""
    return _item(relationship, "TEXT", name, element(0x0040A160, "UT", value.encode()))


def uid(name: Code, value: str, relationship: str = CONTAINS) -> bytes:
    """A UIDREF item."""
    return _item(relationship, "UIDREF", name, _element(0x0040A124, "UI", value))


def number(name: Code, value: str, unit: Code, children: Sequence[bytes] = ()) -> bytes:
    """A NUM item; the value is a decimal string, as exact as the measurement is."""
    measured = _coded(0x004008EA, unit) + _element(0x0040A30A, "DS", value)
    return _item(CONTAINS, "NUM", name, sequence(0x0040A300, measured), children)


def image(
    name: Code,
    sop_class_uid: str,
    sop_instance_uid: str,
    *,
    frame: int = 0,
    segment: int = 0,
    relationship: str = CONTAINS,
) -> bytes:
    """An IMAGE item: of an image, of one frame of it, or of one segment, never of both (PS3.3 table 10-3)."""
    referenced = reference(sop_class_uid, sop_instance_uid)
    if frame:
        referenced += _element(0x00081160, "IS", str(frame))
    if segment:
        referenced += element(0x0062000B, "US", struct.pack("<H", segment))
    return sequence(0x00081199, referenced) + _item(relationship, "IMAGE", name)


def polyline(name: Code, points: Sequence[tuple[float, float]], drawn_on: bytes) -> bytes:
    """An SCOORD item that a measurement is inferred from: points (column, row) on an image (PS3.3 C.18.6.1.1)."""
    data = struct.pack(f"<{2 * len(points)}f", *(coordinate for point in points for coordinate in point))
    graphic = element(0x00700022, "FL", data) + _element(0x00700023, "CS", "POLYLINE")
    return _item(INFERRED_FROM, "SCOORD", name, children=[drawn_on]) + graphic


def container(name: Code, children: Sequence[bytes], template: str = "") -> bytes:
    """A CONTAINER item, after a template of PS3.16 where one is named."""
    after = sequence(0x0040A504, _element(0x00080105, "CS", "DCMR") + _element(0x0040DB00, "CS", template))
    head = _element(0x0040A010, "CS", CONTAINS) + _element(0x0040A040, "CS", "CONTAINER") + _coded(0x0040A043, name)
    continuous = _element(0x0040A050, "CS", "CONTINUOUS")
    return head + continuous + (after if template else b"") + sequence(CONTENT, *children)


def reference(sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """An item that refers to an instance (PS3.3 10.8)."""
    return _element(0x00081150, "UI", sop_class_uid) + _element(0x00081155, "UI", sop_instance_uid)


def hierarchy(study_uid: str, of_series: Sequence[tuple[str, Sequence[bytes]]]) -> bytes:
    """An item that refers to instances by study and series (PS3.3 table C.17-3).

    Args:
        of_series: the UID of each series, and its references.
    """
    series = [
        sequence(0x00081199, *references) + _element(0x0020000E, "UI", series_uid)
        for series_uid, references in of_series
    ]
    return sequence(0x00081115, *series) + _element(0x0020000D, "UI", study_uid)


def put(ds: Dataset, tag: int, *contents: bytes) -> None:
    """Give a data set a sequence of such items. It is written as it is, and decoded when somebody looks at it."""
    value = sequence(tag, *contents)[HEAD:]
    ds[tag] = RawDataElement(Tag(tag), "SQ", len(value), value, 0, False, True)


CONTENT = 0x0040A730
#: bytes before the value of a sequence
HEAD = 12


def _item(relationship: str, value_type: str, name: Code, value: bytes = b"", children: Sequence[bytes] = ()) -> bytes:
    """Every element of it in the order of its tag, as far as these are between (0040,A010) and (0040,A730)."""
    return (
        _element(0x0040A010, "CS", relationship)
        + _element(0x0040A040, "CS", value_type)
        + _coded(0x0040A043, name)
        + value
        + (sequence(CONTENT, *children) if children else b"")
    )


@lru_cache(maxsize=1024)
def _coded(tag: int, concept: Code) -> bytes:
    """A sequence of one code (PS3.3 table 8.8-1)."""
    value, scheme, meaning = concept
    return sequence(
        tag,
        _element(0x00080100, "SH", value)
        + _element(0x00080102, "SH", scheme)
        + _element(0x00080104, "LO", meaning[:LONGEST_MEANING]),
    )


@lru_cache(maxsize=1024)
def _element(tag: int, vr: str, value: str) -> bytes:
    return element(tag, vr, value.encode())
