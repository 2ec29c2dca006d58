"""A result against the prior one of the same patient: what changed by more than the two scans could show.

A mask knows a surface only to the next voxel, so one body imaged twice gives two values. What two scans may differ by
for that reason alone is their resolution, and nothing below it is called a change. It says nothing of how a network or
a breath may vary: a change above it is one of the mask, and not yet one of the patient.

Volume. To count slices is to integrate the area of the cross-sections by the midpoint rule, with the step t. That is
wrong by at most t/2 times the total variation of the area (Koksma's inequality): for a body whose area rises and falls
once, twice its largest cross-section A. So the error along the slices is at most t A: half a slice at each end. The
same holds along rows and columns, with a pixel for t, and for A the body's shadow in that direction. That is the worst
case, flat ends across the axis. The errors of the directions and of both scans are independent: added in quadrature.

Of a result only measurements are kept, so the shadows come from those. By Cauchy's formula the mean shadow is a quarter
of the surface S, for all parts together: their errors are independent of one another, at most t A each, in quadrature
t sqrt(A S/4). In the plane the shadow is sqrt(S^2 - (2 A)^2) / pi, from what of the surface does not face the slices.
Slices that are thicker than the step between them count with their thickness. Of both scans' A and S the larger count
for both: that they show one body is what has to be refuted.

Long axis. Each end is known to half a pixel's diagonal. Slices miss the widest place by up to t/2; there an ellipsoid
of half the height c = 3 V / 4 A has lost 1 - sqrt(1 - (t/2c)^2) of its width. Bodies with edges lose more, so t stands
for t/2. Where a segment has several parts, its long axis may pass over from one to another, and jumps with the slices:
in a volume it is compared for single ones only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..study.geometry import Geometry
from .values import Change, Measured, PixelSize, Verdict

Record = dict[str, float | int | None]
Stored = Mapping[str, float | int | None]


def record(measured: Measured, geometry: Geometry, slice_thickness_mm: float | None = None) -> Record:
    """What is kept of a segment to compare it later: plain JSON values.

    Lengths at a detector and lengths in pixels are not kept: nobody knows what they are in another image.

    Args:
        geometry: of the volume or the images.
        slice_thickness_mm: SliceThickness, where the images have it.
    """
    in_patient = geometry.in_patient
    comparable = measured.pixel_size is PixelSize.PATIENT and (measured.components == 1 or not in_patient)
    pixel_mm = float(np.linalg.norm(geometry.affine[:3, :2]))
    if not in_patient and measured.area_mm2 is not None and measured.pixels:
        pixel_mm = math.sqrt(2 * measured.area_mm2 / measured.pixels)  # it may be calibrated by regions of the image
    return {
        "value": measured.value,
        "volume_ml": measured.volume_ml,
        "long_axis_mm": measured.long_axis.length if measured.long_axis and comparable else None,
        "area_mm2": measured.area_mm2 or 0.0,
        "surface_mm2": measured.surface_mm2 or 0.0,
        "pixel_mm": pixel_mm,
        "slice_mm": max(geometry.slice_step_mm, slice_thickness_mm or 0.0) if in_patient else 0.0,
    }


def changes(
    now: Sequence[Stored], prior: Sequence[Stored] | None, *, prior_study_uid: str, prior_date: str, other_version: bool
) -> tuple[Change, ...]:
    """The segments of one result against those of a prior one, both as `record` makes them.

    Values are compared as they are printed: to 0.01 ml and 0.1 mm. What the prior does not have is left out; so is the
    long axis where either of them is empty.

    Args:
        prior: None where nothing is known of it.
        other_version: the prior is of another model version: every value of now is listed, and none is compared.
    """
    before = {} if other_version else {one["value"]: one for one in prior or ()}
    found = []
    for one in now:
        other = before.get(one["value"])
        for quantity, (key, digits, resolution) in QUANTITIES.items():
            value, then = one[key], other[key] if other else None
            if value is None or (then is None and not other_version):
                continue
            value, least, verdict = round(float(value), digits), 0.0, Verdict.OTHER_VERSION
            if then is not None and other is not None:
                then = round(float(then), digits)
                least = _rounded_up(resolution(one, other), digits)
                verdict = _verdict(round(value - then, digits), least)
            found.append(
                Change(
                    segment=int(one["value"] or 0),
                    quantity=quantity,
                    now=value,
                    prior=then,
                    least=least,
                    verdict=verdict,
                    prior_study_uid=prior_study_uid,
                    prior_date=prior_date,
                )
            )
    return tuple(found)


def volume_resolution_ml(one: Stored, other: Stored) -> float:
    """What the volumes of one body may differ by in two scans, because of their slices and pixels alone."""
    area = _larger(one, other, "area_mm2")
    surface = max(_larger(one, other, "surface_mm2"), 2 * area)
    along = math.sqrt(area * max(area, surface / 4))
    in_plane = math.sqrt(surface**2 - (2 * area) ** 2) / math.pi
    each = [math.hypot(along * _of(scan, "slice_mm"), in_plane * _of(scan, "pixel_mm")) for scan in (one, other)]
    return math.hypot(*each) / 1000


def long_axis_resolution_mm(one: Stored, other: Stored) -> float:
    """What the long axes of one body may differ by in two scans, because of their slices and pixels alone."""
    length = _larger(one, other, "long_axis_mm")
    half_height = min(_half_height_mm(scan) for scan in (one, other))
    each = []
    for scan in (one, other):
        missed = min(1.0, _of(scan, "slice_mm") / half_height) if half_height else 0.0
        each.append(math.hypot(_of(scan, "pixel_mm"), length * (1 - math.sqrt(1 - missed**2))))
    return math.hypot(*each)


def _half_height_mm(scan: Stored) -> float:
    """Of an ellipsoid with this volume and largest cross-section; 0 on images that are no volume."""
    area = _of(scan, "area_mm2")
    return 750 * _of(scan, "volume_ml") / area if area else 0.0


def _verdict(difference: float, least: float) -> Verdict:
    if abs(difference) < least:
        return Verdict.SAME
    return Verdict.LARGER if difference > 0 else Verdict.SMALLER


def _rounded_up(value: float, digits: int) -> float:
    """As it is printed, and never below what it is; at least one of the last digit."""
    step = 10**digits
    return max(1, math.ceil(round(value * step, 6))) / step


def _larger(one: Stored, other: Stored, key: str) -> float:
    return max(_of(one, key), _of(other, key))


def _of(scan: Stored, key: str) -> float:
    return float(scan[key] or 0)


#: quantity -> key of its value in a record, digits behind the point that reports print, what two scans may differ by
QUANTITIES: dict[str, tuple[str, int, Callable[[Stored, Stored], float]]] = {
    "volume": ("volume_ml", 2, volume_resolution_ml),
    "long axis": ("long_axis_mm", 1, long_axis_resolution_mm),
}
