"""From the values of one PET slice to SUV body weight: a factor, worked out from its header or refused.

The way is that of QIBA's vendor-neutral pseudo-code for FDG-PET/CT, on PS3.3 C.8.9.1 (PET Series), C.8.9.2 (PET
Isotope) and C.8.9.4 (PET Image). What the header does not say is not guessed.

A moment is in seconds on the clock of the scanner, counted from the first day of the calendar. A DT value with an
offset from UTC is put on that clock by TimezoneOffsetFromUTC; where the header has none its own local time is taken.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence

from ..errors import Refused
from .facts import values

WEIGHT_KG = (0.2, 700.0)
#: less than 0.1 MBq is a number of MBq or mCi in a field for Bq
DOSE_BQ = (1e5, 1e12)
HALF_LIFE_S = (10.0, 1e9)
#: of a frame, and from the start of the scan to it
FRAME_MS = (1.0, 86_400_000.0)
DAY_S = 86_400
#: clocks that are written with and without fractions differ by this much
CLOCK_STEP_S = 1.0
#: a dynamic scan may be started this much before the injection
BEFORE_INJECTION_S = 5.0
#: after these nothing is left to be seen
MOST_HALF_LIVES = 10.0
#: the two elements for the time of the injection may differ by this much: one is often cut to the minute
SAME_INJECTION_S = 60.0

PHILIPS = (0x7053, "Philips PET Private Group")
GE = (0x0009, "GEMS_PETD_01")
PHILIPS_SUV, PHILIPS_BQML, GE_SCAN_DATETIME = 0x00, 0x09, 0x0D

_TIME = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d(?:\.\d+)?))?)?", re.ASCII)
_DATETIME = re.compile(r"(\d{8})(\d[\d.]*)([+-]\d{4})?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
#: what pydicom raises for a value that is broken; it decodes one when it is first asked for
_BROKEN = (BytesLengthException, OSError, ValueError, TypeError, KeyError, OverflowError, NotImplementedError)


@dataclass(frozen=True)
class Injection:
    """What was injected: the one item of RadiopharmaceuticalInformationSequence that has a dose (PS3.3 C.8.9.2)."""

    item: Dataset
    dose_bq: float

    @property
    def half_life_s(self) -> float:
        sentence = "the PET series does not say a possible half life of its radionuclide"
        return _number(self.item, "RadionuclideHalfLife", HALF_LIFE_S, "suv-dose-missing", sentence)


def factor(header: Dataset) -> float:
    """What a slice's modality values are multiplied with: SUVbw = factor * (stored * RescaleSlope + RescaleIntercept).

    Args:
        header: of one single-frame PET image, with its private elements; pixels are not needed.

    Returns:
        g/ml per modality unit: per Bq/ml, per count, or 1 where the values are SUV body weight already.

    Raises:
        Refused: `suv-units`, `suv-other-type`, `suv-not-corrected`, `suv-decay-correction`, `suv-weight-missing`,
            `suv-dose-missing`, `suv-time-missing`, `suv-time-impossible`, `unreadable-header`.
    """
    units = _text(header, "Units")
    if units == "GML":
        return _of_suv(header)
    if units == "BQML":
        return _of_activity(header)
    if units == "CNTS":
        return _of_counts(header)
    raise Refused(
        "suv-units", "the values of the PET series are neither Bq/ml nor SUV nor counts, so SUV cannot be worked out"
    )


def _of_suv(header: Dataset) -> float:
    if _text(header, "SUVType") not in ("", "BW"):  # absent is BW (PS3.3 C.8.9.1)
        raise Refused("suv-other-type", "the values of the PET series are SUV, but not by body weight")
    if _text(header, "CorrectedImage"):
        _attenuation_corrected(header)
    return 1.0


def _of_counts(header: Dataset) -> float:
    _attenuation_corrected(header)
    suv = _philips(header, PHILIPS_SUV)
    if suv:
        return suv
    bqml = _philips(header, PHILIPS_BQML)
    if bqml:
        return bqml * _of_activity(header)
    raise Refused("suv-units", "the values of the PET series are counts, without a factor from counts to activity")


def _philips(header: Dataset, element: int) -> float:
    """A factor of Philips; 0 where it is absent or zero, which Philips writes for none."""
    value = _float(_private(header, PHILIPS, element) or "0")
    if not 0 <= value < math.inf:
        raise Refused("suv-units", "the factor from counts to SUV or activity in the PET series is not a number")
    return value


def _of_activity(header: Dataset) -> float:
    _attenuation_corrected(header)
    corrected_to = _text(header, "DecayCorrection")
    if corrected_to not in ("START", "ADMIN", "NONE"):
        raise Refused("suv-decay-correction", "the PET series does not say to which time its decay is corrected")
    if ("DECY" in values(header, "CorrectedImage")) != (corrected_to != "NONE"):
        raise Refused("suv-decay-correction", "the PET series says both that its decay is corrected and that it is not")
    injection = _injection(header)
    sentence = "the PET series does not say a possible weight of the patient"
    grams = 1000 * _number(header, "PatientWeight", WEIGHT_KG, "suv-weight-missing", sentence)
    if corrected_to == "ADMIN":
        return grams / injection.dose_bq
    if corrected_to == "START":
        return grams / _dose_left_bq(header, injection, _scan_start_s(header, injection))
    # the frame's mean activity is less than that at its start, by the ratio of decay to what it leaves
    decay = _decay_in_frame(header, injection)
    frame_start_s = _when_s(header, "Acquisition")
    return grams / _dose_left_bq(header, injection, frame_start_s) * decay / -math.expm1(-decay)


def _attenuation_corrected(header: Dataset) -> None:
    if "ATTN" not in values(header, "CorrectedImage"):
        raise Refused("suv-not-corrected", "the PET series is not corrected for attenuation, so it has no SUV")


def _injection(header: Dataset) -> Injection:
    items = _value(header, "RadiopharmaceuticalInformationSequence")
    dosed = [item for item in items if _text(item, "RadionuclideTotalDose")] if isinstance(items, Sequence) else []
    if not dosed:
        raise Refused("suv-dose-missing", "the PET series does not say which activity was injected")
    if len(dosed) > 1:
        raise Refused("suv-dose-missing", f"the PET series names {len(dosed)} injected activities, where SUV needs one")
    sentence = "the injected activity in the PET series is not possible in Bq"
    return Injection(dosed[0], _number(dosed[0], "RadionuclideTotalDose", DOSE_BQ, "suv-dose-missing", sentence))


def _dose_left_bq(header: Dataset, injection: Injection, moment_s: float) -> float:
    elapsed_s = moment_s - _injected_s(header, injection, moment_s)
    if elapsed_s < -BEFORE_INJECTION_S:
        raise Refused("suv-time-impossible", "by the times in the PET series its scan was before the injection")
    if elapsed_s > MOST_HALF_LIVES * injection.half_life_s:
        raise Refused(
            "suv-time-impossible",
            f"by the times in the PET series more than {MOST_HALF_LIVES:.0f} half lives lie between injection and scan",
        )
    return float(injection.dose_bq * 2 ** (-elapsed_s / injection.half_life_s))


def _injected_s(header: Dataset, injection: Injection, scan_s: float) -> float:
    """The injection; a time without a date is the last one before the scan."""
    moment, clock = (_text(injection.item, f"RadiopharmaceuticalStart{part}") for part in ("DateTime", "Time"))
    if moment:
        injected_s = _moment_s(header, moment)
        ahead_s = (injected_s - _time_s(clock)) % DAY_S if clock else 0.0
        if min(ahead_s, DAY_S - ahead_s) > SAME_INJECTION_S:
            raise Refused("suv-time-impossible", "the PET series says two different times of the injection")
        return injected_s
    if not clock:
        raise Refused("suv-time-missing", "the PET series does not say when the activity was injected")
    injected_s = scan_s // DAY_S * DAY_S + _time_s(clock)
    if injected_s > scan_s + BEFORE_INJECTION_S:
        injected_s -= DAY_S
    if scan_s - injected_s + DAY_S <= MOST_HALF_LIVES * injection.half_life_s:
        raise Refused(
            "suv-time-missing",
            "the PET series does not say on which day the activity was injected, and it is of a nuclide that lasts "
            "for days",
        )
    return injected_s


def _scan_start_s(header: Dataset, injection: Injection) -> float:
    """The time to which the images of a series are corrected with START."""
    series_s, frame_start_s = _when_s(header, "Series"), _when_s(header, "Acquisition")
    if series_s <= frame_start_s + CLOCK_STEP_S:
        return series_s
    # later processing has put its own time there
    written = _private(header, GE, GE_SCAN_DATETIME)
    start_s = _moment_s(header, written) if written else _counted_back_s(header, injection, frame_start_s)
    if start_s > frame_start_s + CLOCK_STEP_S:
        raise Refused("suv-time-impossible", "by the times in the PET series an image is older than the scan")
    return start_s


def _counted_back_s(header: Dataset, injection: Injection, frame_start_s: float) -> float:
    """From the frame to the start of the scan: FrameReferenceTime lies between it and the frame's mean activity."""
    sentence = "the PET series does not say how long after the start of the scan an image was taken"
    offset_s = _number(header, "FrameReferenceTime", FRAME_MS, "suv-time-missing", sentence) / 1000
    decay = _decay_in_frame(header, injection)
    to_mean_s = math.log(decay / -math.expm1(-decay)) * injection.half_life_s / math.log(2)
    return frame_start_s + to_mean_s - offset_s


