"""One slice as a PNG, with the contours that are wanted."""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO

from PIL import Image

from ...objects.pictures.drawing import Look, ground, outline, put_letters
from ...objects.pictures.window import Window
from . import contours
from .view import View

#: the longer side of a picture, in pixels
LONGEST = 768
LOOK = Look(LONGEST, LONGEST, font=17, contour=2)
#: of zlib: a third more bytes than the best, in a tenth of its time
COMPRESS_LEVEL = 1


def picture(view: View, k: int, window: Window, hidden: Collection[int] = ()) -> bytes:
    """A slice as it was taken, in its true shape.

    Args:
        k: from 0.
        hidden: structures that are not drawn.

    Raises:
        Refused, Failed: its pixels cannot be read.
    """
    plane = view.plane(k)
    pixels = ground(plane, window, LOOK)
    colours = {one.number: one.colour for one in view.contours.structures}
    wanted = [part for part in view.contours.parts.get(k, ()) if part.number not in hidden]
    # the largest first: what lies within is drawn upon it
    wanted.sort(key=lambda part: -part.shape[0] * part.shape[1])
    for labels, numbers in contours.layers(wanted, view.grid.geometry.shape[1:]):
        outline(pixels, labels, {(n,): colours[number] for n, number in numbers.items()}, LOOK.contour)
    image = Image.fromarray(pixels)
    put_letters(image, plane, LOOK)
    if not view.in_colour and not wanted:
        image = image.convert("L")
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=COMPRESS_LEVEL)
    return stream.getvalue()
