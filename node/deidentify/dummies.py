"""What stands where a value must be and none may be told (action D of PS3.15 table E.1-1a)."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from .dates import DUMMY_DATE

REMOVED = "REMOVED"
#: by VR; of the others, REMOVED
DUMMIES: dict[str, Any] = {
    "AS": "000D",
    "DA": DUMMY_DATE,
    "DT": f"{DUMMY_DATE}000000",
    "TM": "000000",
    "DS": "0",
    "IS": "0",
    "PN": "REMOVED",
    "UR": "urn:removed",
    "OB": b"\0\0",
    "OW": b"\0\0",
    "UN": b"\0\0",
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV"), 0),
    **dict.fromkeys(("FL", "FD"), 0.0),
}


def code(value: str = REMOVED, scheme: str = "99REMOVED", meaning: str = "removed") -> Dataset:
    """An item of a code sequence; without arguments, one that says nothing."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning[:64]
    return item
