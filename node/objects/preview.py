"""A picture of a result: contours over images, a legend, a scale; for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from ..study.geometry import Geometry

TILE = 300
MARGIN = 12
BACKGROUND, INK, FAINT = (16, 18, 22), (235, 238, 242), (150, 156, 164)
#: the display window of CT lung: level -500, width 1500
WINDOW = (-1250.0, 250.0)
AXIAL_TILES = 8


@dataclass(frozen=True)
class Outlined:
    """One segment in the picture."""

    value: int
    caption: str
    colour: tuple[int, int, int]


def picture(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    geometry: Geometry,
    segments: Sequence[Outlined],
    title: str,
    window: tuple[float, float] = WINDOW,
) -> Image.Image:
    """Eight axial slices through what was found, and a coronal and a sagittal cut.

    Args:
        values, labels: (slices, rows, columns) of an axial series.
        geometry: their grid.
        segments: what to outline.
        window: the modality values of black and white.
    """
    across, down, between = _spacing(geometry)
    found = np.flatnonzero(labels.any(axis=(1, 2)))
    low, high = (int(found[0]), int(found[-1])) if found.size else (0, labels.shape[0] - 1)
    chosen = np.unique(np.linspace(low, high, AXIAL_TILES).round().astype(int))
    cuts = [(values[k], labels[k], down, across, f"slice {k + 1} of {labels.shape[0]}") for k in chosen]
    j, i = _middle(labels)
    head_up = slice(None, None, -1 if geometry.affine[2, 2] > 0 else 1)
    cuts.append((values[head_up, j], labels[head_up, j], between, across, "coronal"))
    cuts.append((values[head_up, :, i], labels[head_up, :, i], between, down, "sagittal"))
    tiles = [_tile(*cut, segments, window) for cut in cuts]
    columns = 5
    height = MARGIN * 2 + 34 + ((len(tiles) + columns - 1) // columns) * (TILE + 26) + 40
    sheet = Image.new("RGB", (columns * (TILE + MARGIN) + MARGIN, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, _font(20))
    for number, (tile, cut) in enumerate(zip(tiles, cuts, strict=True)):
        x = MARGIN + number % columns * (TILE + MARGIN)
        y = MARGIN + 34 + number // columns * (TILE + 26)
        sheet.paste(tile, (x, y))
        draw.text((x + 4, y + TILE + 4), cut[4], FAINT, _font(13))
    x = MARGIN
    for segment in segments:
        y = height - 34
        draw.rectangle((x, y + 2, x + 16, y + 16), outline=_bright(segment.colour), width=3)
        draw.text((x + 24, y), segment.caption, INK, _font(15))
        x += 40 + int(draw.textlength(segment.caption, _font(15)))
    said = "Research use. Not a medical device."
    draw.text((sheet.width - MARGIN - draw.textlength(said, _font(15)), height - 34), said, FAINT, _font(15))
    return sheet


def _spacing(geometry: Geometry) -> tuple[float, float, float]:
    across, down, between = np.linalg.norm(geometry.affine[:3, :3], axis=0)
    return float(across), float(down), float(between)


def _middle(labels: NDArray[np.uint8]) -> tuple[int, int]:
    """The row and the column through the most of what was found."""
    inside = labels > 0
    if not inside.any():
        return labels.shape[1] // 2, labels.shape[2] // 2
    rows, columns = inside.sum(axis=(0, 2)), inside.sum(axis=(0, 1))
    return int(rows.argmax()), int(columns[: len(columns) // 2].argmax())


def _tile(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    down_mm: float,
    across_mm: float,
    _caption: str,
    segments: Sequence[Outlined],
    window: tuple[float, float],
) -> Image.Image:
    height_mm, width_mm = values.shape[0] * down_mm, values.shape[1] * across_mm
    scale = TILE / max(height_mm, width_mm)
    size = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    grey = np.clip((values - window[0]) / (window[1] - window[0]) * 255, 0, 255).astype(np.uint8)
    image = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    fine = image.resize((size[0] * 2, size[1] * 2), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(fine)
    stretch = np.array([fine.height / values.shape[0], fine.width / values.shape[1]])
    for segment in segments:
        padded = np.pad((labels == segment.value).astype(np.float32), 1)
        for line in find_contours(padded, 0.5):
            points = [(x, y) for y, x in (line - 0.5) * stretch]
            draw.line(points, fill=_bright(segment.colour), width=3, joint="curve")
    image = fine.resize(size, Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE), (0, 0, 0))
    tile.paste(image, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _bright(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """A recommended display colour, light enough to be a line on a dark image."""
    strongest = max(*colour, 1)
    red, green, blue = (min(255, round(part * 255 / strongest)) for part in colour)
    return red, green, blue


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