def _decay_in_frame(header: Dataset, injection: Injection) -> float:
    """The decay constant times the duration of the frame."""
    sentence = "the PET series does not say how long an image was taken"
    duration_s = _number(header, "ActualFrameDuration", FRAME_MS, "suv-time-missing", sentence) / 1000
    return math.log(2) * duration_s / injection.half_life_s


def _when_s(header: Dataset, event: str) -> float:
    day, clock = _text(header, f"{event}Date"), _text(header, f"{event}Time")
    if not day or not clock:
        raise Refused("suv-time-missing", f"the PET series lacks {event}Date or {event}Time")
    return _date_s(day) + _time_s(clock)


def _moment_s(header: Dataset, written: str) -> float:
    """A DT value."""
    parts = _DATETIME.fullmatch(written)
    if not parts:
        raise _unreadable_time()
    day, clock, offset = parts.groups()
    here = _text(header, "TimezoneOffsetFromUTC")
    ahead_s = _offset_s(here) - _offset_s(offset) if offset and here else 0.0
    return _date_s(day) + _time_s(clock) + ahead_s


def _date_s(written: str) -> float:
    try:
        return float(date.fromisoformat(written.replace(".", "")).toordinal() * DAY_S)  # yyyy.mm.dd is of ACR-NEMA
    except ValueError:
        raise _unreadable_time() from None


