"""Every frame of an image as if it were a single-frame image: a flat header with its own place and values.

What an enhanced multi-frame image says in functional groups (PS3.3 C.7.6.16), and a nuclear medicine image in vectors
(PS3.3 C.8.4.8), is written where a single-frame image would have it. So everything after this has one kind of header
to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedPETImageStorage, NuclearMedicineImageStorage

from ..errors import Refused

MOST_FRAMES = 100_000
#: no compressed frame is shorter: its markers alone take more
FRAME_BYTES = 32
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
VECTORS = ("EnergyWindowVector", "DetectorVector", "PhaseVector", "RRIntervalVector", "TimeSlotVector", "SliceVector")
#: what a flat header does not have
LEFT_OUT = tuple(tag_for_keyword(keyword) for keyword in (*FUNCTIONAL_GROUPS, "NumberOfFrames", "PixelData"))
#: functional group -> its elements, each with the name that it has in a single-frame image
GROUPS: dict[str, dict[str, str]] = {
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelMeasuresSequence": {
        "PixelSpacing": "PixelSpacing",
        "SliceThickness": "SliceThickness",
        "SpacingBetweenSlices": "SpacingBetweenSlices",
    },
    "PixelValueTransformationSequence": {
        "RescaleSlope": "RescaleSlope",
        "RescaleIntercept": "RescaleIntercept",
        "RescaleType": "RescaleType",
    },
    "FrameContentSequence": {
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "TemporalPositionIndex": "TemporalPositionIndex",
        "StackID": "StackID",
        "FrameAcquisitionDateTime": "AcquisitionDateTime",
        "FrameAcquisitionDuration": "ActualFrameDuration",
    },
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue", "DiffusionDirectionality": "DiffusionDirectionality"},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "CTImageFrameTypeSequence": {"FrameType": "ImageType"},
    "PETFrameTypeSequence": {"FrameType": "ImageType"},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": "TriggerTime"},
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": "TemporalPositionTimeOffset"},
    "FrameAnatomySequence": {"FrameLaterality": "ImageLaterality"},
    "CTReconstructionSequence": {"ConvolutionKernel": "ConvolutionKernel"},
}
GRADIENT = "DiffusionGradientDirectionSequence"
#: UCUM units of a real world value map -> Units of a single-frame PET image
PET_UNITS = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML", "g/ml{SUVbw}": "GML"}


def count(header: Dataset) -> int:
    """NumberOfFrames; 1 where there is none.

    Raises:
        Refused: `pixel-format`: it is no number of frames.
    """
    value = header.get("NumberOfFrames")
    if value in (None, ""):
        return 1
    try:
        number = int(value)
    except (ArithmeticError, TypeError, ValueError):
        raise Refused("pixel-format", "NumberOfFrames of an image is not a number") from None
    if not 0 <= number <= MOST_FRAMES:
        raise Refused("pixel-format", f"NumberOfFrames of an image is {number}")
    return max(number, 1)


def has_room(header: Dataset, file_bytes: int) -> bool:
    """Whether a file can hold as many frames as its header says; a header is made for each of them, pixels or not."""
    try:
        number = count(header)
        pixels = int(header.get("Rows") or 0) * int(header.get("Columns") or 0)
    except (Refused, ArithmeticError, TypeError, ValueError):
        return True  # something else is wrong with it
    compressed = header.file_meta.TransferSyntaxUID.is_encapsulated
    return number <= 1 or number * max(1, FRAME_BYTES if compressed else pixels // 8) <= file_bytes


def is_multi_frame(header: Dataset) -> bool:
    """Whether its frames are numbered: more than one, or the header of an enhanced image."""
    return count(header) > 1 or FUNCTIONAL_GROUPS[1] in header or FUNCTIONAL_GROUPS[0] in header


def flattened(header: Dataset, numbers: Sequence[int] = ()) -> list[Dataset]:
    """The header of each frame.

    Args:
        header: of an image, without pixels.
        numbers: the frames that are wanted, counted from 1; none means all.

    Raises:
        Refused: `pixel-format`, `functional-groups`: the header does not describe as many frames as it has.
    """
    frames = count(header)
    wanted = list(numbers) or list(range(1, frames + 1))
    if any(not 1 <= number <= frames for number in wanted):
        raise Refused("functional-groups", f"a frame is asked for that the image does not have (it has {frames})")
    if not is_multi_frame(header):
        return [header]
    root = Dataset()
    root.update({tag: header.get_item(tag) for tag in header.keys() if tag not in LEFT_OUT})  # noqa: SIM118 - iterating would decode every element
    root.file_meta = getattr(header, "file_meta", None)
    root.set_original_encoding(*header.original_encoding, header.original_character_set)
    if FUNCTIONAL_GROUPS[1] in header:
        return _functional_groups(header, root, wanted)
    if header.get("SOPClassUID") == NuclearMedicineImageStorage:
        return _nuclear(header, root, wanted)
    return [_copy(root)] * len(wanted)


def _put(ds: Dataset, keyword: str, value: Any) -> None:
    """Set an element anew: flat headers share those that they have not set, so none may be changed in place."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    try:
        ds[tag] = DataElement(tag, dictionary_VR(tag), value)
    except (ArithmeticError, TypeError, ValueError):
        raise Refused("functional-groups", f"{keyword} of a frame cannot be read") from None


