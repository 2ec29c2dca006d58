"""A plane as a picture: contours on the boundaries of pixels, diameters, letters at the edges, a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...measurements.values import Line, PixelSize
from .fonts import drawn
from .planes import Plane
from .window import Window

Colour = tuple[int, int, int]
#: label values whose union is outlined
Values = tuple[int, ...]
INK, BLACK = (245, 247, 250), (0, 0, 0)
#: lengths that a scale may have: one of these, times a power of ten
ROUND_LENGTHS = (1, 2, 5)
#: a picture not higher than so many letters, as cuts through few slices are, has them at its sides only
THIN = 5
#: the longest part of a picture's width that the scale may take
SCALE_PART = 0.3
#: what is left of the brightness beside a contour
DARKER = 0.3
#: diameters are drawn so much finer, and then made smooth
FINER = 4
#: how far captions stay away from their line, in pixels; points of a line that they should not hide
BESIDE, POINTS = 8, 60


@dataclass(frozen=True)
class Look:
    """How a picture is drawn.

    Attributes:
        width, height: of the room that it has, in pixels.
        font: size of its letters.
        contour: thickness of the contours, in pixels.
    """

    width: int
    height: int
    font: int = 18
    contour: int = 2


@dataclass(frozen=True)
class Diameter:
    """A line with what it measures."""

    line: Line
    caption: str


def bright(colour: Colour) -> Colour:
    """A recommended display colour, light enough to be a line on a dark image."""
    strongest = max(*colour, 1)
    red, green, blue = (min(255, round(part * 255 / strongest)) for part in colour)
    return red, green, blue


def draw(
    plane: Plane,
    window: Window,
    colours: Mapping[Values, Colour],
    look: Look,
    diameters: Sequence[Diameter] = (),
    box: tuple[slice, slice] | None = None,
) -> Image.Image:
    """The picture of a plane, as large as fits into the room that it has, in its true shape.

    Args:
        colours: label values -> colour, of what is outlined; where outlines share pixels, each is drawn by itself.
        box: rows and columns that are framed: the part that another picture shows.
    """
    pixels = np.array(Image.fromarray(ground(plane, window, look)).convert("RGB"))
    outline(pixels, plane.labels, colours, look.contour)
    image = Image.fromarray(pixels)
    zoom = image.width / plane.labels.shape[1], image.height / plane.labels.shape[0]
    if box is not None:
        _frame(image, box, zoom)
    put_letters(image, plane, look)
    _measure(image, plane, diameters, zoom, look.font)
    return image


def ground(plane: Plane, window: Window, look: Look) -> NDArray[np.uint8]:
    """A plane without anything drawn on it: (rows, columns), or (rows, columns, 3) in colour."""
    scale = min(look.width / plane.width_mm, look.height / plane.height_mm)
    size = max(1, round(plane.width_mm * scale)), max(1, round(plane.height_mm * scale))
    return np.array(Image.fromarray(window.grey(plane.values)).resize(size, Image.Resampling.BILINEAR))


def put_letters(image: Image.Image, plane: Plane, look: Look) -> None:
    """The patient's sides, and a scale."""
    _letters(image, plane.edges, look.font)
    _scale(image, plane, image.width / plane.labels.shape[1], look.font)


