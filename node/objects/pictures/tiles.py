"""The pictures of a run, each with the line of text below it: for the overview, and for each segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.card import Card
from models.membership import inside

from ...measurements.values import Measured, PixelSize
from ..run import Run
from . import planes, window, words
from .choice import through
from .drawing import Colour, Diameter, Look, Values, bright, draw
from .planes import Plane, Scene
from .window import Window

#: a segment is shown by itself where it becomes larger by this much
WORTH_ENLARGING = 1.6
#: what is seen around it then, as a part of its size, and at least in pixels
AROUND_PART, AROUND_PIXELS = 0.5, 6


@dataclass(frozen=True)
class Tile:
    """One picture.

    Attributes:
        caption: below it.
        slice: which one it shows; None for a cut across all.
    """

    image: Image.Image
    caption: str
    slice: int | None


def colours(card: Card) -> dict[Values, Colour]:
    """Label values of a segment -> colour of its contour."""
    return {segment.values: bright(segment.colour) for segment in card.segment}


def window_of(run: Run, measured: Measured | None = None) -> Window:
    """The window for one segment; or for all that was found together."""
    these = [one for one in ((measured,) if measured else run.measured) if one.intensity is not None]
    voxels = sum(one.voxels for one in these)
    mean = sum(one.intensity.mean * one.voxels for one in these if one.intensity) / voxels if voxels else None
    volume = run.volume
    lung = any("lung" in segment.type[2].lower() for segment in run.provenance.card.segment)
    return window.usual(volume.values.array, volume.headers[0], volume.quantity, mean, lung=lung)


def overview_planes(of: Scene) -> list[tuple[Plane, int | None]]:
    """Slices through what was found, and two cuts across them; each with the number of its slice."""
    slices: list[tuple[Plane, int | None]] = [(planes.of_slice(of, k), k) for k in through(of.labels)]
    return slices + [(cut, None) for cut in planes.cuts(of)]


def overview(run: Run, of: Scene, look: Look) -> list[Tile]:
    """The pictures of an overview, with all contours."""
    seen, outlined = window_of(run), colours(run.provenance.card)
    return [Tile(draw(plane, seen, outlined, look), plane.name, k) for plane, k in overview_planes(of)]


def of_segment(run: Run, of: Scene, n: int, look: Look, apart: Look) -> list[Tile]:
    """A segment where there is most of it, with its diameters.

    There are two pictures where the diameters lie in another slice, and where the segment is small: the second one
    shows them, as large as there is room.

    Args:
        n: its place in the card.
        look, apart: how one picture is drawn, and how each of two.
    """
    segment, measured = run.provenance.card.segment[n], run.measured[n]
    seen, outlined = window_of(run, measured), {segment.values: bright(segment.colour)}
    diameters = _diameters(measured)
    main = measured.largest_slice
    other = measured.long_axis.slice if measured.long_axis else main
    plane, near = planes.of_slice(of, main), planes.of_slice(of, other)
    box = _around(inside(near.labels, segment.values))
    if box is None and main == other:
        return [Tile(draw(plane, seen, outlined, look, diameters), _caption(of, plane, seen.name), main)]
    frame = box if main == other else None
    larger = "" if box is None else "enlarged"
    detail = near if box is None else planes.cropped(near, *box)
    return [
        Tile(draw(plane, seen, outlined, apart, box=frame), _caption(of, plane, seen.name), main),
        Tile(draw(detail, seen, outlined, apart, diameters), _caption(of, detail, larger), other),
    ]


def _caption(of: Scene, plane: Plane, more: str) -> str:
    return " · ".join(part for part in (planes.lie(of.geometry), plane.name, more) if part)


def _diameters(measured: Measured) -> list[Diameter]:
    unit = "pixels" if measured.pixel_size is PixelSize.UNKNOWN else "mm"
    pairs = (("long", measured.long_axis), ("short", measured.short_axis))
    return [Diameter(line, f"{name} {words.number(line.length)} {unit}") for name, line in pairs if line is not None]


def _around(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns around a small segment; None where there is none, or where it would not be seen larger."""
    if not mask.any():
        return None
    found = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    spans = [(int(at[0]), int(at[-1]) + 1) for at in found]
    reach = max(high - low for low, high in spans)
    half = reach * (0.5 + AROUND_PART) + AROUND_PIXELS
    rows, columns = (
        slice(max(0, int((low + high) / 2 - half)), min(size, int(np.ceil((low + high) / 2 + half))))
        for (low, high), size in zip(spans, mask.shape, strict=True)
    )
    larger = min(mask.shape[0] / (rows.stop - rows.start), mask.shape[1] / (columns.stop - columns.start))
    return (rows, columns) if larger >= WORTH_ENLARGING else None
