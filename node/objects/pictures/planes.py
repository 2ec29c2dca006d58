"""Planes through the images: slices as they were taken, and cuts across them, each with its true sides and letters.

Where a side of the patient lies follows from the affine alone; the letters are those of PatientOrientation (PS3.3
C.7.6.1.1.1). Cuts lie as radiologists are used to: the head up, the patient's left and back to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ...measurements.calibration import calibration
from ...measurements.values import PixelSize
from ...study.facts import values
from ...study.geometry import Geometry
from ..run import Run

#: letters of the patient's sides along the axes of LPS: towards less, towards more
SIDES = (("R", "L"), ("A", "P"), ("F", "H"))
OPPOSITE = {letter: other for pair in SIDES for letter, other in (pair, pair[::-1])}
PLANES = ("sagittal", "coronal", "axial")
#: a direction has a second letter where it leans so far (the sine)
LEANING = 0.25
#: a plane is called oblique where its normal leans so far
OBLIQUE = 0.35
#: a cut is sheared where a slice lies further aside than this part of a pixel
ASIDE = 1e-3
MOST_FOR_MIDDLE = 64

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """What pictures are drawn of.

    Attributes:
        values: (slices, rows, columns), or with a last axis for colour.
        labels: (slices, rows, columns).
        geometry: their grid.
        spacing_mm: between columns and between rows; of equal scale but no length where `size` is unknown.
        size: what is known of it.
        sides: towards the right and towards the bottom of images that lie nowhere; empty where not known.
        names: of the slices.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.uint8]
    geometry: Geometry
    spacing_mm: tuple[float, float]
    size: PixelSize
    sides: tuple[str, str]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Plane:
    """A picture before it is drawn.

    Attributes:
        values, labels: (rows, columns), the values with a last axis for colour.
        across_mm, down_mm: the sides of a pixel.
        size: what is known of them.
        edges: letters at left, right, top and bottom; empty where not known.
        name: what it is.
        origin: (column, row) of its first pixel in the slice.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.uint8]
    across_mm: float
    down_mm: float
    size: PixelSize
    edges: tuple[str, str, str, str]
    name: str
    origin: tuple[int, int] = (0, 0)

    @property
    def width_mm(self) -> float:
        return self.labels.shape[1] * self.across_mm

    @property
    def height_mm(self) -> float:
        return self.labels.shape[0] * self.down_mm


def scene(run: Run) -> Scene:
    """What the pictures of a run are drawn of."""
    spacing, size = pixel_of(run.volume.geometry, run.volume.headers[0])
    directions = [str(one) for one in run.sources[0].get("PatientOrientation") or ()]
    return Scene(
        run.volume.values.array,
        run.labels,
        run.volume.geometry,
        spacing,
        size,
        (directions[0], directions[1]) if len(directions) == 2 else ("", ""),
        names(run.sources, run.volume.frames),
    )


def names(sources: Sequence[Dataset], frames: Sequence[int]) -> tuple[str, ...]:
    """The slices as a viewer names them: the number of the image, or of the frame."""
    count = len(sources)
    numbers = [str(source.get("InstanceNumber") or "") for source in sources]
    if any(frames):
        return tuple(f"frame {frame}" for frame in frames)
    if count == 1:
        return ("",)
    if len(set(numbers)) < count:
        return tuple(f"slice {k} of {count}" for k in range(1, count + 1))
    return tuple(f"slice {k} of {count}, image {number}" for k, number in enumerate(numbers, 1))


def pixel_of(geometry: Geometry, header: Dataset) -> tuple[tuple[float, float], PixelSize]:
    """The sides of a pixel; where its size is not known, what is said of its shape (PS3.3 C.7.6.3.1.7)."""
    if geometry.in_patient:
        across, down = np.linalg.norm(geometry.affine[:3, :2], axis=0)
        return (float(across), float(down)), PixelSize.PATIENT
    scale = calibration(header).anywhere
    if scale.size is not PixelSize.UNKNOWN:
        return (scale.columns_mm, scale.rows_mm), scale.size
    shape = [part for part in values(header, "PixelAspectRatio") if part.isdecimal() and int(part)]
    return ((float(shape[1]), float(shape[0])) if len(shape) == 2 else (1.0, 1.0)), PixelSize.UNKNOWN


def of_slice(of: Scene, k: int) -> Plane:
    """A slice as it was taken."""
    across, down = of.spacing_mm
    return Plane(of.values[k], of.labels[k], across, down, of.size, edges(of.geometry, of.sides), of.names[k])


def edges(geometry: Geometry, sides: tuple[str, str]) -> tuple[str, str, str, str]:
    """The letters at left, right, top and bottom of a slice.

    Args:
        sides: towards the right and the bottom of images that lie nowhere.
    """
    if not geometry.in_patient:
        right, bottom = sides
        return _other(right), right, _other(bottom), bottom
    return _edges(geometry.affine[:3, 0], geometry.affine[:3, 1])


def cuts(of: Scene) -> list[Plane]:
    """Two cuts across the slices, through the most of what was found; none where there are no slices in a patient."""
    if not of.geometry.in_patient or len(of.labels) < 2 or of.values.ndim == 4:
        return []
    j, i = _middle(of.labels)
    affine = of.geometry.affine
    along_row = _across_slices(of.values[:, j], of.labels[:, j], affine[:3, 0], affine[:3, 2])
    along_column = _across_slices(of.values[:, :, i], of.labels[:, :, i], affine[:3, 1], affine[:3, 2])
    return sorted((along_row, along_column), key=lambda plane: PLANES.index(plane.name.split(" ")[-1]), reverse=True)


def lie(geometry: Geometry) -> str:
    """The plane that the slices lie in: axial, coronal or sagittal; empty for images that lie nowhere."""
    return _plane(geometry.affine[:3, 0], geometry.affine[:3, 1]) if geometry.in_patient else ""


def cropped(plane: Plane, rows: slice, columns: slice) -> Plane:
    """A part of a plane."""
    return replace(
        plane,
        values=plane.values[rows, columns],
        labels=plane.labels[rows, columns],
        origin=(plane.origin[0] + columns.start, plane.origin[1] + rows.start),
    )


def _middle(labels: NDArray[np.uint8]) -> tuple[int, int]:
    """The row and the column through the most of what was found, seen in some of the slices."""
    step = -(-len(labels) // MOST_FOR_MIDDLE)
    inside = np.stack([labels[k] > 0 for k in range(0, len(labels), step)])
    if not inside.any():
        inside = labels > 0
    if not inside.any():
        return labels.shape[1] // 2, labels.shape[2] // 2
    return int(inside.sum(axis=(0, 2)).argmax()), int(inside.sum(axis=(0, 1)).argmax())


def _across_slices(values: NDArray[np.float32], labels: NDArray[np.uint8], along: Vector, step: Vector) -> Plane:
    """A cut with the slices as rows, put upright; a gantry tilt is taken out by moving every row to its place."""
    length = float(np.linalg.norm(along))
    towards = along / length
    aside = float(step @ towards)
    if abs(aside) > ASIDE * length:
        values, labels = _moved(values, labels, aside / length)
    down = step - aside * towards
    horizontal, vertical = along, down
    if _stands(along) > _stands(down):
        values, labels, horizontal, vertical = values.T, labels.T, down, along
    if _is_backwards(horizontal):
        values, labels, horizontal = values[:, ::-1], labels[:, ::-1], -horizontal
    if _is_backwards(vertical):
        values, labels, vertical = values[::-1], labels[::-1], -vertical
    sides = float(np.linalg.norm(horizontal)), float(np.linalg.norm(vertical))
    name = _plane(horizontal, vertical)
    return Plane(values, labels, *sides, PixelSize.PATIENT, _edges(horizontal, vertical), name)


def _stands(direction: Vector) -> float:
    """How much a direction is a vertical one: along the body, else from front to back."""
    unit = direction / np.linalg.norm(direction)
    return float(abs(unit[2]) * 2 + abs(unit[1]))


def _is_backwards(direction: Vector) -> bool:
    """Whether a direction to the right or down is not the usual one: to the patient's left, back or feet."""
    axis = int(np.abs(direction).argmax())
    return bool((direction[axis] > 0) == (axis == 2))


