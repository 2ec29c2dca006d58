"""Pictures of the pages, by the node's own drawing: what was found beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from node.measurements.values import PixelSize
from node.objects.pictures.drawing import Colour, Look, draw
from node.objects.pictures.planes import Plane
from node.objects.pictures.sheet import Entry, Sheet, compose, room_of
from node.objects.pictures.tiles import Tile
from node.objects.pictures.window import Window

WIDTH, LETTERS = 860, 13
#: pink, which no tissue is
TRUTH: Colour = (255, 70, 230)


@dataclass(frozen=True)
class Outline:
    """One contour of a slice: its pixels, (rows, columns), and what the legend says of it."""

    mask: NDArray[np.bool_]
    caption: str
    colour: Colour


@dataclass(frozen=True)
class Slice:
    """One slice with its contours, at most eight; the first is drawn as the outermost where all are of one size.

    Attributes:
        values: (rows, columns).
        across_mm, down_mm: the sides of a pixel.
    """

    values: NDArray[np.float32]
    across_mm: float
    down_mm: float
    caption: str
    outlines: tuple[Outline, ...] = ()


def sheet(title: str, below: str, slices: Sequence[Slice], columns: int, seen: tuple[float, float]) -> Image.Image:
    """Slices in rows, with a legend.

    Args:
        seen: the values of black and white.
    """
    room = room_of(WIDTH, columns)
    legend = {one.caption: one.colour for of in slices for one in of.outlines}
    return compose(
        Sheet(
            width=WIDTH,
            columns=columns,
            title=title,
            below=below,
            tiles=[Tile(_drawn(one, Window(*seen), room), one.caption, None) for one in slices],
            legend=[Entry(colour, caption) for caption, colour in legend.items()],
            footer="",
        )
    )


def _drawn(one: Slice, window: Window, room: int) -> Image.Image:
    bits = np.zeros(one.values.shape, np.uint8)
    for number, outline in enumerate(one.outlines):
        bits |= outline.mask.astype(np.uint8) << number
    every = np.arange(256)
    colours = {
        tuple(int(value) for value in every[every >> number & 1 == 1]): outline.colour
        for number, outline in enumerate(one.outlines)
    }
    nowhere = ("", "", "", "")
    plane = Plane(one.values, bits, one.across_mm, one.down_mm, PixelSize.PATIENT, nowhere, one.caption)
    return draw(plane, window, colours, Look(room, room, LETTERS, contour=1))
