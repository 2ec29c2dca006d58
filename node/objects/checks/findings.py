"""The groups of a report on boxes or findings, compared with the run; boxes are put back by the images' own headers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.card import Segment
from models.finding_rules import Finding

from ...measurements.findings import Detected, Findings, Judged
from .content import Item
from .numbers import stated_values, unit_of
from .together import Together

TRACKING, TRACKED = "112040", "112039"
CATEGORY, FINDING, SITE, LATERALITY = "276214006", "121071", "363698007", "272741003"
CERTAINTY, PROBABILITY, WIDTH, HEIGHT, DEPTH = "111012", "122157", "103355008", "121207", "131197000"
PRESENT, ABSENT = "52101004", "272519000"
UNITS = {CERTAINTY: "%", PROBABILITY: "%", WIDTH: "mm", HEIGHT: "mm", DEPTH: "mm"}
#: a score is given in hundredths of a per cent, a length in tenths of a millimetre
SCORE_TOLERANCE, LENGTH_TOLERANCE = 0.0051, 0.051
#: drawn points are single precision
DRAWN_TOLERANCE = 1e-3
#: of the centre of a box, by the headers of its image and by the grid: slices may lie beside their line by this
PLACE_TOLERANCE_MM = 0.5
CORNERS = 5


def faults(groups: Sequence[Item], found: Findings, together: Together) -> Iterator[str]:
    """Whether there is a group for each box, or for each finding, in their order, and each says what is true."""
    provenance = together.run.provenance
    meant: list[tuple[str, Detected | Judged | Finding]] = [
        *((provenance.finding_uid(one.finding, one.number), one) for one in found.boxes),
        *((provenance.finding_uid(one), one) for one in found.absent),
        *((provenance.finding_uid(one.finding), one) for one in found.judged),
    ]
    if [item.text for group in groups for item in group.named(TRACKING)] != [uid for uid, _ in meant]:
        yield "its groups are not what was found, in its order, by tracking UID (112040)"
        return
    for number, (group, (_, one)) in enumerate(zip(groups, meant, strict=True), 1):
        name = f"group {number}"
        yield from (f"{name}: {fault}" for fault in _group(group, one, together))


def _group(group: Item, one: Detected | Judged | Finding, together: Together) -> Iterator[str]:
    template = (group.ds.get("ContentTemplateSequence") or [None])[0]
    if template is None or template.get("TemplateIdentifier") != "1501":
        yield "it is not said to follow TID 1501"
    if not any(item.text for item in group.named(TRACKED)):
        yield "it has no tracking identifier"
    for code, unit in UNITS.items():
        if any(unit_of(item) != unit for item in group.named(code)):
            yield f"{code} is not given in {unit!r}"
    if isinstance(one, Detected):
        yield from finding_faults(group, one.finding)
        yield from _box(group, one, together)
        return
    finding = one if isinstance(one, Finding) else one.finding
    present = isinstance(one, Judged) and one.present
    yield from finding_faults(group, finding, found=present)
    if [item.value[0] for item in group.named(finding.type[0])] != [PRESENT if present else ABSENT]:
        yield "it does not say rightly whether the finding is there"
    if isinstance(one, Judged):
        yield from _number(group, PROBABILITY, 100 * one.probability, SCORE_TOLERANCE)


def finding_faults(group: Item, what: Segment | Finding, *, found: bool = True) -> Iterator[str]:
    """Whether a group names what the card does.

    Args:
        found: what is not there is no finding, and has no category.
    """
    sides = [side for site in group.named(SITE) for side in site.named(LATERALITY)]
    for name, items, code in (
        ("category", group.named(CATEGORY), what.category if found else None),
        ("finding", group.named(FINDING), what.type if found else None),
        ("laterality", sides, what.laterality),
    ):
        if [item.value for item in items] != ([] if code is None else [tuple(code)]):
            yield f"its {name} is not that of the card"


def _number(group: Item, code: str, wanted: float, tolerance: float) -> Iterator[str]:
    rows = [stated_values(item) for item in group.named(code)]
    if len(rows) != 1 or len(rows[0]) != 1 or abs(float(rows[0][0]) - wanted) > tolerance:
        yield f"{code} is not what was measured"


def _box(group: Item, one: Detected, together: Together) -> Iterator[str]:
    yield from _number(group, CERTAINTY, 100 * one.score, SCORE_TOLERANCE)
    for code, length_mm in zip((WIDTH, HEIGHT, DEPTH), one.size_mm, strict=True):
        yield from _number(group, code, length_mm, LENGTH_TOLERANCE)
    for code in (WIDTH, HEIGHT):
        drawn = [item for row in group.named(code) for item in row.children if item.value_type == "SCOORD"]
        if len(drawn) != 1:
            yield f"{code} is not drawn, or drawn more than once"
            continue
        yield from _drawn(drawn[0], one, together)
    ends = [item for row in group.named(DEPTH) for item in row.children if item.value_type == "IMAGE"]
    if [_slice(item, together) for item in ends] != list(dict.fromkeys(one.slices)):
        yield "its depth does not refer to the outer slices that it meets"


def _drawn(item: Item, one: Detected, together: Together) -> Iterator[str]:
    """The rectangle on the image that it is drawn on: its sizes and its middle, by the header of that image."""
    points = np.array([float(part) for part in item.ds.get("GraphicData") or ()]).reshape(-1, 2)
    k = next((_slice(image, together) for image in item.children), None)
    if k is None or str(item.ds.get("GraphicType")) != "POLYLINE" or len(points) != CORNERS:
        yield "its rectangle is not a closed line on an image of the run"
        return
    if k != one.slice or np.abs(points - np.array(one.outline)).max() > DRAWN_TOLERANCE:
        yield "its rectangle is not drawn where the box is"
    if not together.run.volume.geometry.in_patient:
        return
    centre_mm = _in_patient((points[:4].mean(0)), k, together)
    normal = _normal(k, together)
    away = np.array(one.centre_mm) - centre_mm
    half_mm = together.run.volume.geometry.slice_step_mm / 2
    if abs(away @ normal) > half_mm + PLACE_TOLERANCE_MM:
        yield "its rectangle lies in another slice than the middle of the box"
    beside = away - (away @ normal) * normal
    if np.linalg.norm(beside) > PLACE_TOLERANCE_MM + _shear_mm(together):
        yield "its rectangle lies beside the middle of the box, by the header of its image"


def _in_patient(point: NDArray[np.float64], k: int, together: Together) -> NDArray[np.float64]:
    """A point of an image in the patient, by the image's own header (PS3.3 C.7.6.2.1.1)."""
    header = together.run.volume.headers[k]
    row, column, position = _placed(k, together)
    between_rows, between_columns = (float(part) for part in header.PixelSpacing)
    return np.asarray(position + (point[0] - 0.5) * between_columns * row + (point[1] - 0.5) * between_rows * column)


def _placed(k: int, together: Together) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    header = together.run.volume.headers[k]
    cosines = np.array([float(part) for part in header.ImageOrientationPatient])
    return cosines[:3], cosines[3:], np.array([float(part) for part in header.ImagePositionPatient])


def _normal(k: int, together: Together) -> NDArray[np.float64]:
    row, column, _ = _placed(k, together)
    return np.asarray(np.cross(row, column))


def _shear_mm(together: Together) -> float:
    """How far the next slice lies beside this one, for a gantry that is tilted; half of it, as the middle may be."""
    step = together.run.volume.geometry.affine[:3, 2]
    beside = float(step @ step) - together.run.volume.geometry.slice_step_mm**2
    return math.sqrt(max(0.0, beside)) / 2


def _slice(item: Item, together: Together) -> int | None:
    """The slice of an IMAGE item."""
    references = list(item.ds.get("ReferencedSOPSequence") or ())
    return together.slice_of(references[0]) if len(references) == 1 else None
