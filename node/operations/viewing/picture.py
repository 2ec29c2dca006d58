"""One slice as a PNG, with the contours that are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...objects.pictures.drawing import Colour, Look, Values, ground, lines, outline, put_letters
from ...objects.pictures.planes import Plane
from ...objects.pictures.window import Window
from . import contours
from .view import View

#: the longer side of a picture, in pixels
LONGEST = 768
LOOK = Look(LONGEST, LONGEST, font=17, contour=2)
#: of zlib: a third more bytes than the best, in a tenth of its time
COMPRESS_LEVEL = 1
#: of a palette; more structures in one slice are drawn without one
MOST_COLOURS = 48


def picture(view: View, k: int, window: Window, hidden: Collection[int] = ()) -> bytes:
    """A slice as it was taken, in its true shape.

    Args:
        k: from 0.
        hidden: structures that are not drawn.

    Raises:
        Refused, Failed: its pixels cannot be read.
    """
    plane = view.plane(k)
    wanted = [part for part in view.contours.parts.get(k, ()) if part.number not in hidden]
    # the largest first: what lies within is drawn upon it
    wanted.sort(key=lambda part: -part.shape[0] * part.shape[1])
    layers = contours.layers(wanted, view.grid.geometry.shape[1:])
    colours = {one.number: one.colour for one in view.contours.structures}
    pixels = ground(plane, window, LOOK)
    if pixels.ndim == 2 and len({part.number for part in wanted}) <= MOST_COLOURS:
        image = _indexed(plane, pixels, layers, colours)
    else:
        coloured = np.array(Image.fromarray(pixels).convert("RGB"))
        for labels, numbers in layers:
            outline(coloured, labels, {(n,): colours[number] for n, number in numbers.items()}, LOOK.contour)
        image = Image.fromarray(coloured)
        put_letters(image, plane, LOOK)
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=COMPRESS_LEVEL)
    return stream.getvalue()


def _indexed(
    plane: Plane,
    pixels: NDArray[np.uint8],
    layers: Sequence[tuple[NDArray[np.uint8], Mapping[int, int]]],
    colours: Mapping[int, tuple[int, int, int]],
) -> Image.Image:
    """A grey picture with lines in colour, of a third of the bytes: a palette of greys, and behind them the colours.

    Where there are lines the greys are as many fewer as there are colours: half a step of the display at most.
    """
    shown = sorted({number for _, numbers in layers for number in numbers.values()})
    place = {number: n for n, number in enumerate(shown, 1)}
    marks = np.zeros(pixels.shape, np.uint8)
    for labels, numbers in layers:
        as_places: dict[Values, Colour] = {(n,): (place[number], 0, 0) for n, number in numbers.items()}
        for inside, line in lines(pixels, labels, as_places, LOOK.contour):
            marks[inside] = line[:, 0]
    image = Image.fromarray(pixels)
    put_letters(image, plane, LOOK)
    if not shown:
        return image
    lettered = np.array(image)
    marks[lettered != pixels] = 0
    greys = 256 - len(shown)
    of_grey = (np.arange(256) * (greys - 1) / 255).round().astype(np.uint8)
    indexed = Image.fromarray(np.where(marks > 0, np.uint8(greys - 1) + marks, of_grey[lettered]))
    levels = (np.arange(greys) * 255 / (greys - 1)).round().astype(np.uint8)
    palette = np.concatenate([np.repeat(levels[:, None], 3, axis=1), np.array([colours[n] for n in shown], np.uint8)])
    indexed.putpalette(palette.tobytes())
    return indexed