def _moved(
    values: NDArray[np.float32], labels: NDArray[np.uint8], pixels: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Every row moved by so many pixels more than the one before."""
    rows, columns = labels.shape
    shifts = np.arange(rows) * pixels
    shifts -= shifts.min()
    wide = columns + int(np.ceil(shifts.max()))
    at = np.arange(wide, dtype=float)
    nothing = values.min()
    moved, labelled = np.full((rows, wide), nothing, np.float32), np.zeros((rows, wide), np.uint8)
    for row, shift in enumerate(shifts):
        moved[row] = np.interp(at - shift, np.arange(columns), values[row], left=nothing, right=nothing)
        nearest = np.floor(at - shift + 0.5).astype(int)
        inside = (nearest >= 0) & (nearest < columns)
        labelled[row, inside] = labels[row, nearest[inside]]
    return moved, labelled


def _edges(right: Vector, down: Vector) -> tuple[str, str, str, str]:
    return letters(-right), letters(right), letters(-down), letters(down)


def letters(direction: Vector) -> str:
    """The sides of the patient that a direction points to, the most important one first (PS3.3 C.7.6.1.1.1)."""
    unit = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(unit), kind="stable")
    return "".join(SIDES[axis][int(unit[axis] > 0)] for axis in order if abs(unit[axis]) > LEANING)


def _other(direction: str) -> str:
    return "".join(OPPOSITE.get(letter, "") for letter in direction)


def _plane(right: Vector, down: Vector) -> str:
    normal = np.cross(right, down)
    normal /= np.linalg.norm(normal)
    name = PLANES[int(np.abs(normal).argmax())]
    return f"oblique {name}" if np.abs(normal).max() < np.sqrt(1 - OBLIQUE**2) else name
