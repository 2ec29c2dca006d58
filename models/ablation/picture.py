"""Real slices above, made-up ones below, with the outlines of their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ..synthesis.bucket import Bucket
from ..synthesis.sampling import Made
from ..synthesis.volume import Volume

CASES, SLICES, MAGNIFIED = 3, 8, 3
TITLE, GAP = 18, 3
GREEN = (60, 220, 60)
PAPER, INK = (255, 255, 255), (0, 0, 0)


def picture(bucket: Bucket, made: Sequence[Made]) -> Image.Image:
    """A row per case: the same number of slices of each, evenly through its structure."""
    real = [one.volume for one in bucket.cases[:CASES]]
    blocks = (("Training patients", real), ("Made up", [one.volume for one in made[:CASES]]))
    cell = bucket.canvas.side * MAGNIFIED + GAP
    image = Image.new("RGB", (SLICES * cell, 2 * TITLE + sum(len(rows) for _, rows in blocks) * cell), PAPER)
    top = 0
    for title, volumes in blocks:
        ImageDraw.Draw(image).text((4, top + 3), title, fill=INK)
        top += TITLE
        for volume in volumes:
            for column, number in enumerate(_through(volume)):
                image.paste(_slice(bucket, volume, number), (column * cell, top))
            top += cell
    return image


def _through(volume: Volume) -> list[int]:
    has = np.flatnonzero(volume.label.any((1, 2)))
    first, last = (has[0], has[-1]) if len(has) else (0, len(volume.label) - 1)
    return [int(number) for number in np.linspace(first, last, SLICES).round()]


def _slice(bucket: Bucket, volume: Volume, number: int) -> Image.Image:
    """The first channel on the generator's scale, dark where there is nothing, with the label's outline."""
    scaled = bucket.scale.apply(volume.values[:1, number])[0]
    grey = bucket.canvas.pad(((scaled + 1) * 127.5).astype(np.uint8), 0)
    label = bucket.canvas.pad(volume.label[number], 0)
    large, inside = (one.repeat(MAGNIFIED, 0).repeat(MAGNIFIED, 1) for one in (grey, label > 0))
    colours: NDArray[np.uint8] = np.stack([large] * 3, -1)
    colours[inside & ~ndimage.binary_erosion(inside)] = GREEN
    return Image.fromarray(colours)
