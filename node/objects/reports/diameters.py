"""Long and short axis of the segments and of their lesions, with end points that can be drawn: TID 1500 with TID 1501
groups.

Coordinates are not allowed inside TID 1411, and validators report false errors where one report has groups of several
templates; so this is a report of its own, whose groups have the tracking UIDs of the segments.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from models.card import Segment

from ...measurements.values import Lesion, Line, Measured
from ..forms import DIAMETERS
from ..identity import DIAMETERS_SERIES_NUMBER
from ..run import Run, SegReference
from . import codes, groups, items
from .codes import Code
from .document import document


def report(run: Run, seg: SegReference, options: str = DIAMETERS, *, marked: bool = False) -> Dataset:
    """Write the report of diameters: a group for each segment, and behind it one for each of its lesions.

    Args:
        seg: the segmentation that was measured.
        options: of the result: it decides the UIDs.
        marked: a person should look at this result before trusting it.
    """
    made, number = measured_groups(run), DIAMETERS_SERIES_NUMBER
    return document(run, seg, options, made, what="SR diameters", series_number=number, marked=marked)


def measured_groups(run: Run) -> list[bytes]:
    """One for each segment of the card, in its order, and behind it one for each of its lesions."""
    made = []
    for segment, measured in zip(run.provenance.card.segment, run.measured, strict=True):
        made.append(_group(run, segment, measured))
        made += [_lesion(run, segment, measured, lesion) for lesion in measured.lesions]
    return made


def _group(run: Run, segment: Segment, measured: Measured) -> bytes:
    children = [
        *groups.head(run.provenance, segment),
        *_axes(run, measured, measured.long_axis, measured.short_axis),
        *groups.evaluations(run, measured, "long axis"),
    ]
    return items.container(codes.MEASUREMENT_GROUP, children, "1501")


def _lesion(run: Run, segment: Segment, measured: Measured, lesion: Lesion) -> bytes:
    children = groups.head(run.provenance, segment, lesion.number)
    if lesion.volume_ml is not None:
        children.append(groups.volume(lesion.volume_ml))
    elif lesion.area_mm2 is not None:
        children.append(groups.area(lesion.area_mm2, measured))
    else:
        children.append(items.number(codes.AREA, str(lesion.voxels), codes.PIXELS))
    children += _axes(run, measured, lesion.long_axis, lesion.short_axis)
    return items.container(codes.MEASUREMENT_GROUP, children, "1501")


def _axes(run: Run, measured: Measured, long_axis: Line | None, short_axis: Line | None) -> list[bytes]:
    both = ((codes.LONG_AXIS, long_axis), (codes.SHORT_AXIS, short_axis))
    return [_axis(run, measured, name, line) for name, line in both if line is not None]


def _axis(run: Run, measured: Measured, name: Code, line: Line) -> bytes:
    source, frame = run.sources[line.slice], run.volume.frames[line.slice]
    drawn_on = items.image(
        codes.SOURCE, source.SOPClassUID, source.SOPInstanceUID, frame=frame, relationship=items.SELECTED_FROM
    )
    drawn = items.polyline(codes.SOURCE, line.ends, drawn_on)
    unit = groups.length_unit(measured)
    return items.number(name, groups.rounded(line.length, 1), unit, [*groups.method(measured), drawn])
