"""Ultrasound frames of nobody: a neck across, with a gland, a darker nodule in it, a vessel and an airway; and speckle.

Drawn in millimetres, imaged as a log-compressed envelope of scatterers under a point spread that is wider across than
along the beam. Every frame says its scale by a calibrated region (PS3.3 C.8.5.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundImageStorage, generate_uid
from scipy.ndimage import gaussian_filter

from tests import scenes

#: of the screen; the picture of tissue lies within it, below a bar with letters
ROWS, COLUMNS = 480, 640
TOP, LEFT, HEIGHT, WIDTH = 40, 90, 420, 460
GLAND, NODULE = 1, 2
#: of the envelope; speckle has about 5 dB of its own
DYNAMIC_DB = 55.0
CENTIMETRES, TISSUE, TWO_DIMENSIONAL = 3, 1, 1

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pixels: (rows, columns), 8 bits.
        labels: on the same grid: 1 gland, 2 nodule, which is a part of the gland.
        pixel_mm: the side of a pixel.
        shape: "linear" or "sector".
    """

    pixels: Pixels
    labels: Pixels
    pixel_mm: float
    shape: str

    def area_mm2(self, *values: int) -> float:
        return float(np.isin(self.labels, values).sum()) * self.pixel_mm**2


def frame(seed: int, *, sector: bool | None = None) -> Frame:
    """Draw a neck that no other seed draws: sizes, places, brightness, depth, which side the airway is on."""
    rng = np.random.default_rng([2026, seed])
    pixel_mm = float(rng.uniform(0.080, 0.105))
    fan = bool(rng.random() < 0.3) if sector is None else sector
    depth, across = np.mgrid[:HEIGHT, :WIDTH] * pixel_mm
    across = across - WIDTH * pixel_mm / 2
    side = rng.choice([-1.0, 1.0])
    gland, nodule = _gland(rng, across * side, depth)
    level = _tissue(rng, across * side, depth, gland, nodule)
    seen = _fan(across, depth) if fan else np.ones(depth.shape, bool)
    picture = _imaged(rng, level, depth)
    pixels, labels = np.zeros((ROWS, COLUMNS), np.uint8), np.zeros((ROWS, COLUMNS), np.uint8)
    inside = (slice(TOP, TOP + HEIGHT), slice(LEFT, LEFT + WIDTH))
    pixels[inside] = np.where(seen, picture, 0)
    labels[inside] = np.where(seen, np.where(nodule, NODULE, gland * GLAND), 0)
    pixels[60:400, 600:612] = np.linspace(255, 0, 340)[:, None].astype(np.uint8)  # the bar of greys
    return Frame(pixels, labels, pixel_mm, "sector" if fan else "linear")


def _gland(rng: np.random.Generator, across: Numbers, depth: Numbers) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A lobe with a wavy outline, and an ellipse well inside of it."""
    centre, half = (rng.uniform(-3, 1), rng.uniform(15, 19)), (rng.uniform(7.5, 10.5), rng.uniform(6, 8))
    x, y = (across - centre[0]) / half[0], (depth - centre[1]) / half[1]
    angle, waves = np.arctan2(y, x), rng.uniform(-1, 1, 4)
    edge = 1 + 0.06 * (waves[0] * np.cos(2 * angle + 3 * waves[1]) + waves[2] * np.cos(3 * angle + 3 * waves[3]))
    gland = np.hypot(x, y) < edge
    away, turned = rng.uniform(0, 0.35), rng.uniform(0, 2 * np.pi)
    middle = centre[0] + away * half[0] * np.cos(turned), centre[1] + away * half[1] * np.sin(turned)
    radii = rng.uniform(2.0, 4.2), rng.uniform(1.8, 3.4)
    nodule = np.hypot((across - middle[0]) / radii[0], (depth - middle[1]) / radii[1]) < 1
    return gland, nodule & gland


def _tissue(
    rng: np.random.Generator, across: Numbers, depth: Numbers, gland: NDArray[np.bool_], nodule: NDArray[np.bool_]
) -> Numbers:
    """How strongly tissue scatters, in dB below the brightest."""
    level = np.full(depth.shape, -26.0) + 3 * np.sin(depth * rng.uniform(3, 5) + across * rng.uniform(-0.3, 0.3))
    level[depth < rng.uniform(2.0, 3.0)] = -8.0
    level[gland] = rng.uniform(-15, -11)
    level[nodule] = level[gland].mean() - rng.uniform(9, 14)
    rim = gaussian_filter(nodule.astype(float), 3)
    level[(rim > 0.2) & (rim < 0.5)] += 2.0
    vessel = np.hypot(across - rng.uniform(12, 15), (depth - rng.uniform(17, 21)) / 0.95) / rng.uniform(2.6, 3.4)
    level[(vessel < 1.15) & ~gland] = -10.0
    level[(vessel < 1) & ~gland] = -48.0
    airway = np.hypot(across + rng.uniform(15, 17), depth - rng.uniform(17, 20)) / rng.uniform(5.5, 7)
    level[(airway < 1.08) & ~gland] = -6.0
    level[(airway < 1) & ~gland] = -44.0
    return level - 0.15 * depth  # what the time gain does not make good


def _imaged(rng: np.random.Generator, level: Numbers, depth: Numbers) -> Pixels:
    """Speckle: the envelope of many scatterers, compressed as scanners do."""
    amplitude = 10 ** (gaussian_filter(level, 1.5) / 20)
    waves = [
        gaussian_filter(rng.standard_normal(level.shape).astype(np.float32) * amplitude, (1.2, 2.6)) for _ in range(2)
    ]
    envelope = np.hypot(*waves) / (0.28 * 0.35)
    decibels = 20 * np.log10(np.maximum(envelope, 1e-5)) + rng.uniform(-3, 3)
    return np.asarray(np.clip((decibels + DYNAMIC_DB) / DYNAMIC_DB, 0, 1) * 255, np.uint8)


def _fan(across: Numbers, depth: Numbers) -> NDArray[np.bool_]:
    """What a curved probe sees: between two rays and two circles around the point where they meet."""
    apex_mm = 28.0
    reach, angle = np.hypot(across, depth + apex_mm), np.arctan2(across, depth + apex_mm)
    return (reach > apex_mm + 0.5) & (reach < depth.max() + apex_mm) & (np.abs(angle) < np.radians(26))


def images(frames: list[Frame]) -> list[Dataset]:
    """The frames as one series of US images (PS3.3 A.6.3), each calibrated by its region."""
    study, series = generate_uid(), generate_uid()
    made = []
    for number, one in enumerate(frames, 1):
        ds = scenes.header("US", study, series)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
        ds.PatientName, ds.PatientID, ds.BodyPartExamined = "Frames^Synthetic", "CASE-THYROID", "THYROID"
        ds.StudyDescription, ds.SeriesDescription = "Synthetic ultrasound of nobody", f"Drawn neck, {one.shape}"
        ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY"], number
        ds.PatientOrientation, ds.BurnedInAnnotation = ["L", "P"], "NO"
        ds.Rows, ds.Columns = one.pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.SequenceOfUltrasoundRegions = [_region(one.pixel_mm)]
        ds.PixelData = one.pixels.tobytes()
        made.append(ds)
    return made


def _region(pixel_mm: float) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = TWO_DIMENSIONAL, TISSUE, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = LEFT, TOP
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = LEFT + WIDTH - 1, TOP + HEIGHT - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = CENTIMETRES
    item.PhysicalDeltaX = item.PhysicalDeltaY = pixel_mm / 10
    return item
