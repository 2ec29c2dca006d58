"""What pictures and documents say of a result, in the same words."""

from __future__ import annotations

from models.card import Segment

from ...measurements.values import Change, Measured, PixelSize, Verdict
from ..identity import Provenance

RESEARCH = "Research use. Not a medical device."
NOTHING_FOUND = "Nothing was found."
NONE = "—"


def number(value: float | None, digits: int = 1) -> str:
    """With thousands apart; a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def millilitres(value: float | None) -> str:
    """Small volumes more exactly."""
    return number(value, 2 if value is not None and value < 10 else 1)


def unit(size: PixelSize) -> str:
    """Of a length."""
    return {PixelSize.PATIENT: "mm", PixelSize.DETECTOR: "mm at the detector", PixelSize.UNKNOWN: "pixels"}[size]


def size(one: Measured) -> str:
    """How much there is of a segment: volume, else area."""
    if one.volume_ml is not None:
        return f"{millilitres(one.volume_ml)} ml"
    if one.area_mm2 is not None:
        where = " at the detector" if one.pixel_size is PixelSize.DETECTOR else ""
        return f"{number(one.area_mm2)} mm²{where}"
    return f"{number(one.pixels, 0)} pixels"


def axes(one: Measured) -> str:
    """Its diameters; empty where it has none."""
    pairs = (("long axis", one.long_axis), ("short axis", one.short_axis))
    return ", ".join(f"{name} {number(line.length)} {unit(one.pixel_size)}" for name, line in pairs if line is not None)


def meaning(segment: Segment) -> str:
    """What a segment is by its codes: for a label that cannot be drawn."""
    parts = [segment.type[2], *([segment.laterality[2]] if segment.laterality else [])]
    return f"{', '.join(parts)} (segment {segment.value})"


def network(provenance: Provenance) -> str:
    """Title and version."""
    return f"{provenance.card.title} {provenance.card.version}"


def network_by_name(provenance: Provenance) -> str:
    """The same in plain letters."""
    return f"{provenance.card.name} {provenance.card.version}"


def day(date: str) -> str:
    """A DICOM date as ISO 8601 has it; a dash where there is none."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else date or NONE


def difference(change: Change) -> str:
    """What is said of a segment, and how much it has changed where that may be called a change."""
    if change.prior is None or change.verdict not in (Verdict.LARGER, Verdict.SMALLER):
        return str(change.verdict)
    by = change.now - change.prior
    part = f", {by / change.prior * 100:+.0f} %" if change.prior else ""
    return f"{change.verdict} ({by:+.1f}{part})".replace("-", "\u2212")
