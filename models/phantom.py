"""A chest that nobody has: a synthetic CT with its true lungs, drawn from a seed.

The demonstration sends it, the tests know its volumes, and ct_lungs trained on a few of it beside real patients. It has
what misleads a lung network: a trachea, a stomach with gas, bowel gas, a table, arms, oblique diaphragms and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from . import pitfalls

LEFT_LUNG, RIGHT_LUNG = 1, 2

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Chest:
    """What the seed decided about one person; lengths in mm, HU where said."""

    half_width: float
    half_depth: float
    lung_height: float
    fat: float
    heart: float
    lung_hu: float
    noise_hu: float
    right_dome: float
    left_dome: float


def person(rng: np.random.Generator) -> Chest:
    """Draw one person."""
    size = rng.uniform(0.85, 1.12)
    return Chest(
        half_width=175 * size * rng.uniform(0.92, 1.1),
        half_depth=118 * size * rng.uniform(0.9, 1.12),
        lung_height=245 * size * rng.uniform(0.85, 1.15),
        fat=rng.uniform(6, 26),
        heart=size * rng.uniform(0.85, 1.15),
        lung_hu=rng.uniform(-900, -780),
        noise_hu=rng.uniform(8, 35),
        right_dome=rng.uniform(45, 75),
        left_dome=rng.uniform(30, 60),
    )


def chest(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    seed: int = 0,
    *,
    first_slice_mm: float | None = None,
    hard: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw a chest CT.

    Args:
        shape: columns, rows, slices: the axes run to the patient's left, back and head, as in a supine axial CT.
        spacing_mm: along the same axes.
        seed: the person, the vessels and the noise; equal seeds give equal arrays.
        first_slice_mm: height of the first slice above the deepest point of the lungs; below zero shows abdomen. By
            default the lungs lie in the middle of the slices.
        hard: also draw what `models.pitfalls` has: a couch with foam, sick lung, large vessels, nodules.

    Returns:
        Hounsfield units (float32) and labels (0 nothing, 1 left lung, 2 right lung), both of `shape`.
    """
    rng = np.random.default_rng(seed)
    who = person(rng)
    x = ((np.arange(shape[0]) - (shape[0] - 1) / 2) * spacing_mm[0]).astype(np.float32)[:, None]
    y = ((np.arange(shape[1]) - (shape[1] - 1) / 2) * spacing_mm[1] - 10).astype(np.float32)[None, :]
    if first_slice_mm is None:
        first_slice_mm = (who.lung_height - shape[2] * spacing_mm[2]) / 2
    hu = np.empty(shape, np.float32)
    labels = np.zeros(shape, np.uint8)
    bowel = _bowel(rng)
    for k in range(shape[2]):
        hu[:, :, k], labels[:, :, k] = _slice(who, x, y, first_slice_mm + k * spacing_mm[2], bowel)
    origin = (float(x[0, 0]), float(y[0, 0]), first_slice_mm)
    if hard:
        more = np.random.default_rng([seed, 1])
        pitfalls.couch(hu, spacing_mm, more)
        pitfalls.sick_lung(hu, labels, spacing_mm, more)
        pitfalls.bundles(hu, labels, who.lung_height, spacing_mm, origin, more)
    _vessels(hu, labels, who, spacing_mm, origin, rng)
    blur = [0.7 / s for s in spacing_mm]
    hu = ndimage.gaussian_filter(hu, blur, output=hu)
    grain = rng.standard_normal(shape, dtype=np.float32)
    hu += who.noise_hu * grain
    return np.clip(hu, -1024, 3071, out=hu), labels


def _ellipse(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float, power: float = 2.0) -> Field:
    """1 at the edge, less inside."""
    return np.asarray(np.abs((x - cx) / rx) ** power + np.abs((y - cy) / ry) ** power, np.float32)


