"""Where the frames of a segmentation lie on the grid of a volume: by geometry, else by the images that they name.

Their order, slices that have no frame, a part that was cut out, axes that run the other way or are exchanged: all that
is in the places of the frames, and needs no rule. Where a frame's pixels coincide with voxels, each is one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Refused
from .label_file import numbers
from .patches import Patch
from .segment_frames import Frame
from .segment_pixels import Format
from .slices import BETWEEN, OUTSIDE, Placed, Reference, Slices, frame_of_reference, named

Integers = NDArray[np.int64]

#: of a voxel: a pixel that is this near to its middle is that voxel
OFF_LATTICE = 0.25
#: of a multiple of the step between slices
OFF_MULTIPLE = 0.05
UPRIGHT = np.array([[1, 0], [0, 1], [0, 0]])


@dataclass(frozen=True)
class Laid:
    """A frame whose pixels are voxels.

    Attributes:
        start: (3,) the voxel (column, row, slice) of its first pixel; it may lie outside of the volume.
        steps: (3, 2) to the voxel of the next column, and of the next row.
    """

    start: Integers
    steps: Integers

    @property
    def place(self) -> tuple[int, ...]:
        """What another frame in the same place has, too."""
        return (*self.start.tolist(), *self.steps.ravel().tolist())

    def slices(self, patch: Patch, count: int) -> range:
        """Those of a volume of so many slices that a patch reaches."""
        rows, columns = patch.inside.shape
        ends = (patch.column, patch.column + columns - 1), (patch.row, patch.row + rows - 1)
        found = [int(self.start[2] + self.steps[2] @ (column, row)) for column in ends[0] for row in ends[1]]
        return range(max(min(found), 0), min(max(found) + 1, count))

    def voxels(self, patch: Patch) -> Integers:
        """(3, pixels), column, row and slice of all that is inside."""
        row, column = patch.pixels()
        return np.asarray(self.start[:, None] + self.steps @ np.stack([column, row]))


def lay(
    frames: Sequence[Frame], shown: Collection[int], stored: Format, frame_uid: str, volume: Placed
) -> tuple[dict[int, Laid] | None, int]:
    """The place of each frame that shows something; None where they have one, on another grid than the volume.

    With it comes the number of frames that name another one of the images than that on which they lie: their place
    holds, and the contradiction is for a person to know.

    Frames that state another frame of reference, or none, may lie anywhere. They are believed where each of them names
    the very image that it lies on: there are programs that make up a frame of reference for what they write.

    Args:
        shown: the indices of the frames that matter.
        frame_uid: FrameOfReferenceUID of the segmentation.

    Raises:
        Refused: `label-other-frame`, `label-other-images`, `label-other-size`.
    """
    references, whole = named(volume), sorted(shown) or range(len(frames))
    slices_named = {n: _only(frames[n].references, references) for n in whole}
    same = frame_uid == frame_of_reference(volume) and frame_uid != ""
    if not volume.geometry.in_patient or not all(frames[n].is_placed for n in whole):
        return _by_name(slices_named, stored, volume), 0
    slices = Slices.of(volume)
    found = {n: laid for n in whole if (laid := _laid(frames[n], stored, slices)) is not None}
    exact = len(found) == len(whole) and not _is_coarser(frames, found, slices, volume)
    if not same and not (exact and all(found[n].start[2] == slices_named[n] for n in whole)):
        raise Refused(
            "label-other-frame",
            "the segmentation lies in another frame of reference than the images, and its frames do not name them",
        )
    misnamed = sum(k is not None and found[n].start[2] != k for n, k in slices_named.items()) if exact else 0
    return (found if exact else None), misnamed


def _only(references: Collection[Reference], known: Mapping[Reference, int]) -> int | None:
    """The one slice that is named."""
    found = {known.get(one) for one in references}
    return found.pop() if len(found) == 1 else None


def _by_name(slices_named: Mapping[int, int | None], stored: Format, volume: Placed) -> dict[int, Laid]:
    _, rows, columns = volume.geometry.shape
    lost = sum(k is None for k in slices_named.values())
    if lost:
        raise Refused(
            "label-other-images",
            f"{lost} of the {len(slices_named)} frames of the segmentation say neither where in the patient they lie "
            "nor which of these images they show",
        )
    if (stored.rows, stored.columns) != (rows, columns):
        size = f"{stored.columns} x {stored.rows} pixels, and these images {columns} x {rows}"
        raise Refused("label-other-size", f"the segmentation says only by name which image it shows, but has {size}")
    return {n: Laid(np.array([0, 0, k]), UPRIGHT) for n, k in slices_named.items()}


def _laid(frame: Frame, stored: Format, slices: Slices) -> Laid | None:
    """Where the pixels of a frame are voxels; None where they are not."""
    steps = slices.to_voxels @ np.stack([frame.across, frame.down], axis=1)
    whole = np.round(steps)
    drift = np.abs(steps - whole) * (np.array([stored.columns, stored.rows]) - 1)
    by_axis = np.abs(whole)
    if drift.max() > OFF_LATTICE or (by_axis.sum(axis=0) != 1).any() or by_axis.sum(axis=1).max() > 1:
        return None
    at = slices.index(frame.position[None])[0]
    if not by_axis[2].any():
        k = slices.at(float(frame.position @ slices.normal))
        if k == BETWEEN:
            return None
        if k != OUTSIDE:  # from the image's own place, which may lie a little beside the even steps of the grid
            at = np.array([*slices.in_plane(frame.position[None], k)[0], k])
    start = np.round(at)
    return Laid(start.astype(np.int64), whole.astype(np.int64)) if np.abs(at - start).max() <= OFF_LATTICE else None


def _is_coarser(frames: Sequence[Frame], found: Mapping[int, Laid], slices: Slices, volume: Placed) -> bool:
    """Whether frames that lie on slices were made several slices apart, and stand for those between, too.

    They say so (SpacingBetweenSlices), and no two of them are neighbours. What the images say of themselves, too, is
    wrong in both.
    """
    depth_mm = max((frames[n].depth_mm for n in found), default=0.0)
    if not depth_mm:
        return False
    stated = numbers(volume.headers[0], "SpacingBetweenSlices", 1)
    axis = {int(np.abs(one.steps).sum(axis=1).argmin()) for one in found.values()}.pop()
    step_mm = slices.step_mm if axis == 2 else float(np.linalg.norm(slices.affine[:3, axis]))
    times = round(depth_mm / step_mm)
    if times < 2 or abs(depth_mm / step_mm - times) > OFF_MULTIPLE * times:
        return False
    if len(stated) and abs(abs(stated[0]) - depth_mm) < OFF_MULTIPLE * step_mm:
        return False
    apart = np.diff(np.unique([one.start[axis] for one in found.values()]))
    return not len(apart) or int(apart.min()) >= times