def _copy(root: Dataset) -> Dataset:
    ds = Dataset()
    ds.update(root)
    ds.file_meta = root.file_meta
    ds.set_original_encoding(*root.original_encoding, root.original_character_set)
    return ds


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    """Of a sequence; none where it is absent or empty."""
    value = ds.get(keyword)
    if value is not None and not isinstance(value, DicomSequence):
        raise Refused("functional-groups", f"{keyword} of an image is no sequence")
    return list(value or ())


def _functional_groups(header: Dataset, root: Dataset, wanted: list[int]) -> list[Dataset]:
    per_frame = _items(header, FUNCTIONAL_GROUPS[1])
    if len(per_frame) != count(header):
        raise Refused(
            "functional-groups",
            f"the image describes {len(per_frame)} frames and has {count(header)} (NumberOfFrames)",
        )
    shared = (_items(header, FUNCTIONAL_GROUPS[0]) or [Dataset()])[0]
    common = _copy(root)
    _take(shared, common)
    flat = []
    for number in wanted:
        ds = _copy(common)
        _take(per_frame[number - 1], ds)
        if ds.get("SOPClassUID") == EnhancedPETImageStorage:
            _as_single_frame_pet(ds, per_frame[number - 1], shared)
        flat.append(ds)
    return flat


def _take(groups: Dataset, ds: Dataset) -> None:
    """Write what the functional groups say into a flat header."""
    for group, elements in GROUPS.items():
        for item in _items(groups, group)[:1]:
            for keyword, flat in elements.items():
                value = item.get(keyword)
                if value not in (None, ""):
                    _put(ds, flat, value)
    for diffusion in _items(groups, "MRDiffusionSequence")[:1]:
        for gradient in _items(diffusion, GRADIENT)[:1]:
            direction = gradient.get("DiffusionGradientOrientation")
            if direction is not None:
                _put(ds, "DiffusionGradientOrientation", direction)
    contrast = _items(groups, "ContrastBolusUsageSequence")
    if contrast and contrast[0].get("ContrastBolusAgentAdministered") == "YES" and not ds.get("ContrastBolusAgent"):
        _put(ds, "ContrastBolusAgent", "administered")


