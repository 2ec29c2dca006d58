"""Which frames a segmentation has, and what is said of each (PS3.3 C.7.6.16, C.8.20.3)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.membership import Labels

from ...errors import Refused
from .elements import code, element, sequence, text

#: of a segment, in the label map
Values = tuple[int, ...]

#: in place of a segment number: a frame of a label map shows every segment
EVERY = 0


@dataclass(frozen=True)
class Layout:
    """The frames of a segmentation, in their order.

    Attributes:
        frames: (segment number, slice index) of each; the number is EVERY in a label map.
        slices: that have a frame, in the order of the frames. Slices of a volume run against the normal of the images,
            so that (frame, row, column) is a right-handed grid; images that lie nowhere keep their order.
        in_patient: whether the slices have a place.
    """

    frames: tuple[tuple[int, int], ...]
    slices: tuple[int, ...]
    in_patient: bool


def layout(labels: Labels, values: Sequence[Values], *, label_map: bool, in_patient: bool) -> Layout:
    """Leave out the frames without a voxel; where there would be none, keep one.

    On images that are no slices of a volume every frame is there: what is said of a segment refers to its frames. Of
    a BINARY one a few more may be there, so that viewers find where each begins.

    Args:
        labels: (slices, rows, columns).
        values: the label values of each segment, in the order of the segment numbers.

    Raises:
        Refused: `output-unknown-label`.
    """
    there = _present(labels, values)
    if not in_patient:
        there[:] = True
    elif not there.any():
        there[0, -1] = True
    if not label_map:
        _add_empty_frames(there, labels[0].size)
    order = range(len(labels))[:: -1 if in_patient else 1]
    slices = tuple(k for k in order if there[:, k].any())
    numbers = [EVERY] if label_map else range(1, len(values) + 1)
    frames = tuple((number, k) for number in numbers for k in slices if number == EVERY or there[number - 1, k])
    return Layout(frames, slices, in_patient)


def _present(labels: Labels, values: Sequence[Values]) -> NDArray[np.bool_]:
    """(segments, slices): whether the segment has a voxel in the slice."""
    there = np.zeros((len(values), len(labels)), bool)
    known = sorted({0, *(value for of_segment in values for value in of_segment)})
    single = [of_segment[0] for of_segment in values] if all(len(one) == 1 for one in values) else None
    for k, one in enumerate(labels):
        flat = one.ravel()
        found = np.append(flat[1:][flat[1:] != flat[:-1]], flat[0])  # where a run begins; quicker than a count of all
        counts = np.bincount(found, minlength=known[-1] + 1)
        there[:, k] = counts[single] > 0 if single else [counts[list(one)].any() for one in values]
        if counts[known].sum() < found.size:
            raise Refused("output-unknown-label", "the label map has values that the network's card does not know")
    return there


def _add_empty_frames(there: NDArray[np.bool_], pixels: int) -> None:
    """Keep as many frames without a voxel as it takes to make the length of the pixels plain, where there are any.

    cornerstone3D (5.14) concludes from the length whether frames begin at bytes, which they do not (PS3.5 8.1.1). It
    knows nothing of the byte that makes a length even, and then shows nothing, or another mask. This concerns images
    whose number of pixels is no multiple of 16.
    """
    frames, spare = int(there.sum()), np.argwhere(~there)
    more = next((n for n in range(len(spare) + 1) if _is_plain(frames + n, pixels)), 0)
    if not more:
        return
    away = np.abs(np.subtract.outer(np.arange(there.shape[1]), np.flatnonzero(there.any(axis=0)))).min(axis=1)
    nearest = spare[np.argsort(away[spare[:, 1]], kind="stable")]
    there[tuple(nearest[:more].T)] = True


def _is_plain(frames: int, pixels: int) -> bool:
    packed = -(-frames * pixels // 8)
    at_bytes = frames * -(-pixels // 8)
    return packed % 2 == 0 and (packed != at_bytes or pixels % 8 == 0 or frames == 1)


def per_frame_groups(layout: Layout, sources: Sequence[Dataset], source_frames: Sequence[int]) -> bytes:
    """The Per-Frame Functional Groups Sequence (5200,9230): all that differs from frame to frame is two numbers.

    Args:
        sources: the repaired header of each slice.
        source_frames: the frame that each slice is of its image, from 1; 0 where that is a single frame.
    """
    index = {k: place for place, k in enumerate(layout.slices, 1)}
    derived = {k: _derivation(sources[k], source_frames[k]) for k in layout.slices}
    placed = {k: _position(sources[k]) if layout.in_patient else b"" for k in layout.slices}
    return sequence(
        0x52009230,
        *(
            derived[k] + _content(number, index[k], in_patient=layout.in_patient) + placed[k] + _identified(number)
            for number, k in layout.frames
        ),
    )


def _derivation(source: Dataset, frame: int) -> bytes:
    """Derivation Image: by this OHIF and cornerstone3D find the image to paint on (PS3.3 C.7.6.16.2.6)."""
    image = text(0x00081150, "UI", source.SOPClassUID) + text(0x00081155, "UI", source.SOPInstanceUID)
    if frame:
        image += text(0x00081160, "IS", frame)
    image += text(0x0028135A, "CS", "YES")
    image += code(0x0040A170, "121322", "DCM", "Source image for image processing operation")
    segmented = code(0x00089215, "113076", "DCM", "Segmentation")
    return sequence(0x00089124, sequence(0x00082112, image) + segmented)


def _content(number: int, index: int, *, in_patient: bool) -> bytes:
    """Frame Content: where the frame stands in each dimension (PS3.3 C.7.6.16.2.2)."""
    indices = (index,) if number == EVERY else (number, index)
    in_time = b"" if in_patient else element(0x00209128, "UL", struct.pack("<I", index))
    return sequence(0x00209111, in_time + element(0x00209157, "UL", struct.pack(f"<{len(indices)}I", *indices)))


def _position(source: Dataset) -> bytes:
    return sequence(0x00209113, text(0x00200032, "DS", *source.ImagePositionPatient))


def _identified(number: int) -> bytes:
    return b"" if number == EVERY else sequence(0x0062000A, element(0x0062000B, "US", struct.pack("<H", number)))
