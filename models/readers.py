"""What a bundle asks of its image reader that decides how the image lies in memory.

MONAI's readers put columns first and rows second, (x, y, z), and turn DICOM's and ITK's LPS into RAS, unless they are
told not to (monai.data.image_reader, 1.6). PILReader swaps the axes of a picture for that.
"""

from __future__ import annotations

import re
from typing import Any

#: argument of a reader -> the value with which the last axis of the file comes first
ROWS_FIRST = {"reverse_indexing": {"PILReader": False, "ITKReader": True}, "swap_ij": {"PydicomReader": False}}
#: what reads pictures where a bundle names nobody
PICTURES = "PILReader"


def rows_first(node: dict[str, Any]) -> bool:
    """Whether the reader of a LoadImage gives (rows, columns) instead of (columns, rows)."""
    reader, said = _reader(node)
    for argument, of_reader in ROWS_FIRST.items():
        if argument in said and reader in of_reader:
            return said[argument] is of_reader[reader]
    return said.get("index_order") == "C"


def left_as_lps(node: dict[str, Any]) -> bool:
    """Whether the reader leaves positions in LPS: what is turned by them is turned another way than anywhere else."""
    return _reader(node)[1].get("affine_lps_to_ras") is False


def _reader(node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of the reader, and what it is told; by LoadImage, or where it is made."""
    reader = node.get("reader")
    said = {name: value for name, value in node.items() if name not in ("reader", "_target_")}
    if isinstance(reader, dict):
        return str(reader.get("_target_", "")).rsplit(".", 1)[-1], {**said, **reader}
    if not isinstance(reader, str):
        return PICTURES, said
    named = re.search(r"\w*Reader\b", reader)
    for name, value in re.findall(r"(\w+)\s*=\s*(True|False|'\w'|\"\w\")", reader):
        said[name] = {"True": True, "False": False}.get(value, value[1:-1])
    return named[0] if named else PICTURES, said
