"""The body of an answer to QIDO-RS: what a stranger's JSON holds (PS3.18 F.2)."""

from __future__ import annotations

import json
from typing import Any

from pydicom.dataset import Dataset

from ..study.facts import UNREADABLE


def listed(body: bytes) -> list[Any]:
    """The matches, none of them looked at; no body at all is none.

    Raises:
        ValueError: it is no JSON, or nested deeper than any answer is.
    """
    try:
        said = json.loads(body or b"[]")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return said if isinstance(said, list) else [said]


def data_set(match: Any) -> Dataset | None:
    """One match; None where it is no data set."""
    try:
        return Dataset.from_json(match)
    except UNREADABLE:
        return None
