"""From stored images to numbers: a volume in modality units, placed in the patient by an affine; or one 2D image.

Values are those of PS3.3 C.11.1 (slope and intercept or lookup table of each slice by itself), in float32, whatever the
type in which each slice is stored. Where they lie is the business of `geometry`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from models.card import Input
from models.wire import SharedArray

from ..failpoints import reach
from .decode import Decoders
from .geometry import Geometry
from .grid import Grid, lay_out, stored_values
from .values import Array, fill

__all__ = ["PLAIN", "Geometry", "Volume", "build"]

#: a volume in modality units, whatever it shows
PLAIN = Input(modality=("any",))
#: images whose stored values wait to be reckoned
AHEAD = 2


@dataclass(frozen=True)
class Volume:
    """Images as numbers.

    Attributes:
        values: float32 (slices, rows, columns), or (slices, rows, columns, 3) in colour, in memory that can be
            handed to another process.
        geometry: where they are.
        headers: one per slice, in the order of the slices, without pixels; of a multi-frame image, flat ones.
        frames: the frame that each slice is of its image, counted from 1; 0 where the image is a single frame.
        quantity: what the values are: "HU", "suv_bw", or "" for what has no unit of its own.
    """

    values: SharedArray
    geometry: Geometry
    headers: tuple[Dataset, ...]
    frames: tuple[int, ...]
    quantity: str

    def close(self) -> None:
        self.values.close()


def build(
    files: Sequence[Path], decoders: Decoders, rule: Input = PLAIN, *, of_each: Sequence[tuple[int, ...]] = ()
) -> Volume:
    """Read images.

    Args:
        files: the images, in any order.
        rule: what the channel wants them to be: kind, values, colour.
        of_each: the frames to be read of each file, counted from 1; an empty one means all.

    Raises:
        Refused: with a code that says what the images are not.
    """
    grid = lay_out(files, decoders, rule, of_each=of_each)
    shape = (*grid.geometry.shape, 3) if rule.colour == "rgb" else grid.geometry.shape
    values = SharedArray.make(shape, np.float32)
    reach("loading")
    try:
        _fill_all(values.array, grid, decoders)
    except BaseException:
        values.close()
        raise
    return Volume(values, grid.geometry, grid.headers, grid.frames, grid.quantity)


def _fill_all(into: Array, grid: Grid, decoders: Decoders) -> None:
    """Write the values of all slices: one is reckoned in a thread while the next ones are read."""
    with ThreadPoolExecutor(1, thread_name_prefix="volume") as pool:
        under_way: deque[Future[None]] = deque()
        try:
            for n, stored in stored_values(grid.images, grid.slices, decoders):
                under_way.append(pool.submit(fill, into[n], stored, grid.slices[n].header, grid.rule))
                if len(under_way) > AHEAD:  # as many as may wait in memory
                    under_way.popleft().result()
            for one in under_way:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)