def _time_s(written: str) -> float:
    """After midnight; minutes and seconds may be left out (PS3.5 6.2)."""
    parts = _TIME.fullmatch(written.replace(":", ""))
    if not parts:
        raise _unreadable_time()
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    if hours >= 24 or minutes >= 60 or seconds >= 61:  # 60 is a leap second
        raise _unreadable_time()
    return hours * 3600 + minutes * 60 + seconds


def _offset_s(written: str) -> float:
    parts = _OFFSET.fullmatch(written)
    if not parts:
        raise _unreadable_time()
    return (-1 if parts[1] == "-" else 1) * (int(parts[2]) * 3600 + int(parts[3]) * 60)


def _unreadable_time() -> Refused:
    return Refused("suv-time-missing", "a date or a time that SUV needs cannot be read in the PET series")


def _number(source: Dataset, keyword: str, bounds: tuple[float, float], code: str, sentence: str) -> float:
    value = _float(_text(source, keyword))
    if not bounds[0] <= value <= bounds[1]:
        raise Refused(code, sentence)
    return value


def _float(written: str) -> float:
    """NaN for what is not a number."""
    try:
        return float(written)
    except ValueError:
        return math.nan


def _private(header: Dataset, place: tuple[int, str], element: int) -> str:
    """An element of a private block, wherever its creator reserved it (PS3.5 7.8.1)."""
    group, creator = place
    for block in range(0x10, 0x100):
        if _text(header, (group, block)) == creator:
            return _text(header, (group, block << 8 | element))
    return ""


def _text(source: Dataset, key: str | tuple[int, int]) -> str:
    value = _value(source, key)
    if isinstance(value, bytes):  # of an element whose VR was not known to its reader
        value = value.decode("ascii", "replace")
    return "" if value is None else str(value).replace("\0", "").strip()


def _value(source: Dataset, key: str | tuple[int, int]) -> Any:
    try:
        return source[key].value if key in source else None
    except _BROKEN as error:
        raise Refused("unreadable-header", f"the header of an image cannot be read ({type(error).__name__})") from error
