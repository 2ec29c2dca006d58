"""What misleads a lung network, drawn into a synthetic body: a couch with foam, sick lung, large vessels, nodules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

AIR_HU = -1000.0

Field = NDArray[np.float32]
Labels = NDArray[np.uint8]
Numbers = NDArray[np.float64]


def couch(hu: Field, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Lay the body on a couch: one or two shells, flat or hollow, with foam or air between them and the body.

    Args:
        hu: Hounsfield units, axes to the patient's left, back and head; the air around the body is -1000. Changed in
            place.
        spacing_mm: along these axes.
        rng: draws the couch.
    """
    outside = _around(hu)
    columns, rows = np.nonzero(~outside.all(2))
    x = (np.arange(hu.shape[0])[:, None] - columns.mean()) * spacing_mm[0]
    y = (np.arange(hu.shape[1])[None, :] - rows.max()) * spacing_mm[1]
    hollow = 1 / (2 * rng.uniform(230, 700)) if rng.random() < 0.75 else 0.0
    below = y + hollow * x**2 - rng.uniform(-12, 25)  # depth below the upper shell
    width = np.abs(x) < rng.uniform(160, 270)
    thickness = rng.uniform(1.5, 6)
    layers: list[tuple[NDArray[np.bool_], float]] = []
    if rng.random() < 0.7:  # a mattress, or what air there is under the back
        layers.append(((below < 0) & (below > -rng.uniform(15, 130)), rng.uniform(-1000, -860)))
    core = rng.uniform(10, 60)
    layers.append(((below >= 0) & (below < core), rng.uniform(-990, -780)))
    shells = ((below >= depth) & (below < depth + thickness) for depth in (0.0, core))
    layers += [(shell, rng.uniform(-600, 250)) for shell in shells]
    for inside, value in layers:
        hu[outside & (inside & width)[:, :, None]] = value
    if rng.random() < 0.3:  # cushions beside the body
        for sign in (-1, 1):
            cushion = (sign * x > rng.uniform(60, 150)) & (below < 0) & (below > -rng.uniform(60, 180))
            hu[_around(hu) & (cushion & width)[:, :, None]] = rng.uniform(-980, -900)


def _around(hu: Field) -> NDArray[np.bool_]:
    """The air around the body; not the air in it."""
    air = hu <= AIR_HU
    for k in range(hu.shape[2]):
        pieces, _ = ndimage.label(air[:, :, k])
        border = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
        air[:, :, k] = np.isin(pieces, np.unique(border[border > 0]))
    return air


def sick_lung(hu: Field, labels: Labels, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Make parts of the lung darker (emphysema), others denser (dependent opacity), and lay nodules into it.

    Args:
        hu, spacing_mm, rng: as for `couch`.
        labels: where it is not 0 there is lung; it stays as it is.
    """
    lung = np.asarray(labels > 0) & (hu < -500)
    if not lung.any():
        return
    coarse = [max(4, int(n * step / 30)) for n, step in zip(hu.shape, spacing_mm, strict=True)]
    noise = ndimage.zoom(
        rng.standard_normal(coarse), [n / c for n, c in zip(hu.shape, coarse, strict=True)], order=1
    ).astype(np.float32)
    if rng.random() < 0.6:
        hu[lung & (noise > rng.uniform(-0.2, 0.8))] = rng.uniform(-990, -940)
    if rng.random() < 0.6:
        front = np.linspace(1, 0, hu.shape[1], dtype=np.float32)[None, :, None]
        hu[lung] -= np.broadcast_to(front * np.float32(rng.uniform(0, 150)), hu.shape)[lung]
    if rng.random() < 0.5:
        low = np.quantile(np.nonzero(lung)[1], rng.uniform(0.8, 0.95))
        dense = lung & (np.arange(hu.shape[1]) > low)[None, :, None] & (noise > -0.3)
        hu[dense] += rng.uniform(80, 330)
    np.maximum(hu, -1020, out=hu)
    places = np.argwhere(lung)
    for _ in range(rng.integers(0, 5)):
        at = places[rng.integers(len(places))]
        stamp(hu, labels, at, rng.uniform(2, 12) / np.array(spacing_mm), rng.uniform(-20, 120))


def bundles(
    hu: Field,
    labels: Labels,
    lung_height_mm: float,
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    """Draw large vessels, with contrast or without, and the bronchi beside them, from each hilum to the base.

    Args:
        hu, labels, spacing_mm, rng: as for `sick_lung`. What is drawn into the lung stays lung.
        lung_height_mm: the hila lie at half of it.
        origin_mm: where the first voxel lies, in the frame of `models.phantom`.
    """
    spacing = np.array(spacing_mm)
    value = rng.uniform(20, 420)
    for sign in (-1, 1):
        for _ in range(rng.integers(2, 7)):
            at = np.array([sign * rng.uniform(30, 55), rng.uniform(0, 25), 0.5 * lung_height_mm])
            along = np.array([sign * rng.uniform(0, 0.8), rng.uniform(-0.4, 0.8), rng.uniform(-1.3, -0.3)])
            along /= np.linalg.norm(along)
            radius, beside = rng.uniform(4, 9), rng.uniform(-1, 1, 3)
            while radius > 1:
                stamp(hu, labels, (at - origin_mm) / spacing, radius / spacing, value)
                bronchus = (at + beside * radius * 1.7 - origin_mm) / spacing
                stamp(hu, labels, bronchus, radius * 0.85 / spacing, -20)
                stamp(hu, labels, bronchus, radius * 0.6 / spacing, AIR_HU)
                at = at + along * max(radius * 0.6, 1.0)
                along = along + rng.normal(scale=0.1, size=3)
                along /= np.linalg.norm(along)
                radius *= 0.98


def stamp(hu: Field, labels: Labels, centre: Numbers, radii: Numbers, value: float) -> None:
    """Set an ellipsoid to a value, where there is lung.

    Args:
        hu, labels: of equal shape.
        centre, radii: in voxels.
        value: Hounsfield units.
    """
    low = np.maximum(np.ceil(centre - radii), 0).astype(int)
    high = np.minimum(np.floor(centre + radii) + 1, hu.shape).astype(int)
    if (high <= low).any():
        return
    i, j, k = np.ogrid[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    inside = ((i - centre[0]) / radii[0]) ** 2 + ((j - centre[1]) / radii[1]) ** 2 + (
        (k - centre[2]) / radii[2]
    ) ** 2 <= 1
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    hu[box][inside & (labels[box] > 0)] = value
