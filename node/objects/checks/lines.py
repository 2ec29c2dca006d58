"""The lines that a report draws: on an image of the run, inside of it, on the segment, and as long as it says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.membership import inside

from ...study.facts import text
from .content import Item
from .together import Together

LONG_AXIS = "103339001"
#: a length is given in tenths
LENGTH_TOLERANCE = 0.051
#: of a pixel: coordinates are single precision
ON_EDGE = 0.01


def line_faults(rows: list[Item], n: int, lesion: int, together: Together) -> Iterator[str]:
    """Faults in the axes of one group.

    Args:
        rows: long and short axis.
        n: of the segment in the card, from 0.
        lesion: its number; 0 where the group is of the whole segment.
    """
    measured = together.run.measured[n]
    of = measured.lesions[lesion - 1] if lesion else measured
    for row in rows:
        line = of.long_axis if row.code == LONG_AXIS else of.short_axis
        drawn = [child for child in row.children if child.value_type == "SCOORD"]
        if len(drawn) != 1 or line is None:
            yield f"{row.code} has {len(drawn)} lines to be drawn, not one"
            continue
        yield from (f"{row.code}: {fault}" for fault in _drawn(row, drawn[0], n, together))


def _drawn(row: Item, drawn: Item, n: int, together: Together) -> Iterator[str]:
    run = together.run
    images = [one for child in drawn.children for one in child.ds.get("ReferencedSOPSequence") or ()]
    slices = [together.slice_of(one) for one in images]
    if len(slices) != 1 or slices[0] is None:
        yield "its line is not drawn on an image of the run"
        return
    data = np.array(drawn.ds.get("GraphicData"), np.float64)
    if text(drawn.ds, "GraphicType") != "POLYLINE" or data.shape != (4,):
        yield "its line is not a POLYLINE of two points"
        return
    ends, (_, rows, columns) = data.reshape(2, 2), run.volume.geometry.shape
    if not ((ends >= 0) & (ends <= (columns, rows))).all():
        yield "its line reaches beyond the image"
        return
    mask = inside(run.labels[slices[0]], run.provenance.card.segment[n].values)
    if not all(_touches(mask, end) for end in ends):
        yield "its line does not end on the segment"
    yield from _length(row, ends, together)


def _touches(mask: NDArray[np.bool_], end: NDArray[np.float64]) -> bool:
    """Whether a point (column, row), counted from the outer corner of the first pixel, lies on a pixel or its edge."""
    low, high = np.floor(end - ON_EDGE).astype(int), np.floor(end + ON_EDGE).astype(int)
    part = mask[max(low[1], 0) : high[1] + 1, max(low[0], 0) : high[0] + 1]
    return bool(part.any())


def _length(row: Item, ends: NDArray[np.float64], together: Together) -> Iterator[str]:
    """Between the ends; on images that lie nowhere in mm only where PixelSpacing says how large a pixel is."""
    geometry = together.run.volume.geometry
    measured = row.ds.MeasuredValueSequence[0]
    unit = text(measured.MeasurementUnitsCodeSequence[0], "CodeValue")
    across, down = ends[1] - ends[0]
    if unit == "mm" and not geometry.is_calibrated:
        return  # by ultrasound regions or at the detector: `measurements.calibration` knows
    step = np.array([across, down])
    length = np.linalg.norm(geometry.affine[:3, :2] @ step) if unit == "mm" else np.linalg.norm(step)
    if abs(float(measured.NumericValue) - float(length)) > LENGTH_TOLERANCE:
        yield f"it is said to be {measured.NumericValue} {unit} long, its line is {length:.1f}"