def _slice(
    who: Chest, x: Field, y: Field, z: float, bowel: list[tuple[float, float, float, float]]
) -> tuple[Field, NDArray[np.uint8]]:
    """One axial slice at height z above the deepest point of the lungs."""
    plane = np.full(np.broadcast_shapes(x.shape, y.shape), -1000, np.float32)
    labels = np.zeros(plane.shape, np.uint8)
    top = who.lung_height
    body = _body(who, x, y, z)
    plane[body < 1] = -95
    muscle = _ellipse(x, y, 0, 0, *_shrunk(who, z, who.fat), 2.4) < 1
    plane[muscle & (body < 1)] = 45
    wall, cavity = _cavity(who, x, y, z)
    bone = (wall < 1.13) & (wall > 1.04) & (((z + 0.45 * (y + x * 0) + 300) % 27) < 11) & (z > -60) & (z < top + 10)
    plane[bone & muscle] = 350
    left, right = _lungs(who, x, y, z, cavity)
    gravity = (y / who.half_depth + 0.3) * 45
    lung_hu = np.broadcast_to(who.lung_hu + gravity, plane.shape)
    for side, value in ((left, LEFT_LUNG), (right, RIGHT_LUNG)):
        plane[side] = lung_hu[side]
        labels[side] = value
    _mediastinum(who, plane, labels, x, y, z)
    for cx, cy, cz, r in bowel:
        if abs(z - cz) < r:
            gas = _ellipse(x, y, cx, cy, 1, 1) < r * r - (z - cz) ** 2
            gas &= (labels == 0) & (plane > -50)
            plane[gas] = -985
    table = np.abs(y + 0 * x - (who.half_depth + 12) - (x / 95) ** 2 * -9) < 3.5
    plane[table & (body >= 1) & (np.abs(x) < 220)] = -250
    return plane, labels


def _shrunk(who: Chest, z: float, by: float) -> tuple[float, float]:
    shoulders = 1 / (1 + np.exp(-(z - who.lung_height - 25) / 12))
    width = who.half_width * (1 - 0.1 * shoulders)
    return max(width - by, 30.0), max(who.half_depth * (1 - 0.25 * shoulders) - by, 30.0)


def _body(who: Chest, x: Field, y: Field, z: float) -> Field:
    body = _ellipse(x, y, 0, 0, *_shrunk(who, z, 0), 2.4)
    if z > who.lung_height - 70:  # upper arms lie beside the chest
        for side in (-1, 1):
            body = np.minimum(body, _ellipse(x, y, side * (who.half_width + 28), 15, 42, 46))
    return body


def _cavity(who: Chest, x: Field, y: Field, z: float) -> tuple[Field, Mask]:
    """The rib cage: 1 on the pleura; it closes at the apex."""
    level = np.clip((z + 40) / (who.lung_height + 40), 0, 1.2)
    width = (who.half_width - who.fat - 22) * max(1 - level**5, 0.0) ** 0.5
    depth = (who.half_depth - who.fat - 20) * max(1 - 0.55 * level**4, 0.05) ** 0.5
    wall = _ellipse(x, y, 0, 6 + 18 * level**3, max(width, 1e-3), max(depth, 1e-3), 2.3)
    return wall, wall < 1


def _lungs(who: Chest, x: Field, y: Field, z: float, cavity: Mask) -> tuple[Mask, Mask]:
    half = 22 + 16 * np.exp(-(((y - 5) / 45) ** 2)) - 18 * np.exp(-(((y + who.half_depth * 0.62) / 26) ** 2))
    half = half + 14 * np.exp(-(((y - who.half_depth * 0.62) / 30) ** 2))
    sides = []
    for sign, dome in ((1, who.left_dome), (-1, who.right_dome)):
        bow = ((x - sign * 62) / 78) ** 2 + ((y + 28) / 92) ** 2
        floor = dome * 1.35 * (1 - bow) + 6
        sides.append(cavity & (x * sign > half) & (z > np.maximum(floor, 0)) & (z < who.lung_height))
    return sides[0], sides[1]


def _mediastinum(who: Chest, plane: Field, labels: NDArray[np.uint8], x: Field, y: Field, z: float) -> None:
    top, size = who.lung_height, who.heart

    def put(inside: Mask, hu: float) -> None:
        plane[inside] = hu
        labels[inside] = 0

    heart = (
        _ellipse(x, y, 24 * size, -26, 62 * size, 50 * size)
        + ((z - (0.27 * top + max(who.left_dome, who.right_dome) * 0.4)) / (60 * size)) ** 2
    )
    put((heart < 1) & (z > 20), 60)
    spine_y = who.half_depth * 0.52
    skin = _body(who, x, y, z) < 0.97
    put(skin & (_ellipse(x, y, 0, spine_y, 21, 18) < 1), 190)
    put(skin & (_ellipse(x, y, 0, spine_y + 26, 10, 9) < 1), 30)
    put(skin & (_ellipse(x, y, 0, spine_y + 42, 9, 12) < 1), 280)
    put(_ellipse(x, y, 26, spine_y - 16, 13, 13) < 1, 55)
    if 0.55 * top < z < top * 0.85:
        put((_ellipse(x, y, 8, -10, 26, 30) < 1), 55)
    carina = 0.62 * top
    if z > carina:
        put(_ellipse(x, y, 0, 10, 11, 11) < 1, 40)
        put(_ellipse(x, y, 0, 10, 9, 9) < 1, -1000)
    elif z > carina - 34:
        for sign in (-1, 1):
            cx = sign * (6 + (carina - z) * 1.05)
            put(_ellipse(x, y, cx, 12, 9.5, 8.5) < 1, 40)
            put(_ellipse(x, y, cx, 12, 7.2, 6.5) < 1, -1000)


