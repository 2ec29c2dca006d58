"""What the inputs of several targets are made of."""

from __future__ import annotations

import struct

LENGTHS = [struct.pack(f"{order}L", one) for order in "<>" for one in (0, 1, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 31)]
#: item types of PS3.8 9.3.2 and PS3.7 D.3.3
ITEMS = [bytes((kind, 0)) for kind in (0x10, 0x20, 0x30, 0x40, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58)]
PDUS = [bytes((kind, 0)) for kind in range(1, 8)]
#: items and delimiters (PS3.5 7.5), the first bytes of some elements, and VRs
ELEMENTS = [
    *(struct.pack("<HH", 0xFFFE, element) for element in (0xE000, 0xE00D, 0xE0DD)),
    *(struct.pack(">HH", 0xFFFE, element) for element in (0xE000, 0xE00D, 0xE0DD)),
    struct.pack("<HH", 0x7FE0, 0x0010),
    struct.pack("<HH", 0x0008, 0x0018),
    struct.pack("<HH", 0x0018, 0xA001),
    *(b"OB OW OF SQ UN UT UI CS LO US UL DS AT".split()),
]


def in_dictionary(words: list[bytes]) -> str:
    """As libFuzzer's `-dict` wants them."""
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words if 1 < len(word) <= 60)
