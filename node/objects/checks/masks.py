"""The voxels of a segmentation, frame by frame, by the places that the frames state (promise 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import UID

from models import membership

from ...errors import Failed
from ...study.geometry import LINE_TOLERANCE, Geometry
from ..forms import LABEL_MAP
from ..run import Run
from .ends import Incomplete
from .frames import Frames, frames_of
from .read import Read
from .together import Together

#: a frame's position may differ from that of its image by this part of a pixel
PLACE_TOLERANCE = 0.02
#: of a frame that lies on no slice
NOWHERE = -1


def faults(one: Read, frames: Frames, together: Together) -> Iterator[str]:
    """Whether the segmentation has the voxels of the run, all of them and no others, each where it was imaged."""
    run, slices = together.run, slices_of(frames, together)
    if (slices == NOWHERE).any():
        yield f"{int((slices == NOWHERE).sum())} frames do not lie on an image that the network has read"
        return
    if len(np.unique(np.column_stack([slices, frames.segments]), axis=0)) < len(frames):
        yield "two frames show the same segment in the same place"
        return
    yield from _voxels(one, frames, slices, run)


def slices_of(frames: Frames, together: Together) -> NDArray[np.int64]:
    """The slice of each frame, by place; by name where the images lie nowhere in the patient; or `NOWHERE`."""
    volume = together.run.volume
    geometry = volume.geometry
    if not geometry.in_patient:
        return by_name(frames, together.images)
    slices = by_place(frames, geometry)
    images = np.array([[float(part) for part in header.ImagePositionPatient] for header in volume.headers])
    away_mm = np.linalg.norm(images[slices] - frames.positions, axis=1)
    slices[~(away_mm <= PLACE_TOLERANCE * geometry.pixel_mm2**0.5)] = NOWHERE
    return slices


def by_place(frames: Frames, geometry: Geometry) -> NDArray[np.int64]:
    """The slice of each frame by its position on a grid; `NOWHERE` off the grid."""
    inverse = np.linalg.inv(geometry.affine)
    along = frames.positions @ inverse[2, :3] + inverse[2, 3]
    slices = np.round(np.where(np.isfinite(along), along, NOWHERE)).astype(np.int64)
    on_grid = geometry.affine[:3, 3] + slices[:, None] * geometry.affine[:3, 2]
    away_mm = np.linalg.norm(frames.positions - on_grid, axis=1)
    off_mm = LINE_TOLERANCE * float(np.linalg.norm(geometry.affine[:3, 2]))  # as much as an image may
    near = away_mm <= off_mm + PLACE_TOLERANCE * geometry.pixel_mm2**0.5
    slices[~near | (slices < 0) | (slices >= geometry.shape[0])] = NOWHERE
    return slices


def by_name(frames: Frames, named: Mapping[tuple[str, int], int]) -> NDArray[np.int64]:
    """The slice of each frame by the one image, and frame of it, that it was made from."""
    of = [named.get(one[0][1:], NOWHERE) if len(one) == 1 else NOWHERE for one in frames.references]
    slices = np.array(of, np.int64)
    slices[np.isfinite(frames.positions).all(axis=1)] = NOWHERE  # a place is stated where there is none
    return slices


def pixels_of(seg: Dataset, native: memoryview | None) -> Iterator[NDArray[np.uint8 | np.uint16]]:
    """Every frame, (rows, columns): 0 and 1, or the numbers of a label map.

    Args:
        native: the stored bytes, where they are not in the data set.

    Raises:
        Incomplete: there are fewer or more bytes than the frames need.
    """
    size, bits = int(seg.Rows) * int(seg.Columns), int(seg.BitsAllocated)
    shape, number = (int(seg.Rows), int(seg.Columns)), int(seg.NumberOfFrames)
    if UID(seg.file_meta.TransferSyntaxUID).is_encapsulated:
        yield from iter_pixels(seg, raw=True)
        return
    stored = memoryview(seg.PixelData) if native is None else native
    needed = (number * size * bits + 7) // 8
    if len(stored) != needed + needed % 2:
        raise Incomplete(f"{number} frames take {needed} bytes of pixels, and there are {len(stored)}")
    for first in range(0, number * size, size):
        if bits > 1:
            yield np.frombuffer(stored, f"<u{bits // 8}", size, first * bits // 8).reshape(shape)
            continue
        octets = np.frombuffer(stored[first // 8 : (first + size + 7) // 8], np.uint8)
        yield np.unpackbits(octets, bitorder="little")[first % 8 :][:size].reshape(shape)


def _voxels(one: Read, frames: Frames, slices: NDArray[np.int64], run: Run) -> Iterator[str]:
    label_map = one.form.has(LABEL_MAP)
    values = [segment.values for segment in run.provenance.card.segment]
    numbers = np.zeros(np.iinfo(run.labels.dtype).max + 1, run.labels.dtype)
    segments_of = np.zeros(numbers.shape, np.int64)
    for number, of_segment in enumerate(values, 1):
        numbers[list(of_segment)] = number
        segments_of[list(of_segment)] += 1
    if ((frames.segments < (0 if label_map else 1)) | (frames.segments > len(values))).any():
        yield "a frame shows a segment that is not described"
        return
    wrong, inside = 0, 0
    for pixels, k, segment in zip(pixels_of(one.ds, one.pixels), slices, frames.segments, strict=True):
        found = pixels if label_map else pixels.view(np.bool_)
        meant = numbers[run.labels[k]] if label_map else membership.inside(run.labels[k], values[segment - 1])
        if not np.array_equal(found, meant):
            wrong += int((found != meant).sum())
        inside += int(np.count_nonzero(found))
    # a voxel of two segments is in two frames
    all_of_them = int(segments_of.max(initial=0)) <= 1
    there = np.count_nonzero(run.labels) if all_of_them else sum(int(segments_of[one].sum()) for one in run.labels)
    lacking = int(there) - inside
    if wrong or lacking:
        what = f"{wrong} voxels are not those of the network"
        yield what + (f", and {lacking} of the network's are in no frame" if lacking > 0 else "")


def mask(
    seg: Dataset, geometry: Geometry, values: Sequence[int], references: Mapping[tuple[str, int], int] | None = None
) -> NDArray[np.uint8]:
    """The label map that a segmentation shows on a grid.

    Args:
        seg: BINARY or LABELMAP, with its pixels.
        values: the label value of each segment, in the order of their numbers.
        references: where the images lie nowhere in the patient, the slice of each image and frame.

    Raises:
        Failed: `self-check`: a frame does not lie on the grid, or frames overlap.
    """
    frames = frames_of(seg)
    slices = by_place(frames, geometry) if references is None else by_name(frames, references)
    if (slices == NOWHERE).any():
        raise Failed("self-check", "a frame of the SEG does not lie on the grid of its source")
    table = np.array([0, *values], np.uint8)
    back = np.zeros(geometry.shape, np.uint8)
    for pixels, k, segment in zip(pixels_of(seg, None), slices, frames.segments, strict=True):
        inside = pixels > 0
        if back[k][inside].any():
            raise Failed("self-check", "segments of the SEG overlap")
        back[k][inside] = table[pixels[inside]] if segment == 0 else table[segment]
    return back