def _bowel(rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Balls of gas under the diaphragm (x, y, z, radius): stomach on the left, bowel anywhere."""
    stomach = (60.0, -40.0, rng.uniform(-20, 15), rng.uniform(15, 32))
    bowel = [
        (rng.uniform(-100, 100), rng.uniform(-70, 10), rng.uniform(-260, -20), rng.uniform(6, 24)) for _ in range(12)
    ]
    return [stomach, *bowel]


def _vessels(
    hu: Field,
    labels: NDArray[np.uint8],
    who: Chest,
    spacing_mm: tuple[float, float, float],
    origin: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    """Draw tapering vessels from each hilum outward; they stay lung, as a reader counts them."""
    spacing = np.array(spacing_mm)
    for sign in (-1, 1):
        for _ in range(36):
            at = np.array([sign * 36.0, 10.0, 0.5 * who.lung_height])
            along = rng.normal(size=3) * [0.6, 0.8, 1.0] + [sign * 0.9, 0, 0]
            along /= np.linalg.norm(along)
            radius = rng.uniform(2.0, 4.2)
            while radius > 0.6:
                pitfalls.stamp(hu, labels, (at - origin) / spacing, radius / spacing, 40)
                at = at + along * max(radius * 0.8, 1.0)
                along = along + rng.normal(scale=0.12, size=3)
                along /= np.linalg.norm(along)
                radius *= 0.975


def no_chest(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int = 0, *, hard: bool = False
) -> NDArray[np.float32]:
    """Something with gas and bone in it, and no lung: what a head, a pelvis or a limb has in common.

    Args:
        shape, spacing_mm, seed: as for `chest`.
        hard: also draw a couch with foam.

    Returns:
        Hounsfield units (float32) of `shape`.
    """
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(
        *[((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(shape, spacing_mm, strict=True)],
        indexing="ij",
        sparse=True,
    )
    hu = np.full(shape, -1000, np.float32)
    half = [n * step / 2 for n, step in zip(shape, spacing_mm, strict=True)]

    def ball(centre: list[float], radii: list[float]) -> Field:
        parts = [((grid - c) / r) ** 2 for grid, c, r in zip(grids, centre, radii, strict=True)]
        return np.asarray(parts[0] + parts[1] + parts[2], np.float32)

    for _ in range(rng.integers(1, 3)):  # one trunk, or two limbs
        at = [rng.uniform(-0.3, 0.3) * half[0], rng.uniform(-0.2, 0.2) * half[1], 0.0]
        size = [rng.uniform(40, 180), rng.uniform(40, 130), half[2] * rng.uniform(0.8, 3)]
        body = ball(at, size)
        hu[body < 1] = -90
        hu[body < rng.uniform(0.6, 0.95)] = 45
        if rng.random() < 0.4:  # a skull
            hu[(body < 0.9) & (body > 0.78)] = rng.uniform(500, 1200)
        for _ in range(rng.integers(1, 5)):
            bone = ball([at[n] + rng.uniform(-0.5, 0.5) * size[n] for n in range(3)], list(rng.uniform(8, 30, 3)))
            hu[(bone < 1) & (body < 0.9)] = rng.uniform(200, 900)
        for _ in range(rng.integers(0, 14)):  # bowel, sinuses, mastoid cells
            gas = ball([at[n] + rng.uniform(-0.6, 0.6) * size[n] for n in range(3)], list(rng.uniform(3, 28, 3)))
            hu[(gas < 1) & (body < 0.9)] = rng.uniform(-1000, -500)
    if hard:
        pitfalls.couch(hu, spacing_mm, np.random.default_rng([seed, 1]))
    hu = ndimage.gaussian_filter(hu, [0.8 / s for s in spacing_mm], output=hu)
    hu += rng.uniform(5, 45) * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(hu, -1024, 3071, out=hu)
