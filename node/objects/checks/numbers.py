"""The numbers of a report, computed again from the voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import NDArray

from models import membership

from ...measurements.values import Measured
from ...study.facts import text
from ..forms import VOLUMES
from .content import Item
from .lines import line_faults
from .together import Together

VOLUME, AREA, LONG_AXIS, SHORT_AXIS = "118565006", "42798000", "103339001", "103340004"
DIAMETER_3D, SURFACE = "L0JK", "C0JK"
INTENSITIES = {"112031": "[hnsf'U]", "126401": "{SUVbw}g/ml", "110852": "1"}
DERIVATION = "121401"
MEAN, SD, LEAST, MOST = "373098007", "386136009", "255605001", "56851009"
#: derivation -> the part of the voxels that lies below
RANKS = {"373099004": 0.5, "371890005": 0.1, "371887004": 0.9}
#: quantity -> its units: in the patient, and where the size of a pixel is not known
UNITS = {
    VOLUME: ("ml",),
    AREA: ("mm2", "{pixels}"),
    LONG_AXIS: ("mm", "{pixels}"),
    SHORT_AXIS: ("mm", "{pixels}"),
    DIAMETER_3D: ("mm",),
    SURFACE: ("mm2",),
    **{code: (unit,) for code, unit in INTENSITIES.items()},
}
#: volumes and areas are given in hundredths
SIZE_TOLERANCE = 0.006
#: of sums in other orders
RELATIVE = 1e-5


def numbers(group: Item, n: int, lesion: int, base: str, together: Together) -> Iterator[str]:
    """Faults in the numbers of one group.

    Args:
        n: of the segment in the card, from 0.
        lesion: its number; 0 where the group is of the whole segment.
        base: which report it is in.
    """
    rows = [child for child in group.children if child.value_type == "NUM"]
    for row in rows:
        if not stated_values(row):
            yield f"{row.code} is not a number"
        elif row.code in UNITS and unit_of(row) not in UNITS[row.code]:
            yield f"{row.code} is given in {unit_of(row)!r}"
    rows = [row for row in rows if stated_values(row)]
    found = sorted(row.code for row in rows if row.code in (VOLUME, AREA, LONG_AXIS, SHORT_AXIS))
    if found != sorted(_expected(n, lesion, base, together)):
        yield "it has not the sizes and axes that it should have, each once"
    derived = {item.value[0] for row in rows for item in row.named(DERIVATION)}
    has_mean = together.run.measured[n].intensity is not None and bool(together.run.volume.quantity)
    if base == VOLUMES and has_mean and MEAN not in derived:
        yield "it does not give the mean of the intensities"
    yield from _sizes(rows, n, lesion, together)
    yield from _intensities([row for row in rows if row.code in INTENSITIES], n, together)
    yield from line_faults([row for row in rows if row.code in (LONG_AXIS, SHORT_AXIS)], n, lesion, together)


def _expected(n: int, lesion: int, base: str, together: Together) -> list[str]:
    """The size of a segment in one report, its axes in the other; both of a lesion."""
    measured = together.run.measured[n]
    of = measured.lesions[lesion - 1] if lesion else measured
    size = [VOLUME if together.run.volume.geometry.in_patient else AREA]
    if base == VOLUMES:
        return size
    axes = [code for code, line in ((LONG_AXIS, of.long_axis), (SHORT_AXIS, of.short_axis)) if line is not None]
    return [*(size if lesion else []), *axes]


def unit_of(row: Item) -> str:
    """The code of a NUM item's unit."""
    return next((text(unit, "CodeValue") for unit in row.ds.MeasuredValueSequence[0].MeasurementUnitsCodeSequence), "")


def stated_values(row: Item) -> list[float]:
    """What a NUM item states: as text, and where it is there as a floating point number; none where it states none."""
    values = []
    for measured in row.ds.get("MeasuredValueSequence") or ():
        if not measured.get("MeasurementUnitsCodeSequence"):
            return []
        stated = (measured.get(keyword) for keyword in ("NumericValue", "FloatingPointValue"))
        values += [float(value) for value in stated if value is not None]
    return values if np.isfinite(values).all() else []


