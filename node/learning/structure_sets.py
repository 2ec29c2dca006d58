"""An RT Structure Set on the grid of the images (PS3.3 A.19, C.8.8.6).

Decided here:

- A contour goes to the slice in whose plane its points lie, whatever image it names: series that were cropped or
  anonymised have new names, and contours keep the old ones.
- All contours of an ROI in a slice combine by even-odd. So do inner contours that are holes, with or without
  CLOSEDPLANAR_XOR, and key-holes. An equal contour that comes twice is one: two would be none.
- Between slices nothing is invented. An ROI that is drawn on every second or third slice, for its planning system to
  fill in, or on a series with thicker slices, is left out: as truth its empty slices would be wrong.
- Contours across the slices are left out with their ROI: they are as far apart as the slices of the other series.
- Points and open contours mark no area. An ROI that has nothing else is left out: it is a marker, not an empty organ.
  One whose list of contours is empty was looked for and not found; one that has no list is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import Refused
from ..study.volume import Volume
from .contours import Contours, filled, sorted_onto
from .found import BY_NAME, FEW, Found, missed, too_small
from .label_file import (
    LabelFile,
    algorithm,
    code,
    item,
    items,
    laterality,
    line,
    numbers,
    text,
    whole_number,
)
from .slices import Numbers, Reference, Slices, frame_of_reference, must_fit, named
from .structures import Structure

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Roi:
    """One ROI before its contours are filled.

    Attributes:
        about: what is said of it.
        by_name: whether its contours had to name the images on which they lie.
        is_listed: whether it has a list of contours, be it an empty one.
    """

    about: dict[str, Any]
    contours: Contours
    by_name: bool
    is_listed: bool

    @property
    def name(self) -> str:
        return self.about["name"] or f"structure {self.about['number']}"


def read(label: LabelFile, volume: Volume) -> list[Found]:
    """The ROIs on the grid of a volume.

    Raises:
        Refused: see the codes of `outlined.read`.
    """
    if not volume.geometry.in_patient:
        raise Refused("label-other-images", "contours lie in the patient, and these images say nowhere where they do")
    slices, header = Slices.of(volume), label.header
    made: dict[int, _Roi] = {}
    drawn = _by_roi(items(header, "ROIContourSequence"))
    observed = _by_roi(items(header, "RTROIObservationsSequence")[::-1])
    for roi in items(header, "StructureSetROISequence"):
        number = whole_number(roi, "ROINumber")
        contours = drawn.get(number, [Dataset()])
        if number < 0 or number in made or len(contours) > 1:
            raise Refused("label-segments", "the structure set numbers its structures ambiguously")
        about = _described(roi, contours[0], observed.get(number, [Dataset()])[-1], label.charset)
        names = _names(roi, label, volume)
        made[number] = _Roi(
            dict(number=number, **about), sorted_onto(slices, contours[0], names), names is not None, number in drawn
        )
    if drawn.keys() - made.keys():
        raise Refused("label-segments", "the structure set has contours of a structure that it does not declare")
    must_fit(sum(len(roi.contours.polygons) for roi in made.values()), slices.shape)
    empty = np.zeros(slices.shape, bool)
    return [_found(roi, slices, empty) for roi in made.values()]


def _by_roi(sequence: Sequence[Dataset]) -> dict[int, list[Dataset]]:
    found: dict[int, list[Dataset]] = {}
    for one in sequence:
        found.setdefault(whole_number(one, "ReferencedROINumber"), []).append(one)
    return found


def _described(roi: Dataset, contours: Dataset, observed: Dataset, above: tuple[str, ...]) -> dict[str, Any]:
    """What is said of an ROI (PS3.3 C.8.8.5, C.8.8.8)."""
    return dict(
        name=line(roi, "ROIName", above) or line(observed, "ROIObservationLabel", above),
        category=code(observed, "SegmentedPropertyCategoryCodeSequence", above),
        type=code(observed, "RTROIIdentificationCodeSequence", above),
        laterality=laterality(item(observed, "RTROIIdentificationCodeSequence"), above),
        anatomic_region=code(observed, "AnatomicRegionSequence", above),
        colour=_colour(numbers(contours, "ROIDisplayColor", 3)),
        algorithm=algorithm(roi, "ROIGenerationAlgorithm"),
    )


def _colour(stated: Numbers) -> tuple[int, int, int] | None:
    if len(stated) != 3 or stated.min() < 0 or stated.max() > 255:
        return None
    return int(stated[0]), int(stated[1]), int(stated[2])


def _names(roi: Dataset, label: LabelFile, volume: Volume) -> dict[Reference, int] | None:
    """The slices by name, where the ROI states another frame of reference, or none; None where it is the same.

    Such contours are believed where each names the image on which it lies: there are programs that make up a frame of
    reference for what they write.
    """
    listed = items(label.header, "ReferencedFrameOfReferenceSequence")
    stated = text(roi, "ReferencedFrameOfReferenceUID") or text(label.header, "FrameOfReferenceUID")
    if not stated and len(listed) == 1:
        stated = text(listed[0], "FrameOfReferenceUID")
    return None if stated and stated == frame_of_reference(volume) else named(volume)


def _found(roi: _Roi, slices: Slices, empty: Mask) -> Found:
    name, contours = roi.name, roi.contours
    mask = np.zeros(slices.shape, bool) if contours.polygons else empty
    structure = Structure(mask=mask, **roi.about)
    if (refusal := _unfit(roi, slices)) is not None:
        return Found(structure, refusal)
    outside, doubtful, copies = contours.outside, 0, 0
    for k, polygons in contours.polygons.items():
        one = filled(polygons, *slices.shape[1:])
        mask[k] = one.mask
        outside, doubtful, copies = outside + one.outside, doubtful + one.doubtful, copies + one.copies
    marked = [k for k in sorted(contours.polygons) if mask[k].any()]
    inside = sum(int(np.count_nonzero(mask[k])) for k in marked)
    refusal, missing = missed(name, inside, outside, contours.between)
    if doubtful > FEW * inside:
        refusal = refusal or Refused("label-ambiguous", f"contours of {name} cross one another: is it both, or a hole?")
    if contours.polygons and not inside:
        refusal = refusal or too_small(name)
    between = [b - a - 1 for a, b in pairwise(marked) if b - a > 1 and (mask[a] & mask[b]).any()]
    if len(between) > sum(b - a == 1 for a, b in pairwise(marked)):
        said = f"{name} is drawn on every second slice or fewer: the slices between would count as empty"
        refusal = refusal or Refused("label-gaps", said)
    notes = [
        BY_NAME if roi.by_name else "",
        f"{name}: {contours.ignored} points or open contours are ignored" if contours.ignored else "",
        f"{name}: contours cross; {doubtful} voxels that two of them have are outside" if doubtful else "",
        f"{name}: {copies} contours come twice, and count once" if copies else "",
        f"{name}: {sum(between)} slices between its contours are empty" if between else "",
    ]
    return Found(structure, refusal, (*(note for note in notes if note), *missing))


def _unfit(roi: _Roi, slices: Slices) -> Refused | None:
    """Why the contours of an ROI cannot be filled."""
    name, contours = roi.name, roi.contours
    if roi.by_name and (contours.misnamed or not contours.any_closed):
        said = "lies in another frame of reference than the images, and its contours do not name them"
        return Refused("label-other-frame", f"{name} {said}")
    if not roi.is_listed:
        return Refused("label-no-area", f"{name} is declared, and nothing says whether it was drawn")
    if contours.across:
        said = f"{contours.across} contours of {name} run across the slices of these images"
        return Refused("label-not-parallel", said)
    if contours.ignored and not contours.any_closed:
        return Refused("label-no-area", f"{name} has points or open contours only, which mark no area")
    if contours.planes_mixed(slices):
        return Refused("label-between-slices", f"contours of {name} lie in several planes at one slice")
    return None
