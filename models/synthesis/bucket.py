"""The training cases of a run as a generator learns from them: on one canvas, on one scale, with their maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .maps import Maps
from .scale import Scale
from .volume import Canvas, Volume

#: of the slices that are drawn; the rest is drawn from all
WITH_STRUCTURE = 0.6


@dataclass(frozen=True)
class Prepared:
    """One case.

    Attributes:
        volume: with the canvas's pixels.
        scaled: float32 (slices, channels, side, side), padded with -1.
        found: the map, uint8 (slices, side, side), padded with `Maps.nothing`.
    """

    volume: Volume
    scaled: NDArray[np.float32]
    found: NDArray[np.uint8]


@dataclass(frozen=True)
class Bucket:
    """All of them.

    Attributes:
        slices: (case, slice) of every slice.
        with_structure: of those that have a label value.
    """

    canvas: Canvas
    scale: Scale
    maps: Maps
    cases: tuple[Prepared, ...]
    slices: tuple[tuple[int, int], ...]
    with_structure: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        read: Sequence[Callable[[], Volume]],
        grids: Sequence[tuple[NDArray[np.float64], tuple[int, ...]]],
        side: int,
        values: Sequence[int],
    ) -> Bucket:
        """Read the cases, one after the other: of each only what is on the canvas stays in memory.

        Args:
            read: of each case.
            grids: of each case: mm between slices, rows, columns, and its shape in this order.
            side: rows and columns of the canvas.
            values: the label values.
        """
        canvas = Canvas.of([spacing for spacing, _ in grids], [shape for _, shape in grids], side)
        volumes = [canvas.take(one()) for one in read]
        scale, maps = Scale.of(one.values for one in volumes), Maps(tuple(sorted(values)))
        cases = tuple(_prepared(one, canvas, scale, maps) for one in volumes)
        return cls(canvas, scale, maps, cases, *_places(cases))

    def prepared(self, volume: Volume) -> Prepared:
        """A case that is none of the bucket, as it would be in it."""
        return _prepared(self.canvas.take(volume), self.canvas, self.scale, self.maps)

    def bare(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (channels, slices, rows, columns) as `likeness` compares them: NaN beside the image."""
        return self.canvas.pad(self.scale.apply(values).swapaxes(0, 1), np.nan)

    def draw(self, count: int, drawn: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Some slices at random.

        Returns:
            Images (count, channels, side, side) and what is shown of their maps.
        """
        chosen = []
        for _ in range(count):
            among = self.with_structure if drawn.random() < WITH_STRUCTURE else self.slices
            chosen.append(among[int(drawn.integers(len(among)))])
        images = torch.from_numpy(np.stack([self.cases[case].scaled[number] for case, number in chosen]))
        shown = [self.maps.shown(self.cases[case].found, [number]) for case, number in chosen]
        return images, torch.cat(shown)


def _prepared(volume: Volume, canvas: Canvas, scale: Scale, maps: Maps) -> Prepared:
    scaled = scale.apply(volume.values)
    found = maps.of(volume.label, scaled[0])
    return Prepared(volume, canvas.pad(scaled.swapaxes(0, 1), -1.0), canvas.pad(found, maps.nothing))


def _places(cases: Sequence[Prepared]) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """(case, slice) of every slice, and of those with a label value; of all where none has one."""
    slices = tuple((case, number) for case, one in enumerate(cases) for number in range(len(one.found)))
    return slices, tuple(place for place in slices if cases[place[0]].volume.label[place[1]].any()) or slices
