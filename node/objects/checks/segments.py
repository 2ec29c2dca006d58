"""What a segmentation says beside its voxels: its segments, its plane, its frames' order, its images (PS3.3 C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models import membership
from models.card import Segment

from ...study.facts import text
from ..forms import BINARY, LABEL_MAP
from ..run import Run
from .codes import same_code, stated
from .frames import Frames
from .masks import slices_of
from .read import Read
from .together import Together

#: of the length of a pixel's side
PLANE_TOLERANCE = 1e-4
SEGMENT_NUMBER, IMAGE_POSITION, TEMPORAL_POSITION = 0x0062000B, 0x00200032, 0x00209128
#: the groups that a frame may have, and a frame of what lies nowhere may have
GROUPS = {0x00089124, 0x00209111, 0x00209113, 0x0062000A}
#: of a CIELab value, of 65535: highdicom takes the white of a screen (D65) for that of the Standard (D50)
COLOUR_TOLERANCE = 3000


def faults(one: Read, frames: Frames, together: Together) -> Iterator[str]:
    """Whether the header describes the run."""
    seg, run = one.ds, together.run
    label_map = one.form.has(LABEL_MAP)
    kind = LABEL_MAP if label_map else BINARY
    if seg.SegmentationType != kind:
        yield f"its segmentation type is {seg.SegmentationType}, not {kind}"
    if (int(seg.Rows), int(seg.Columns)) != run.volume.geometry.shape[1:]:
        yield "its frames have another size than the images"
    if not int(seg.NumberOfFrames) == len(frames) > 0:
        yield f"it describes {len(frames)} frames and has {seg.NumberOfFrames} (NumberOfFrames)"
    if (label_map, *pixel_format(seg)) not in FORMATS:
        yield "its pixels have another format than such a segmentation"
    if label_map and frames.segments.any():
        yield "a frame of a label map says that it shows one segment"
    overlap = "YES" if membership.overlap(run.provenance.card) else "NO"
    if seg.get("SegmentsOverlap") != overlap:
        yield f"it says of its segments overlapping {seg.get('SegmentsOverlap')}, and it is {overlap}"
    if unknown := frames.tags - GROUPS:
        yield f"its frames have groups that are not ours ({', '.join(f'{tag:08x}' for tag in sorted(unknown))})"
    yield from _segments(seg, run, label_map=label_map)
    yield from _plane(seg, run)
    yield from _order(seg, frames, together, label_map=label_map)
    yield from _images(seg, frames, together)


def pixel_format(seg: Dataset) -> tuple[int, ...]:
    """Bits allocated, bits stored, high bit, samples, signedness."""
    keywords = ("BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation")
    return tuple(int(seg[keyword].value) for keyword in keywords)


FORMATS = {(False, 1, 1, 0, 1, 0), (True, 8, 8, 7, 1, 0), (True, 16, 16, 15, 1, 0)}


def _segments(seg: Dataset, run: Run, *, label_map: bool) -> Iterator[str]:
    """Every segment of the card, with its place there as its number."""
    card = run.provenance.card
    described = [item for item in seg.SegmentSequence if not (label_map and item.SegmentNumber == 0)]
    numbers = [int(item.SegmentNumber) for item in described]
    if numbers != list(range(1, len(card.segment) + 1)):
        yield f"it describes segments {numbers}; the card has {len(card.segment)}"
        return
    for item, segment in zip(described, card.segment, strict=True):
        yield from (f"segment {item.SegmentNumber}: {fault}" for fault in _described(item, segment, run))


def _described(item: Dataset, segment: Segment, run: Run) -> Iterator[str]:
    if item.get("SegmentLabel") != segment.label:
        yield f"it is called {item.get('SegmentLabel')!r}, not {segment.label!r}"
    kind = (item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()])[0]
    for what, items, wanted in (
        ("category", item.get("SegmentedPropertyCategoryCodeSequence"), segment.category),
        ("type", item.get("SegmentedPropertyTypeCodeSequence"), segment.type),
        ("laterality", kind.get("SegmentedPropertyTypeModifierCodeSequence"), segment.laterality),
        ("anatomic region", item.get("AnatomicRegionSequence"), segment.anatomic_region),
    ):
        if not same_code(items, wanted):
            yield f"its {what} is {stated(items)}, not {'-' if wanted is None else wanted[2]} of the card"
    if str(item.get("TrackingUID")) != run.provenance.tracking_uid(segment) or not item.get("TrackingID"):
        yield "it is tracked by another UID than the structure has"
    colour = item.get("RecommendedDisplayCIELabValue")
    if colour is None or np.abs(np.array(colour, float) - cielab(segment.colour)).max() > COLOUR_TOLERANCE:
        yield "its colour is not that of the card"


def cielab(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """sRGB -> the three 16 bit numbers of PS3.3 C.10.7.1.1 (CIE L*a*b*, white D50)."""
    part = np.array(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    # sRGB to XYZ, adapted to D50 (ICC v4)
    to_xyz = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    )
    of_white = to_xyz @ linear / np.array([0.9642, 1.0, 0.8251])
    x, y, z = np.where(of_white > (6 / 29) ** 3, np.cbrt(of_white), of_white / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = np.array([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255])
    return lab * 65535


def _plane(seg: Dataset, run: Run) -> Iterator[str]:
    """Orientation and pixel size are those of the affine, and stated only where they are known."""
    shared, geometry = seg.SharedFunctionalGroupsSequence[0], run.volume.geometry
    measures, orientation = shared.get("PixelMeasuresSequence"), shared.get("PlaneOrientationSequence")
    if not geometry.in_patient:
        if orientation or "FrameOfReferenceUID" in seg:
            yield "it states a place in the patient, and the images have none"
        if bool(measures) is not geometry.is_calibrated:
            yield "it does not state the size of a pixel as the images do"
    if geometry.in_patient and not (orientation and measures):
        yield "it does not state its orientation and the size of a pixel"
        return
    axes = np.array([1, 0, 0, 0, 1, 0.0])
    if orientation:
        axes = np.array([float(part) for part in orientation[0].ImageOrientationPatient])
    if measures:
        rows, columns = (float(part) for part in measures[0].PixelSpacing)
        found = np.stack([axes[:3] * columns, axes[3:] * rows], axis=1)
        if not np.allclose(found, geometry.affine[:3, :2], rtol=0, atol=PLANE_TOLERANCE * max(rows, columns)):
            yield "it states another orientation or pixel size than its images have"


def _order(seg: Dataset, frames: Frames, together: Together, *, label_map: bool) -> Iterator[str]:
    """The index values count the segments and the places of the frames, in order (PS3.3 C.7.6.17)."""
    pointers = [int(item.DimensionIndexPointer) for item in seg.DimensionIndexSequence]
    place = IMAGE_POSITION if together.run.volume.geometry.in_patient else TEMPORAL_POSITION
    wanted = [place] if label_map else [SEGMENT_NUMBER, place]
    if pointers != wanted or frames.index_values.shape != (len(frames), len(wanted)):
        yield "its frames are not indexed by segment and place"
        return
    organizations = {str(item.DimensionOrganizationUID) for item in seg.DimensionOrganizationSequence}
    if {str(item.DimensionOrganizationUID) for item in seg.DimensionIndexSequence} != organizations:
        yield "its dimensions belong to an organization that it does not have"
    of = {SEGMENT_NUMBER: frames.segments, place: slices_of(frames, together)}
    if not all(_counts(frames.index_values[:, n], of[pointer]) for n, pointer in enumerate(wanted)):
        yield "DimensionIndexValues of its frames are not in the order of their segments and places"


def _counts(index: NDArray[np.int64], what: NDArray[np.int64]) -> bool:
    """Whether each value has one index, from 1 on, in rising or in falling order."""
    pairs = np.unique(np.column_stack([what, index]), axis=0)
    steps = np.diff(pairs, axis=0)
    one_to_one = len(pairs) == len(np.unique(what)) and bool((index >= 1).all())
    return one_to_one and bool((steps[:, 1] > 0).all() or (steps[:, 1] < 0).all())


def _images(seg: Dataset, frames: Frames, together: Together) -> Iterator[str]:
    """Each frame names the image that lies there; the object names all of them, in the series that they are of."""
    run = together.run
    exact = [
        (str(source.SOPClassUID), str(source.SOPInstanceUID), number)
        for source, number in zip(run.sources, run.volume.frames, strict=True)
    ]
    slices = slices_of(frames, together)
    others = sum(named != (exact[k],) for named, k in zip(frames.references, slices, strict=True))
    if others:
        yield f"{others} frames do not name the image that they were made from"
    listed = seg.get("ReferencedSeriesSequence") or []
    series = {text(item, "SeriesInstanceUID") for item in listed}
    if series != {str(run.sources[0].SeriesInstanceUID)}:
        yield "it does not name the series of its images (ReferencedSeriesSequence)"
        return
    images = {text(one, "ReferencedSOPInstanceUID") for item in listed for one in item.ReferencedInstanceSequence}
    if not {exact[k][1] for k in slices} <= images <= {one[1] for one in exact}:
        yield "the images that it lists are not those that it was made from"