def differs(row: Item, right: float | None, most: float = np.inf) -> bool:
    """Whether a NUM item states another value, beyond the rounding of its last digit, or more than `most` beside it."""
    if right is None:
        return True
    try:
        exponent = Decimal(text(row.ds.MeasuredValueSequence[0], "NumericValue")).as_tuple().exponent
    except InvalidOperation:
        return True
    rounding = 0.51 * 10.0 ** int(exponent)
    return any(abs(value - right) > min(rounding, most) + RELATIVE * abs(right) for value in stated_values(row))


def _sizes(rows: list[Item], n: int, lesion: int, together: Together) -> Iterator[str]:
    run, geometry = together.run, together.run.volume.geometry
    measured, counts = run.measured[n], together.pixels(run.provenance.card.segment[n])
    sized = [row for row in rows if row.code in (VOLUME, AREA)]
    if lesion:
        one = measured.lesions[lesion - 1]
        for row in sized:
            right = {"ml": one.volume_ml, "mm2": one.area_mm2}.get(unit_of(row), float(one.voxels))
            if differs(row, right, SIZE_TOLERANCE):
                yield "the size is not that which was measured"
        return
    for row in sized:
        right = _size(row, counts, measured, geometry.voxel_ml if geometry.in_patient else None)
        if differs(row, right, SIZE_TOLERANCE):
            yield f"the report gives {stated_values(row)[0]:g} {unit_of(row)}, the voxels are {right or 0:.2f}"
    for code, right in ((DIAMETER_3D, measured.diameter_3d_mm), (SURFACE, measured.surface_mm2)):
        if any(differs(row, right) for row in rows if row.code == code):
            yield f"{code} is not what was measured"


def _size(row: Item, counts: NDArray[np.int64], measured: Measured, voxel_ml: float | None) -> float | None:
    """What the voxels make of a volume or an area."""
    if row.code == VOLUME:
        return None if voxel_ml is None else float(counts.sum()) * voxel_ml
    pixels = float(counts.max(initial=0))
    if unit_of(row) == "{pixels}":
        return pixels
    return None if measured.area_mm2 is None or pixels != measured.pixels else measured.area_mm2


def _intensities(rows: list[Item], n: int, together: Together) -> Iterator[str]:
    if not rows:
        return
    values = inside(n, together)
    if values is None:
        yield "it gives intensities where there are none"
        return
    for row in rows:
        derivation = next((item.value[0] for item in row.named(DERIVATION)), "")
        if derivation in RANKS:
            if not _is_rank(row, values, RANKS[derivation]):
                yield f"a percentile of the intensities ({derivation}) is not that of the voxels"
        elif derivation not in STATISTICS or differs(row, float(STATISTICS[derivation](values))):
            yield f"a statistic of the intensities ({derivation or 'without derivation'}) is not that of the voxels"


STATISTICS: dict[str, Callable[[NDArray[np.float32]], float]] = {
    MEAN: lambda values: values.mean(dtype=np.float64),
    SD: lambda values: values.std(dtype=np.float64),
    LEAST: lambda values: values.min(),
    MOST: lambda values: values.max(),
}


def _is_rank(row: Item, values: NDArray[np.float32], part: float) -> bool:
    """Whether so large a part of the values lies below, whatever lies between two neighbours."""
    exponent = Decimal(text(row.ds.MeasuredValueSequence[0], "NumericValue")).as_tuple().exponent
    stated = stated_values(row)[0]
    off = 0.51 * 10.0 ** int(exponent) + RELATIVE * abs(stated)
    at = part * (len(values) - 1)
    return bool((values < stated - off).sum() <= at + 1 and (values <= stated + off).sum() >= at)


def inside(n: int, together: Together) -> NDArray[np.float32] | None:
    """The modality values inside a segment; None where there are none, or in colour."""
    run = together.run
    segment, values = run.provenance.card.segment[n], run.volume.values.array
    slices = np.flatnonzero(together.pixels(segment))
    if values.ndim != run.labels.ndim or not len(slices):
        return None
    return np.concatenate([values[k][membership.inside(run.labels[k], segment.values)] for k in slices])