def resized(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels at another size (columns, rows), where no pixel that has one is lost: it may be all of a lesion."""
    for axis, wanted in enumerate(size[::-1]):
        there = labels.shape[axis]
        if wanted >= there:
            labels = labels.take((np.arange(wanted) * 2 + 1) * there // (2 * wanted), axis)
        else:
            labels = np.maximum.reduceat(labels, np.arange(wanted) * there // wanted, axis)
    return labels


def outline(
    pixels: NDArray[np.uint8], labels: NDArray[np.uint8], colours: Mapping[Values, Colour], thickness: int
) -> None:
    """Colour the pixels just inside the boundary of each structure, and darken those just outside of it."""
    for inside, line in lines(pixels, labels, colours, thickness):
        pixels[inside] = line


def lines(
    pixels: NDArray[np.uint8], labels: NDArray[np.uint8], colours: Mapping[Values, Colour], thickness: int
) -> list[tuple[NDArray[np.bool_], NDArray[np.uint8]]]:
    """Darken the pixels just outside of each structure: any ground is dark. Where its line is, and of what colours.

    Args:
        labels: of any size; fitted to the pixels after those that are not outlined were left out.
    """
    drawn = []
    for numbered, table in _layers(labels, colours):
        seen = resized(numbered, (pixels.shape[1], pixels.shape[0]))
        edge = _edge(seen)
        inside = edge
        for _ in range(thickness - 1):
            inside = inside | (_beside(inside) & (seen > 0))
        outside = edge & (seen == 0)
        pixels[outside] = (pixels[outside] * DARKER).astype(np.uint8)
        inside &= seen > 0
        drawn.append((inside, table[seen[inside]]))
    return drawn  # drawn when all grounds are dark: none is darkened by the one around it


def _layers(
    labels: NDArray[np.uint8], colours: Mapping[Values, Colour]
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The structures that exclude one another as one map of numbers, with the colour of each.

    Where some share label values each is a map by itself, the largest first: what lies within it is drawn upon it.
    """
    every = sorted(colours)
    values = [value for one in every for value in one]
    if len(set(values)) < len(values):
        alone = [one for of_it in every for one in _layers(labels, {of_it: colours[of_it]})]
        return sorted(alone, key=lambda one: -np.count_nonzero(one[0]))
    numbers, table = np.zeros(256, np.uint8), np.zeros((len(every) + 1, 3), np.uint8)
    for number, of_it in enumerate(every, 1):
        numbers[list(of_it)], table[number] = number, colours[of_it]
    return [(numbers[labels], table)]


def _edge(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels with another label beside them; beyond the image there is none."""
    around = np.pad(labels, 1)
    centre = around[1:-1, 1:-1]
    beside = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    return np.logical_or.reduce([centre != other for other in beside])


def _beside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    around = np.pad(mask, 1)
    return around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]


def _text(
    image: Image.Image, at: tuple[float, float], text: str, size: int, anchor: str, *, bold: bool = False
) -> None:
    """Letters that can be read on any ground."""
    draw = ImageDraw.Draw(image)
    stroke = max(1, size // 8)
    ink, black = _inks(image)
    draw.text(at, text, ink, drawn(size, bold=bold), anchor=anchor, stroke_width=stroke, stroke_fill=black)


def _inks(image: Image.Image) -> tuple[Colour, Colour] | tuple[int, int]:
    """Of letters and of what is around them; pictures without colour have numbers."""
    return (INK, BLACK) if image.mode == "RGB" else (INK[1], 0)


def _letters(image: Image.Image, edges: tuple[str, str, str, str], size: int) -> None:
    for letters, (at, anchor) in zip(edges, _places_of_letters(image.size, size), strict=True):
        if letters and (anchor in ("lm", "rm") or image.height > THIN * size):
            _text(image, at, letters, size, anchor, bold=True)


def _places_of_letters(room: tuple[int, int], size: int) -> tuple[tuple[tuple[float, float], str], ...]:
    """In the middle of the left, right, upper and lower edge, with the side that the letters are aligned at."""
    (width, height), away = room, size // 3
    return (
        ((away, height / 2), "lm"),
        ((width - away, height / 2), "rm"),
        ((width / 2, away), "mt"),
        ((width / 2, height - away), "mb"),
    )


def _scale(image: Image.Image, plane: Plane, pixels_per_column: float, size: int) -> None:
    """A bar of a round length in mm at the bottom left; or the words that there is none."""
    room = size * 2 // 3
    left, bottom = room, image.height - room
    small = max(9, size * 4 // 5)
    if image.height <= THIN * size:
        return
    if plane.size is PixelSize.UNKNOWN:
        _text(image, (left, bottom), "no scale", small, "ls")
        return
    per_mm = pixels_per_column / plane.across_mm
    length = round_length(image.width * SCALE_PART / per_mm)
    right = left + length * per_mm
    draw, tick = ImageDraw.Draw(image), max(3, size // 4)
    ink, black = _inks(image)
    for colour, thick in ((black, 4), (ink, 2)):
        draw.line((left, bottom, right, bottom), fill=colour, width=thick)
        for x in (left, right):
            draw.line((x, bottom - tick, x, bottom + 1), fill=colour, width=thick)
    where = " at the detector" if plane.size is PixelSize.DETECTOR else ""
    _text(image, (left, bottom - tick - 2), f"{length:g} mm{where}", small, "ls")


def round_length(longest: float) -> float:
    """The longest of 1, 2, 5, 10, 20, 50 ... that is not longer."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(power * one for one in ROUND_LENGTHS if power * one <= longest * (1 + 1e-9)))


def _frame(image: Image.Image, box: tuple[slice, slice], zoom: tuple[float, float]) -> None:
    rows, columns = box
    corners = (columns.start * zoom[0], rows.start * zoom[1], columns.stop * zoom[0] - 1, rows.stop * zoom[1] - 1)
    ImageDraw.Draw(image).rectangle(corners, outline=INK, width=1)


def _measure(
    image: Image.Image, plane: Plane, diameters: Sequence[Diameter], zoom: tuple[float, float], size: int
) -> None:
    """Diameters with what they measure beside one of their ends, where it hides least of them and no letter."""
    lines = []
    for diameter in diameters:
        lines.append(
            [((x - plane.origin[0]) * zoom[0], (y - plane.origin[1]) * zoom[1]) for x, y in diameter.line.ends]
        )
        _smooth_line(image, lines[-1])
    hidden = [point for ends in lines for point in np.linspace(ends[0], ends[1], POINTS)]
    hidden += [np.array(at) for at, _ in _places_of_letters(image.size, size)] * POINTS
    for diameter, ends in zip(diameters, lines, strict=True):
        places = _places(image.size, ends, diameter.caption, size)
        best = min(places, key=lambda box: sum(_inside(point, box) for point in hidden))
        hidden += [np.array([x, y]) for x in np.linspace(best[0], best[2], POINTS) for y in (best[1], best[3])]
        _text(image, best[:2], diameter.caption, size, "la", bold=True)


def _smooth_line(image: Image.Image, ends: Sequence[tuple[float, float]]) -> None:
    """A white line with a dark rim, with a stroke across it at both ends."""
    margin = 8
    xs, ys = zip(*ends, strict=True)
    left, top = int(min(xs)) - margin, int(min(ys)) - margin
    width, height = int(max(xs)) + margin - left + 1, int(max(ys)) + margin - top + 1
    points = [((x - left) * FINER, (y - top) * FINER) for x, y in ends]
    along = np.subtract(points[1], points[0])
    aside = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * 5 * FINER
    for colour, thick in ((BLACK, 4), (INK, 2)):
        mask = Image.new("L", (width * FINER, height * FINER))
        draw = ImageDraw.Draw(mask)
        draw.line(points, fill=255, width=thick * FINER)
        for point in points:
            draw.line((*np.subtract(point, aside), *np.add(point, aside)), fill=255, width=thick * FINER)
        image.paste(colour, (left, top), mask.reduce(FINER))


def _places(
    size: tuple[int, int], ends: Sequence[tuple[float, float]], caption: str, letters: int
) -> list[tuple[float, float, float, float]]:
    """Where a caption may go, inside the image: beyond either end of its line, or there but above or below it."""
    font = drawn(letters, bold=True)
    width, height = font.getlength(caption), float(sum(font.getmetrics()))
    found = []
    for end, other in (ends[::-1], ends):
        away = np.subtract(end, other)
        away = away / max(float(np.hypot(*away)), 1e-6)
        middle = np.add(end, away * (BESIDE + np.abs(away) @ (width / 2, height / 2)))
        for lower in (0.0, -height, height):
            x = min(max(middle[0] - width / 2, BESIDE), max(BESIDE, size[0] - width - BESIDE))
            y = min(max(middle[1] - height / 2 + lower, BESIDE), max(BESIDE, size[1] - height - BESIDE))
            found.append((float(x), float(y), float(x + width), float(y + height)))
    return found


def _inside(point: NDArray[np.float64], box: tuple[float, float, float, float]) -> bool:
    return bool(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])
