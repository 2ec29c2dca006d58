"""What a detector or a classifier has found: TID 1500 with a TID 1501 group for each box, or for each finding.

A finding that is not there has a group of its own, with the evaluation Absent and no Finding (121071): so a reader
that lists findings never lists it, and one that looks for it sees that it was looked for.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from models.finding_rules import Finding

from ...measurements.findings import Detected, Findings, Judged, name_of
from ..identity import FINDINGS_SERIES_NUMBER
from ..run import Run
from . import codes, groups, items
from .codes import Code
from .document import document

NO_BOX = "Nothing was found: no box of it reaches a score of {:.2f} %."


def report(run: Run, found: Findings, options: str, *, marked: bool = False) -> Dataset:
    """Write the report.

    Args:
        options: of the result: it decides the UIDs.
        marked: a person should look at this result before trusting it.
    """
    made = [
        *(_box(run, one) for one in found.boxes),
        *(_absent(run, one) for one in found.absent),
        *(_judged(run, one) for one in found.judged),
    ]
    return document(run, None, options, made, what="SR findings", series_number=FINDINGS_SERIES_NUMBER, marked=marked)


def _box(run: Run, one: Detected) -> bytes:
    """Score, sizes, and the rectangle on the slice of its centre. Its depth refers to the outer slices that it meets.

    The score is how sure the network is, on its own scale; the Standard has Certainty of Finding for that.
    """
    tracking = run.provenance.finding_uid(one.finding, one.number)
    drawn = items.polyline(codes.SOURCE, one.outline, _image(run, one.slice, items.SELECTED_FROM))
    ends = [_image(run, k, items.INFERRED_FROM) for k in dict.fromkeys(one.slices)]
    width, height, depth = one.size_mm
    x, y, z = (groups.rounded(part, 1) for part in one.centre_mm)
    return items.container(
        codes.MEASUREMENT_GROUP,
        [
            *groups.subject(name_of(one), tracking, one.finding),
            *groups.algorithm(run.provenance),
            _percent(codes.CERTAINTY, one.score),
            _length(codes.WIDTH, width, [drawn]),
            _length(codes.HEIGHT, height, [drawn]),
            _length(codes.DEPTH, depth, ends),
            items.text(codes.COMMENT, f"Centre at ({x}, {y}, {z}) mm in patient coordinates (left, posterior, head)."),
        ],
        "1501",
    )


def _absent(run: Run, one: Finding) -> bytes:
    assert run.provenance.card.boxes is not None
    said = NO_BOX.format(100 * run.provenance.card.boxes.score_threshold)
    return _evaluated(run, one, codes.ABSENT, [items.text(codes.COMMENT, said)])


def _judged(run: Run, one: Judged) -> bytes:
    shown = [] if one.slice is None else [_image(run, one.slice, items.INFERRED_FROM)]
    probability = _percent(codes.PROBABILITY, one.probability, shown)
    return _evaluated(run, one.finding, codes.PRESENT if one.present else codes.ABSENT, [probability])


def _evaluated(run: Run, one: Finding, value: Code, more: list[bytes]) -> bytes:
    """A group of a finding as a whole: its name, and whether it is there."""
    found = value == codes.PRESENT
    children = [
        *groups.subject(one.label, run.provenance.finding_uid(one), one, found=found),
        *groups.algorithm(run.provenance),
        *more,
        items.code(one.type, value),
    ]
    return items.container(codes.MEASUREMENT_GROUP, children, "1501")


def _percent(name: Code, part: float, children: list[bytes] | None = None) -> bytes:
    return items.number(name, groups.rounded(100 * part, 2), codes.PERCENT, children or [])


def _length(name: Code, length_mm: float, children: list[bytes]) -> bytes:
    return items.number(name, groups.rounded(length_mm, 1), codes.MILLIMETRE, children)


def _image(run: Run, k: int, relationship: str) -> bytes:
    source, frame = run.sources[k], run.volume.frames[k]
    return items.image(codes.SOURCE, source.SOPClassUID, source.SOPInstanceUID, frame=frame, relationship=relationship)
