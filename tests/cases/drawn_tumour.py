"""A tumour that nobody has, drawn into a real brain: an edema, a core in it, an enhancing rim around what is dead.

Four contrasts come of two: FLAIR and T1 are the scanner's; T2 is what T1 is not, and T1 after contrast is T1 itself
where there is no tumour. In the order of the Model Zoo's brats bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.cases.mr_images import Values, Volume

CHANNELS = ("t1c", "t1", "t2", "flair")
#: in the order of the network's channels
SEGMENTS = ("Tumor core", "Whole tumor", "Enhancing tumor")
#: edges are as soft as a voxel of 1 mm makes them
SOFT_MM = 1.0


@dataclass(frozen=True)
class Brain:
    """A brain without its skull.

    Attributes:
        flair, t1: 0 outside of it; whole numbers of some hundreds inside.
        inside: (slices, rows, columns).
    """

    flair: Volume
    t1: Volume
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Tumour:
    """What is drawn.

    Attributes:
        centre_mm: LPS.
        radius_mm: of the whole, roughly.
        core, rim_mm: the core's share of that radius; how thick what enhances is.
        seed: of its outline and its texture.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    core: float
    rim_mm: float
    seed: int


def brain(flair: Volume, t1: Volume) -> Brain:
    """A brain of two contrasts on one grid."""
    inside = (flair.values > 1) & (t1.values > 1)
    scaled = [
        Volume(np.where(inside, one.values * (500 / np.median(one.values[inside])), 0).astype(np.float32), one.affine)
        for one in (flair, t1)
    ]
    return Brain(scaled[0], scaled[1], inside)


def draw(of: Brain, tumours: Sequence[Tumour]) -> tuple[Values, NDArray[np.bool_]]:
    """The four contrasts, (channels, slices, rows, columns), and the three masks in the order of `SEGMENTS`."""
    t1, flair = of.t1.values.copy(), of.flair.values.copy()
    t2 = np.where(of.inside, 1000 - 0.9 * np.clip(t1, 0, 1000), 0).astype(np.float32)
    t1c = t1.copy()
    masks = np.zeros((3, *t1.shape), np.bool_)
    for one in tumours:
        whole, core, dead = (mask & of.inside for mask in _regions(of.t1, one))
        rim = core & ~dead
        masks |= np.stack([core, whole, rim])
        texture = 1 + 0.08 * _texture(t1.shape, one.seed)
        for values, edema, alive, necrosis in (
            (flair, 880, 820, 600),
            (t2, 900, 800, 980),
            (t1, 380, 360, 250),
            (t1c, 390, 1000, 260),
        ):
            for region, level in ((whole, edema), (core, alive), (dead, necrosis)):
                weight = gaussian_filter(region.astype(np.float32), SOFT_MM / np.array(of.t1.spacing_mm))
                values += weight * (level * texture - values)
            values[~of.inside] = 0
    return np.stack([t1c, t1, t2, flair]).astype(np.float32), masks


def _regions(grid: Volume, one: Tumour) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Whole, core and what is dead in it: three bodies with wavy surfaces, one inside of the other."""
    rng = np.random.default_rng([2026, one.seed])
    away = _away_mm(grid, one.centre_mm)
    stretched = away / rng.uniform(0.8, 1.2, 3)
    distance = np.linalg.norm(stretched, axis=-1)
    unit = stretched / np.maximum(distance, 1e-6)[..., None]
    waves = rng.normal(size=(6, 3)) * 2.5
    phases = rng.uniform(0, 2 * np.pi, 6)
    wave = sum(np.sin(unit @ w + p) for w, p in zip(waves, phases, strict=True)) * 0.05
    core_mm = one.radius_mm * one.core
    core = distance < core_mm * (1 - wave)
    return (distance < one.radius_mm * (1 + wave)) | core, core, distance < core_mm * (1 - wave) - one.rim_mm


def _away_mm(grid: Volume, centre_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """From the centre to every voxel, (slices, rows, columns, 3)."""
    k, j, i = np.meshgrid(*[np.arange(n) for n in grid.values.shape], indexing="ij")
    points = np.stack([i, j, k], -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.asarray(points - np.array(centre_mm), np.float32)


def _texture(shape: tuple[int, ...], seed: int) -> Values:
    noise = gaussian_filter(np.random.default_rng([7, seed]).standard_normal(shape).astype(np.float32), 1.2)
    return np.asarray(noise / noise.std(), np.float32)


def scattered(of: Brain, count: int, seed: int, away_from: Tumour, least_mm: float) -> list[Tumour]:
    """Tumours whose centres lie well inside of the brain, and so far from another one."""
    rng = np.random.default_rng([11, seed])
    deep = gaussian_filter(of.inside.astype(np.float32), 8 / np.array(of.t1.spacing_mm)) > 0.85
    far = np.linalg.norm(_away_mm(of.t1, away_from.centre_mm), axis=-1) >= least_mm
    places = np.argwhere(deep & far)
    made = []
    for number in range(count):
        k, j, i = places[rng.integers(len(places))]
        x, y, z = (of.t1.affine @ [i, j, k, 1])[:3]
        sizes = float(rng.uniform(12, 24)), float(rng.uniform(0.5, 0.7)), float(rng.uniform(3, 5))
        made.append(Tumour((float(x), float(y), float(z)), *sizes, seed=1000 * seed + number))
    return made
