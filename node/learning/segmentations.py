"""A DICOM Segmentation on the grid of the images: BINARY, FRACTIONAL (PS3.3 A.51) or LABELMAP (A.90).

Segments stay apart, so that they may overlap. The frames are placed by `placing`; where they lie on another grid, which
some workstations make of their own, `resampling` says what each voxel of the images has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..errors import Refused
from ..study.decode import Decoders
from ..study.volume import Volume
from .found import BY_NAME, Found, missed, too_small
from .label_file import LabelFile, algorithm, code, item, items, laterality, line, numbers, side, text, whole_number
from .patches import Patch, patches
from .placing import Laid, lay
from .resampling import Stack
from .segment_frames import frames_of
from .segment_pixels import Format, format_of
from .slices import Slices, frame_of_reference, must_fit
from .structures import Structure

Mask = NDArray[np.bool_]


def read(
    label: LabelFile, volume: Volume, *, fraction: float, decoders: Decoders | None
) -> tuple[list[Found], list[str]]:
    """The segments on the grid of a volume, and what was done to place them.

    Args:
        fraction: from which on a pixel of a fractional segmentation is inside.

    Raises:
        Refused: see the codes of `outlined.read`.
        Failed: `decoder-not-started`.
    """
    stored, frames = format_of(label), frames_of(label)
    described = segments_of(label)
    cut = patches(label, frames, stored, fraction, decoders)
    cut = [one for one in cut if not _is_padding(one, label, stored, described)]
    unknown = {patch.segment for patch in cut} - described.keys()
    if unknown:
        raise Refused("label-segments", f"the segmentation shows segment {min(unknown)}, and does not describe it")
    shown = {patch.frame for patch in cut}
    frame_uid = text(label.header, "FrameOfReferenceUID")
    laid, misnamed = lay(frames, shown, stored, frame_uid, volume)
    notes = [f"fractions from {fraction:g} on count"] if stored.kind == "FRACTIONAL" else []
    if volume.geometry.in_patient and frame_uid != frame_of_reference(volume):
        notes.append(BY_NAME)
    if misnamed:
        notes.append(f"{misnamed} frames name another image than the one on which they lie")
    if laid is None:
        slices = Slices.of(volume)
        stack = Stack.of(frames, slices)
        cut = _without_copies(cut, lambda n: (int(stack.level[n]),))
        notes.append(f"resampled: drawn on a grid of {stack.described()}, of which each voxel has the nearest")
        found = _sampled(cut, stack, slices, described)
    else:
        known: Mapping[int, Laid] = laid
        cut = _without_copies(cut, lambda n: known[n].place)
        found = _painted(cut, known, volume.geometry.shape, described)
    return found, notes


def segments_of(label: LabelFile) -> dict[int, dict[str, Any]]:
    """What is said of each segment, by its number; without the background, which a label map may describe as 0."""
    above, made = label.charset, {}
    for segment in items(label.header, "SegmentSequence"):
        number = whole_number(segment, "SegmentNumber")
        if number in made or number < 0:
            raise Refused("label-segments", "the segmentation numbers its segments ambiguously")
        kind, region = item(segment, "SegmentedPropertyTypeCodeSequence"), item(segment, "AnatomicRegionSequence")
        made[number] = dict(
            number=number,
            name=line(segment, "SegmentLabel", above) or line(segment, "SegmentDescription", above),
            category=code(segment, "SegmentedPropertyCategoryCodeSequence", above),
            type=code(segment, "SegmentedPropertyTypeCodeSequence", above),
            laterality=laterality(kind, above) or side(region, "AnatomicRegionModifierSequence", above),
            anatomic_region=code(segment, "AnatomicRegionSequence", above),
            colour=_colour(segment),
            algorithm=algorithm(segment, "SegmentAlgorithmType"),
            tracking_uid=text(segment, "TrackingUID"),
        )
    made.pop(0, None)
    return made


def _colour(segment: Dataset) -> tuple[int, int, int] | None:
    """Of RecommendedDisplayCIELabValue (PS3.3 C.10.7.1.1)."""
    lab = numbers(segment, "RecommendedDisplayCIELabValue", 3)
    if not len(lab) or lab.min() < 0 or lab.max() > 0xFFFF:
        return None
    red, green, blue = hd.color.CIELabColor.from_dicom_value([int(part) for part in lab]).to_rgb(clip=True)
    return int(red), int(green), int(blue)


def _is_padding(patch: Patch, label: LabelFile, stored: Format, described: Mapping[int, Any]) -> bool:
    """Whether it is what a label map has where nothing is segmented."""
    padding = whole_number(label.header, "PixelPaddingValue", 0) if stored.kind == "LABELMAP" else 0
    return patch.segment == padding and padding not in described


def _without_copies(cut: Sequence[Patch], place_of: Callable[[int], tuple[int, ...]]) -> list[Patch]:
    """Of equal frames in one place one is kept.

    Raises:
        Refused: `label-ambiguous`: two that differ show the same segment in one place.
    """
    kept: dict[tuple[int, ...], Patch] = {}
    for one in cut:
        other = kept.setdefault((one.segment, *place_of(one.frame)), one)
        same = (one.row, one.column) == (other.row, other.column) and np.array_equal(one.inside, other.inside)
        if not same:
            raise Refused("label-ambiguous", "two frames of the segmentation show one segment in one place, and differ")
    return list(kept.values())


def _by_segment(cut: Sequence[Patch]) -> dict[int, list[Patch]]:
    found: dict[int, list[Patch]] = {}
    for one in cut:
        found.setdefault(one.segment, []).append(one)
    return found


def _painted(
    cut: Sequence[Patch], laid: Mapping[int, Laid], shape: tuple[int, int, int], described: Mapping[int, dict[str, Any]]
) -> list[Found]:
    """Each pixel is one voxel."""
    must_fit(len({(one.segment, k) for one in cut for k in laid[one.frame].slices(one, shape[0])}), shape)
    limits, made, of_each = np.array(shape[::-1])[:, None], [], _by_segment(cut)
    empty = np.zeros(shape, bool)
    for number, about in described.items():
        own, inside, outside = of_each.get(number, []), 0, 0
        mask = np.zeros(shape, bool) if own else empty
        for patch in own:
            voxels = laid[patch.frame].voxels(patch)
            there = ((voxels >= 0) & (voxels < limits)).all(axis=0)
            column, row, k = voxels[:, there]
            mask[k, row, column] = True
            inside, outside = inside + len(k), outside + int((~there).sum())
        made.append(_found(about, mask, inside, outside))
    return made


def _sampled(
    cut: Sequence[Patch], stack: Stack, slices: Slices, described: Mapping[int, dict[str, Any]]
) -> list[Found]:
    """Each voxel has what the nearest pixel has."""
    made, of_each, sizes = [], _by_segment(cut), np.array(slices.shape[::-1])
    reaches = [stack.reach(own, slices)[2] for own in of_each.values()]
    must_fit(sum(last - first for first, last in reaches), slices.shape)
    empty = np.zeros(slices.shape, bool)
    for number, about in described.items():
        own, inside, outside = of_each.get(number, []), 0, 0
        mask = np.zeros(slices.shape, bool) if own else empty
        for patch in own:
            index = slices.index(stack.points(patch))
            away = int(((index < -0.5) | (index >= sizes - 0.5)).any(axis=1).sum())
            inside, outside = inside + len(index) - away, outside + away
        if own:
            stack.sample(own, slices, mask)
        made.append(_found(about, mask, inside, outside))
    return made


def _found(about: Mapping[str, Any], mask: Mask, inside: int, outside: int) -> Found:
    name = about["name"] or f"segment {about['number']}"
    refusal, notes = missed(name, inside, outside)
    if refusal is None and inside and not mask.any():
        refusal = too_small(name)
    return Found(Structure(mask=mask, **about), refusal, notes)
