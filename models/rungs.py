"""The rungs of the ladder that a network climbs down when the memory of its device is full, and what each costs."""

from __future__ import annotations

from enum import StrEnum


class Rung(StrEnum):
    """From the fastest to the one that needs least of the device."""

    PLAIN = "plain"
    HALF = "half"
    SLABS = "slabs"
    STITCHED = "stitched-on-cpu"
    CPU = "cpu"

    @property
    def remark(self) -> str:
        """What is written beside an attempt; empty for the usual way."""
        return f"little memory, {REMARKS[self]}" if self in REMARKS else ""


SAME = "the label map is the usual one"
NEARLY = "the label map may differ from the usual one in voxels where two classes are equally likely"

REMARKS = {
    Rung.HALF: f"half-precision accumulators: {NEARLY}",
    Rung.SLABS: f"stitched in slabs: {SAME}",
    Rung.STITCHED: f"one window at a time, stitched on the CPU: {NEARLY}",
    Rung.CPU: f"all on the CPU: {NEARLY}",
}


def rungs(device: str, *, windows: bool, softmax: bool) -> tuple[Rung, ...]:
    """Those that there are.

    Args:
        device: where the network runs.
        windows: whether it runs over windows, which are stitched.
        softmax: whether the bundle's ending is taken over from softmax on: half-precision logits go only there.
    """
    found = [Rung.PLAIN]
    if windows and softmax:
        found.append(Rung.HALF)
    if not device.startswith("cpu"):
        found += [Rung.SLABS, Rung.STITCHED] if windows else []
        found.append(Rung.CPU)
    return tuple(found)
