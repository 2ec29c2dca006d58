"""The input rules of a model card, given meaning: why a channel cannot read a stack of images, and how well it suits.

Rules refuse, preferences rank. Each is judged over all slices, never over one. BodyPartExamined only ranks: it is typed
in or defaulted, and wrong too often to refuse by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from models.card import Input

from ..errors import Refused
from . import geometry
from .facts import text, values
from .stacks import Stack

SECONDARY_CAPTURES = {
    SecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
}
#: modalities of derived objects: an image that bears one is a label, whatever its SOP class
LABELS = {"SEG", "RTSTRUCT", "RTDOSE"}
#: the normal of a plane lies so close to an axis of the patient (about 25 degrees), or the plane is oblique
ALONG_AXIS = 0.9
PLANES = ("sagittal", "coronal", "axial")


def judge(rule: Input, stack: Stack) -> Refused | None:
    """Why a channel cannot read a stack; None when it can."""
    for condition in CONDITIONS:
        if (refusal := condition(rule, stack)) is not None:
            return refusal
    try:
        if rule.kind == "volume":
            apart = _one_of_each_place(stack.headers)
            if len(apart) == 1 < len(stack.frames):
                return Refused("duplicate-position", f"its {len(stack.frames)} images lie in one place")
            geometry.place([stack.headers[n] for n in apart])
        else:
            geometry.flat(stack.headers)
    except Refused as refusal:
        return refusal
    return None


def _one_of_each_place(headers: Sequence[Dataset]) -> list[int]:
    """Without what lies where another slice lies; whether it has equal pixels is found out when they are read."""
    double = {n for group in geometry.duplicates(headers) for n in group[1:]}
    return [n for n in range(len(headers)) if n not in double]


def _all(stack: Stack, keyword: str) -> list[str]:
    return sorted({text(header, keyword) for header in stack.headers})


def _listed(found: Sequence[str]) -> str:
    return " and ".join(one or "not stated" for one in found)


def _modality(rule: Input, stack: Stack) -> Refused | None:
    found = _all(stack, "Modality")
    if set(found) <= set(rule.modality):
        return None
    if set(found) & LABELS:
        return Refused("label-map-as-image", f"it is a label map stored as images (Modality {_listed(found)})")
    return Refused("not-our-modality", f"its modality is {_listed(found)}, not {' or '.join(rule.modality)}")


def _sop_class(rule: Input, stack: Stack) -> Refused | None:
    classes = {header.get("SOPClassUID") for header in stack.headers}
    if VLWholeSlideMicroscopyImageStorage in classes:
        return Refused("whole-slide-microscopy", "it is whole slide microscopy, which Planimeter does not read")
    captured = classes & SECONDARY_CAPTURES or any(header.get("ConversionType") for header in stack.headers)
    if captured and not rule.secondary_capture:
        return Refused("secondary-capture", "it is a secondary capture: a picture of images, not the images")
    return None


def _burned_in(rule: Input, stack: Stack) -> Refused | None:
    if "YES" in _all(stack, "BurnedInAnnotation") and not rule.burned_in_annotation:
        return Refused("burned-in-annotation", "text is burned into its pixels (BurnedInAnnotation)")
    return None


def _image_type(rule: Input, stack: Stack) -> Refused | None:
    types = [{part.upper() for part in values(header, "ImageType")} for header in stack.headers]
    if excluded := {one.upper() for one in rule.image_type_excludes} & set().union(*types):
        code = "localizer" if "LOCALIZER" in excluded else "image-type"
        return Refused(code, f"its ImageType is {' and '.join(sorted(excluded))}")
    if any("DERIVED" in one for one in types) and not rule.derived:
        return Refused("derived-image", "its images were computed from other images (ImageType DERIVED)")
    if lacking := {wanted for wanted in rule.image_type_includes for one in types if wanted.upper() not in one}:
        return Refused("image-type", f"its ImageType is not {' and '.join(sorted(lacking))}")
    return None


def _described(stack: Stack, *keywords: str) -> str:
    return "\n".join(one for keyword in keywords for one in _all(stack, keyword))


def _has(patterns: Sequence[str], said: str) -> bool:
    return any(re.search(pattern, said, re.IGNORECASE) for pattern in patterns)


def _description(rule: Input, stack: Stack) -> Refused | None:
    said = _described(stack, "SeriesDescription", "ProtocolName")
    if rule.description_includes and not _has(rule.description_includes, said):
        return Refused("description", "its description is none of those that the network reads")
    if _has(rule.description_excludes, said):
        return Refused("description", "its description is one that the network does not read")
    return None


def _kernel(rule: Input, stack: Stack) -> Refused | None:
    said = _described(stack, "ConvolutionKernel")
    wrong = rule.kernel_includes and not _has(rule.kernel_includes, said)
    if wrong or _has(rule.kernel_excludes, said):
        return Refused("kernel", f"its kernel ({said or 'not stated'}) is none that the network reads")
    return None


def _contrast(rule: Input, stack: Stack) -> Refused | None:
    given = {bool(one) for one in _all(stack, "ContrastBolusAgent")}
    if rule.contrast != "any" and given != {rule.contrast == "with"}:
        return Refused("contrast", f"it was not made {rule.contrast} contrast (ContrastBolusAgent)")
    said = _described(stack, "SeriesDescription", "ProtocolName", "ContrastBolusAgent")
    if rule.contrast_phase_includes and not _has(rule.contrast_phase_includes, said):
        return Refused("contrast", "its contrast phase is none that the network reads")
    return None


def _slices(rule: Input, stack: Stack) -> Refused | None:
    number, what = len(stack.frames), "slice" if rule.kind == "volume" else "frame"
    if number < rule.minimum_slices:
        return Refused(
            "too-few-slices", f"it has {number} {what}{'s' * (number > 1)}, {rule.minimum_slices} are needed"
        )
    if number > rule.maximum_slices:
        return Refused("too-many-slices", f"it has {number} {what}s, more than {rule.maximum_slices}")
    return None


def _thickness(rule: Input, stack: Stack) -> Refused | None:
    if rule.slice_thickness_mm is None:
        return None
    least, most = rule.slice_thickness_mm
    found = thickness_mm(stack)
    if not least - 1e-3 <= found <= most + 1e-3:
        return Refused("slice-thickness", f"its slices are {found:g} mm thick, not {least:g} to {most:g} mm")
    return None


def _orientation(rule: Input, stack: Stack) -> Refused | None:
    plane = plane_of(stack)
    if rule.orientation and plane not in rule.orientation:
        return Refused(
            "orientation", f"its slices are {plane or 'of no stated plane'}, not {' or '.join(rule.orientation)}"
        )
    return None


Condition = Callable[[Input, Stack], Refused | None]
CONDITIONS: tuple[Condition, ...] = (
    _modality,
    _sop_class,
    _burned_in,
    _image_type,
    _description,
    _kernel,
    _contrast,
    _slices,
    _thickness,
    _orientation,
)


def thickness_mm(stack: Stack) -> float:
    """The usual SliceThickness, or the step between the slices where it is not stated; 0 where neither is known."""
    stated = [float(one) for one in _all(stack, "SliceThickness") if _is_number(one)]
    return float(np.median(stated)) if stated and min(stated) > 0 else range_mm(stack)[1]


def _is_number(value: str) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except ValueError:
        return False


def plane_of(stack: Stack) -> str:
    """axial, coronal, sagittal or oblique; empty where the images do not say."""
    try:
        cosines = np.median(np.array([list(header.ImageOrientationPatient) for header in stack.headers], float), axis=0)
    except (AttributeError, TypeError, ValueError):
        return ""
    if cosines.shape != (6,) or not np.isfinite(cosines).all():
        return ""
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    return PLANES[int(normal.argmax())] if normal.max() > ALONG_AXIS else "oblique"


def rank(rule: Input, stack: Stack) -> tuple[object, ...]:
    """Smaller is better: preferred body part, description, kernel, thickness; original images; the longer range; the
    thinner slices; then the UID, so that the choice is always the same."""
    body = {one.upper() for one in _all(stack, "BodyPartExamined")}
    derived = any("DERIVED" in values(header, "ImageType") for header in stack.headers)
    extent, step = range_mm(stack)
    off = abs(thickness_mm(stack) - rule.prefer_thickness_mm) if rule.prefer_thickness_mm else 0.0
    return (
        not body & set(rule.prefer_body_part),
        _first(rule.prefer_description, _described(stack, "SeriesDescription")),
        _first(rule.prefer_kernel, _described(stack, "ConvolutionKernel")),
        round(off, 1),
        derived,
        -round(extent / 10),
        round(step, 1),
        stack.series.series_uid,
    )


def _first(patterns: Sequence[str], said: str) -> int:
    return next((n for n, pattern in enumerate(patterns) if re.search(pattern, said, re.IGNORECASE)), len(patterns))


def range_mm(stack: Stack) -> tuple[float, float]:
    """How far the slices reach along their normal, and the usual step between them; 0 where positions are missing."""
    try:
        cosines = np.array([[float(part) for part in header.ImageOrientationPatient] for header in stack.headers])
        positions = np.array([[float(part) for part in header.ImagePositionPatient] for header in stack.headers])
    except (AttributeError, TypeError, ValueError):
        return 0.0, 0.0
    if cosines.shape != (len(positions), 6) or positions.shape != (len(cosines), 3) or len(positions) < 2:
        return 0.0, 0.0
    if not (np.isfinite(cosines).all() and np.isfinite(positions).all()):
        return 0.0, 0.0
    along = np.sort(positions @ np.cross(cosines[0, :3], cosines[0, 3:]))
    return float(along[-1] - along[0]), float(np.median(np.diff(along)))
