"""A segmentation on another grid than the images: of each voxel, what the segmentation says at its centre."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Refused
from .patches import Patch
from .segment_frames import Frame
from .slices import ON_SLICE, Numbers, Slices

#: a centre that is midway between two pixels has always the same one, in spite of rounding
HALF = 0.5 + 1e-6
#: of the size of a pixel: as much may differ from frame to frame
UNLIKE = 1e-3
#: frames of several segments in one place differ by what decimals leave
SAME_MM = 0.02


@dataclass(frozen=True)
class Stack:
    """The grid of a segmentation.

    Attributes:
        origins: (frames, 3), mm LPS.
        across, down: from one column and from one row to the next.
        normal: of length 1.
        depth_mm: that a frame stands for, along the normal.
        level: (frames,) how many times that each lies beyond the first one.
    """

    origins: Numbers
    across: Numbers
    down: Numbers
    normal: Numbers
    depth_mm: float
    level: NDArray[np.int64]

    @classmethod
    def of(cls, frames: Sequence[Frame], slices: Slices) -> Stack:
        """Of all the frames of a segmentation.

        Raises:
            Refused: `label-frames`: they are no stack of parallel planes at even steps.
        """
        if not all(one.is_placed for one in frames):
            raise Refused("label-frames", "some frames of the segmentation do not say where they lie")
        first = frames[0]
        size = float(np.linalg.norm(first.across))
        away = [max(np.abs(one.across - first.across).max(), np.abs(one.down - first.down).max()) for one in frames]
        if max(away) > UNLIKE * size:
            raise Refused("label-frames", "the frames of the segmentation lie in different planes, or differ in size")
        origins = np.stack([one.position for one in frames])
        heights = origins @ first.normal
        depth_mm = _depth(heights, first.depth_mm, first.normal, slices)
        level = np.round((heights - heights[0]) / depth_mm)
        if np.abs((heights - heights[0]) / depth_mm - level).max() > ON_SLICE:
            raise Refused("label-frames", "the frames of the segmentation do not lie at even steps")
        return cls(origins, first.across, first.down, first.normal, depth_mm, level.astype(np.int64))

    def points(self, patch: Patch) -> Numbers:
        """The centres of all pixels that are inside, (pixels, 3), mm LPS."""
        row, column = patch.pixels()
        return np.asarray(self.origins[patch.frame] + column[:, None] * self.across + row[:, None] * self.down)

    def described(self) -> str:
        """How a person knows it."""
        sizes = (float(np.linalg.norm(self.across)), float(np.linalg.norm(self.down)), self.depth_mm)
        return " x ".join(f"{size:.3g}" for size in sizes) + " mm"

    def sample(self, patches: Sequence[Patch], slices: Slices, mask: NDArray[np.bool_]) -> None:
        """Mark the voxels of a volume whose centre lies in a patch; no two patches may be of one level."""
        at_level = {int(self.level[patch.frame]): patch for patch in patches}
        (i0, i1), (j0, j1), (k0, k1) = self.reach(patches, slices)
        rows, columns = np.arange(j0, j1)[:, None, None], np.arange(i0, i1)[None, :, None]
        in_plane = columns * slices.affine[:3, 0] + rows * slices.affine[:3, 1]
        for k in range(k0, k1):
            points = slices.origins[k] + in_plane
            level = np.floor((points - self.origins[0]) @ self.normal / self.depth_mm + HALF).astype(np.int64)
            for found in np.unique(level).tolist():
                if found in at_level:
                    there = self._inside(at_level[found], points) & (level == found)
                    mask[k, j0:j1, i0:i1] |= there

    def _inside(self, patch: Patch, points: Numbers) -> NDArray[np.bool_]:
        away = points - self.origins[patch.frame]
        column = np.floor(away @ self.across / (self.across @ self.across) + HALF).astype(np.int64) - patch.column
        row = np.floor(away @ self.down / (self.down @ self.down) + HALF).astype(np.int64) - patch.row
        rows, columns = patch.inside.shape
        there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return np.asarray(there & patch.inside[row.clip(0, rows - 1), column.clip(0, columns - 1)])

    def reach(self, patches: Iterable[Patch], slices: Slices) -> list[tuple[int, int]]:
        """The voxels that may lie in a patch: first and one behind the last, of columns, rows and slices."""
        corners = []
        for patch in patches:
            for row in (patch.row - 1, patch.row + patch.inside.shape[0]):
                for column in (patch.column - 1, patch.column + patch.inside.shape[1]):
                    at = self.origins[patch.frame] + column * self.across + row * self.down
                    corners += [at - self.depth_mm * self.normal, at + self.depth_mm * self.normal]
        index = slices.index(np.stack(corners))
        first, last = np.floor(index.min(axis=0)), np.ceil(index.max(axis=0)) + 1
        sizes = slices.shape[::-1]
        return [(int(a.clip(0, n)), int(b.clip(0, n))) for a, b, n in zip(first, last, sizes, strict=True)]


def _depth(heights: Numbers, stated_mm: float, normal: Numbers, slices: Slices) -> float:
    """What a frame stands for: as stated, where the frames lie at multiples of it; else the least step between them."""
    apart = np.diff(np.unique(heights))
    apart = apart[apart > SAME_MM]
    if stated_mm and (np.abs(apart / stated_mm - np.round(apart / stated_mm)) <= ON_SLICE).all():
        return stated_mm
    if len(apart):
        return float(apart.min())
    return stated_mm or float(np.abs(normal @ slices.affine[:3, :3]).max())
