"""What the groups of both reports have in common: whose they are, how sure they are, what changed."""

from __future__ import annotations

import math
import re

from models.card import Segment
from models.finding_rules import Finding

from ...errors import Failed
from ...measurements.values import Change, Measured, PixelSize, Verdict
from ..identity import Provenance
from ..run import Run
from . import codes, items
from .codes import Code
from .items import HAS_CONCEPT_MOD, HAS_OBS_CONTEXT

NOTHING_FOUND = "Nothing was found: no voxel belongs to this segment."
DETECTOR_COMMENT = (
    "Sizes are those at the detector plane: magnification is not corrected, the structure itself is smaller."
)
DATE = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
#: behind the point; more would not fit into a decimal string (PS3.5 6.2, DS: 16 characters)
MOST_DIGITS = 9
#: of a Change: unit, and digits behind the point
QUANTITIES: dict[str, tuple[str, int]] = {"volume": ("ml", 2), "long axis": ("mm", 1)}


def rounded(value: float, digits: int) -> str:
    """A decimal string with as many digits behind the point; never a negative zero.

    Raises:
        Failed: `not-a-number`.
    """
    if not math.isfinite(value):
        raise Failed("not-a-number", f"{value} cannot stand in a report")
    return f"{round(value, digits) + 0.0:.{digits}f}"


def significant(value: float, digits: int) -> str:
    """A decimal string with so many digits that say something, and all that stand before the point.

    Raises:
        Failed: `not-a-number`.
    """
    before = math.floor(math.log10(abs(value))) + 1 if value and math.isfinite(value) else 1
    return rounded(value, min(max(digits - before, 0), MOST_DIGITS))


def head(provenance: Provenance, segment: Segment, lesion: int = 0) -> list[bytes]:
    """What is measured, and by what: a segment, or one lesion of it."""
    tracked = f"Lesion {lesion} of {segment.label}" if lesion else segment.label
    return [*subject(tracked, provenance.tracking_uid(segment, lesion), segment), *algorithm(provenance)]


def subject(tracked: str, tracking_uid: str, what: Segment | Finding, *, found: bool = True) -> list[bytes]:
    """What a group is about (TID 1501 rows 2 to 6).

    Args:
        found: whether it is there: what is not there is no Finding.
    """
    kind = [items.code(codes.FINDING_CATEGORY, what.category), items.code(codes.FINDING, what.type)]
    return [
        items.text(codes.TRACKING_IDENTIFIER, tracked, HAS_OBS_CONTEXT),
        items.uid(codes.TRACKING_UID, tracking_uid, HAS_OBS_CONTEXT),
        *(kind if found else []),
        *_site(what),
    ]


def algorithm(provenance: Provenance) -> list[bytes]:
    """By what it was found (TID 4019)."""
    card = provenance.card
    return [
        items.text(codes.ALGORITHM_NAME, provenance.algorithm_name, HAS_CONCEPT_MOD),
        items.text(codes.ALGORITHM_VERSION, card.version, HAS_CONCEPT_MOD),
        items.text(codes.ALGORITHM_MANUFACTURER, card.manufacturer, HAS_CONCEPT_MOD),
        items.code(codes.ALGORITHM_FAMILY, codes.ARTIFICIAL_INTELLIGENCE, HAS_CONCEPT_MOD),
    ]


def _site(segment: Segment | Finding) -> list[bytes]:
    where = segment.anatomic_region or (segment.type if segment.laterality else None)
    if where is None:
        return []
    side = [items.code(codes.LATERALITY, segment.laterality, HAS_CONCEPT_MOD)] if segment.laterality else []
    return [items.code(codes.FINDING_SITE, where, HAS_CONCEPT_MOD, side)]


def length_unit(measured: Measured) -> Code:
    """Of the axes."""
    return codes.PIXELS if measured.pixel_size is PixelSize.UNKNOWN else codes.MILLIMETRE


def method(measured: Measured) -> list[bytes]:
    """How lengths and areas were measured, where that must be known to use them."""
    if measured.pixel_size is not PixelSize.DETECTOR:
        return []
    return [items.code(codes.MEASUREMENT_METHOD, codes.DETECTOR_PLANE, HAS_CONCEPT_MOD)]


def volume(volume_ml: float) -> bytes:
    """A volume, in hundredths of a millilitre."""
    how = items.code(codes.MEASUREMENT_METHOD, codes.SUM_OF_VOXELS, HAS_CONCEPT_MOD)
    return items.number(codes.VOLUME, rounded(volume_ml, 2), codes.MILLILITRE, [how])


def area(area_mm2: float, measured: Measured) -> bytes:
    """An area, of a segment or of a lesion of it."""
    return items.number(codes.AREA, rounded(area_mm2, 2), codes.SQUARE_MILLIMETRE, method(measured))


def evaluations(run: Run, measured: Measured, *quantities: str) -> list[bytes]:
    """What a person should know of a segment: emptiness, doubts, and changes of the quantities that the report has.

    Each as a code, where there is one, and as a sentence behind it.
    """
    found = [] if measured.voxels else [items.text(codes.COMMENT, NOTHING_FOUND)]
    if measured.voxels and measured.pixel_size is PixelSize.DETECTOR:
        found.append(items.text(codes.COMMENT, DETECTOR_COMMENT))
    found += doubts(run, measured.value)
    for change in run.changes:
        if change.segment == measured.value and change.quantity in quantities:
            found.append(items.code(codes.COMPARISON, codes.VERDICTS[change.verdict]))
            found.append(items.text(codes.COMMENT, sentence(change)))
    return found


def doubts(run: Run, segment: int | None) -> list[bytes]:
    """The flags of a segment, or those of all of the result."""
    found = []
    for flag in run.flags:
        if flag.segment == segment:
            found.append(items.code(codes.QUALITY, codes.DOUBTS.get(flag.code, codes.ANY_DOUBT)))
            found.append(items.text(codes.COMMENT, flag.sentence))
    return found


def sentence(change: Change) -> str:
    """A change in words. The difference is that of the rounded values, which stand beside it."""
    unit, digits = QUANTITIES[change.quantity]
    date = DATE.sub(r"\1-\2-\3", change.prior_date)
    prior = f"the prior study of {date}" if date else "the prior study, of unknown date,"
    now = f"{change.quantity.capitalize()} {rounded(change.now, digits)} {unit}"
    if change.prior is None or change.verdict is Verdict.OTHER_VERSION:
        return f"{now}. The result of {prior} was made by another version of the network: nothing is compared."
    then = rounded(change.prior, digits)
    difference = round(float(rounded(change.now, digits)) - float(then), digits) + 0.0
    said = f"{now}; in {prior} {then} {unit}; difference {difference:+.{digits}f} {unit}: {change.verdict}"
    return f"{said} (least {_least(change.least, digits)} {unit})." if change.verdict is Verdict.SAME else f"{said}."


def _least(value: float, digits: int) -> str:
    """As many digits as the measurement has, and more where it would be nothing."""
    return rounded(value, digits) if round(value, digits) else f"{value:.1g}"
