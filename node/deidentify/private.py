"""Private elements that are safe (PS3.15 E.3.10): numbers of known blocks, and nothing that could hold a word.

Of table E.3.10-1 those rows whose values are numbers or few defined letters and that make images usable elsewhere.
"""

from __future__ import annotations

import re
from typing import Any

#: private creator -> (group, element in its block) -> VR
SAFE: dict[str, dict[tuple[int, int], str]] = {
    "Philips PET Private Group": {(0x7053, 0x00): "DS", (0x7053, 0x09): "DS"},
    "ELSCINT1": {
        (0x00E1, 0x21): "DS",
        (0x01E1, 0x50): "DS",
        (0x01F1, 0x07): "DS",
        (0x01F1, 0x26): "DS",
        (0x01F1, 0x27): "DS",
    },
    "GEMS_ACQU_01": {(0x0019, 0x23): "DS", (0x0019, 0x24): "DS", (0x0019, 0x27): "DS"},
    "GEMS_PARM_01": {(0x0043, 0x27): "SH", (0x0043, 0x39): "IS", (0x0043, 0x6F): "DS"},
    "GEMS_HELIOS_01": {(0x0045, 0x01): "SS", (0x0045, 0x02): "FL"},
    "GEMS_SERS_01": {(0x0025, 0x07): "SL"},
    "Philips Imaging DD 001": {(0x2001, 0x03): "FL", (0x2001, 0x04): "CS"},
    "SIEMENS MR HEADER": {
        (0x0019, 0x0C): "IS",
        (0x0019, 0x0D): "CS",
        (0x0019, 0x0E): "FD",
        (0x0019, 0x27): "FD",
    },
}
BINARY = {"SS": int, "SL": int, "FL": float, "FD": float}
NUMBER = re.compile(r"[-+0-9.eE: n]{0,20}")
#: defined terms of diffusion: NONE, DIRECTIONAL, ISOTROPIC; P, R, S, M, O, I
TERM = re.compile(r"NONE|DIRECTIONAL|ISOTROPIC|[A-Z]?")


def is_safe(creator: str, group: int, element: int, vr: str, values: list[Any]) -> bool:
    """Whether a private element may be kept: of a known block, of the VR that it must have, and with such values."""
    known = SAFE.get(creator.strip(), {}).get((group, element & 0xFF))
    if known is None or known != vr:
        return False
    if kind := BINARY.get(vr):
        return all(isinstance(value, kind) for value in values)
    rule = TERM if vr == "CS" else NUMBER
    return all(rule.fullmatch(str(value).strip(" \0")) for value in values)
