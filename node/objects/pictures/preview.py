"""A picture of a label map without a run around it: for the demonstration, and for whoever makes training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...measurements.values import PixelSize
from ...study.geometry import Geometry
from . import window
from .drawing import Colour, Look, Values, bright, draw
from .planes import Scene, lie
from .sheet import Entry, Sheet, compose, room_of
from .tiles import Tile, overview_planes
from .window import Window

WIDTH, COLUMNS, LETTERS = 1280, 4, 15


@dataclass(frozen=True)
class Outlined:
    """One segment in the picture."""

    value: int
    caption: str
    colour: Colour


def picture(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    geometry: Geometry,
    segments: Sequence[Outlined],
    title: str,
    seen: tuple[float, float] = window.LUNG,
) -> Image.Image:
    """Slices through what was found, and two cuts across them.

    Args:
        values, labels: (slices, rows, columns).
        geometry: their grid.
        segments: what to outline.
        seen: the modality values of black and white.
    """
    across, down = np.linalg.norm(geometry.affine[:3, :2], axis=0)
    names = tuple(f"slice {k} of {len(labels)}" for k in range(1, len(labels) + 1))
    of = Scene(values, labels, geometry, (float(across), float(down)), PixelSize.PATIENT, ("", ""), names)
    room = room_of(WIDTH, COLUMNS)
    colours: dict[Values, Colour] = {(segment.value,): bright(segment.colour) for segment in segments}
    tiles = [
        Tile(draw(plane, Window(*seen), colours, Look(room, room, LETTERS)), plane.name, k)
        for plane, k in overview_planes(of)
    ]
    return compose(
        Sheet(
            width=WIDTH,
            columns=COLUMNS,
            title=title,
            below=lie(of.geometry),
            tiles=tiles,
            legend=[Entry(bright(segment.colour), segment.caption) for segment in segments],
            footer="",
        )
    )