def _as_single_frame_pet(ds: Dataset, own: Dataset, shared: Dataset) -> None:
    """Units and decay correction of an enhanced PET frame, in the words of PS3.3 C.8.9.1."""
    maps = _items(own, "RealWorldValueMappingSequence") or _items(shared, "RealWorldValueMappingSequence")
    for one in maps:
        codes = _items(one, "MeasurementUnitsCodeSequence") or [Dataset()]
        units = PET_UNITS.get(str(codes[0].get("CodeValue") or ""))
        if units and one.get("RealWorldValueSlope") is not None:
            _put(ds, "Units", units)
            _put(ds, "RescaleSlope", one.RealWorldValueSlope)
            _put(ds, "RescaleIntercept", one.get("RealWorldValueIntercept") or 0)
            break
    corrected = [
        name
        for name, keyword in (("ATTN", "AttenuationCorrected"), ("DECY", "DecayCorrected"))
        if ds.get(keyword) == "YES"
    ]
    _put(ds, "CorrectedImage", corrected)
    at = str(ds.get("DecayCorrectionDateTime") or "")
    if "DECY" in corrected and len(at) >= 14:
        _put(ds, "DecayCorrection", "START")
        for keyword in ("SeriesDate", "AcquisitionDate"):
            _put(ds, keyword, at[:8])
        for keyword in ("SeriesTime", "AcquisitionTime"):
            _put(ds, keyword, at[8:].split("+")[0].split("-")[0])
    elif "DECY" not in corrected:
        _put(ds, "DecayCorrection", "NONE")


def _nuclear(header: Dataset, root: Dataset, wanted: list[int]) -> list[Dataset]:
    """Frames of reconstructed slices: the first is placed, the others follow along the normal (PS3.3 C.8.4.15)."""
    detector = (_items(header, "DetectorInformationSequence") or [Dataset()])[0]
    frames = count(header)
    vectors = {name: _vector(header, name, frames) for name in VECTORS}
    reconstructed = "RECON TOMO" in _values(header.get("ImageType")) or "RECON GATED TOMO" in _values(
        header.get("ImageType")
    )
    origin, cosines = detector.get("ImagePositionPatient"), detector.get("ImageOrientationPatient")
    varying = [
        (name, keyword, kind)
        for name, keyword, kind in (
            ("TimeSlotVector", "TemporalPositionIndex", int),
            ("RRIntervalVector", "StackID", str),
        )
        if len(set(vectors[name])) > 1
    ]
    numbered = any(vectors["SliceVector"])
    flat = []
    for number in wanted:
        ds = _copy(root)
        for name, keyword, kind in varying:
            _put(ds, keyword, kind(vectors[name][number - 1]))
        if reconstructed and origin is not None and cosines is not None:
            at = vectors["SliceVector"][number - 1] - 1 if numbered else number - 1
            _put(ds, "ImagePositionPatient", _along(origin, cosines, header.get("SpacingBetweenSlices"), at))
            _put(ds, "ImageOrientationPatient", cosines)
        flat.append(ds)
    return flat


def _along(origin: Any, cosines: Any, spacing: Any, slices: int) -> list[float]:
    try:
        row, column = np.array(cosines[:3], float), np.array(cosines[3:], float)
        step = slices * float(spacing)
        if not np.isfinite([*row, *column, step]).all():
            raise ValueError
        at = np.array(origin, float) + step * np.cross(row, column)
    except (ArithmeticError, TypeError, ValueError):
        raise Refused("geometry-missing", "the slices of a nuclear medicine image have no usable place") from None
    return [float(part) for part in at]


def _vector(header: Dataset, keyword: str, frames: int) -> list[int]:
    values = _values(header.get(keyword))
    if not values:
        return [0] * frames
    if len(values) != frames:
        raise Refused("functional-groups", f"{keyword} of an image has {len(values)} values for {frames} frames")
    try:
        return [int(value) for value in values]
    except (ArithmeticError, TypeError, ValueError):
        raise Refused("functional-groups", f"{keyword} of an image cannot be read") from None


def _values(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    return [value] if isinstance(value, (str, int)) else list(value)


def as_text(numbers: Sequence[int]) -> str:
    """Frame numbers as ranges: "1-40,80"; empty for none."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in parts)


def from_text(text: str) -> tuple[int, ...]:
    """The inverse of `as_text`."""
    numbers: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)
