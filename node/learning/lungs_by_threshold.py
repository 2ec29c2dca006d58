"""Label lungs in CT without a network: threshold, airways and bowel taken out, left and right told apart, holes filled.

It needs a person: what `Rules` says is decided for each scan by looking at the result. It is how the training labels of
`ct_lungs` were made where a scan came without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

LEFT, RIGHT = 1, 2
LUNG_HU = -400.0
BODY_HU = -300.0
NOT_SCANNED_HU = -2000.0
SMOOTHING_MM = 0.6
#: airway walls and the mucosa of bowel belong to what they enclose
GAS_MARGIN_MM = 3.5
TRACHEA_MARGIN_MM = 4.2
TRACHEA_MOST_ML = 60.0
SMALLEST_GAS_ML = 0.7
SMALLEST_LUNG_ML = 8.0
SMALLEST_PIECE_ML = 3.0
SMALLEST_MARKER_ML = 5.0
#: hilar vessels and what is thinner than this between two folds of lung belong to the lung
CLOSING_MM = 5.0
#: erosions that are tried, in turn, until the two lungs come apart
EROSIONS_MM = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
SIDE_MM = 15.0
WIDEST_LUNG_MM = 200.0

Mask = NDArray[np.bool_]
Spacing = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What was decided by looking at a scan.

    Attributes:
        gas_hu: smoothed values below this are gas of airways or bowel; None: there is none to be told apart so.
        gas_smoothing_mm: sigma of that smoothing.
        cropped: the field of view lies inside the body.
        trachea_grows: the trachea is entered in the topmost slice and followed down.
        airway_at: x index (RAS) of an airway that is a component of its own.
        not_lung: centres (RAS indices) of components that are no lung: air around the body, stomach, bowel.
    """

    gas_hu: float | None = None
    gas_smoothing_mm: float = 1.5
    cropped: bool = False
    trachea_grows: bool = False
    airway_at: int | None = None
    not_lung: tuple[tuple[int, int, int], ...] = ()


def label(hu: NDArray[np.float32], spacing_mm: Spacing, rules: Rules) -> NDArray[np.uint8]:
    """The lungs of one scan.

    Args:
        hu: Hounsfield units, axes to the patient's right, front and head (RAS).
        spacing_mm: along these axes.

    Returns:
        0, 1 (left) and 2 (right), of the shape of `hu`.
    """
    ml = float(np.prod(spacing_mm)) / 1000
    smooth = ndimage.gaussian_filter(np.maximum(hu, -1024), SMOOTHING_MM / spacing_mm)
    body = hu > NOT_SCANNED_HU if rules.cropped else _body(hu, spacing_mm)
    inside = (smooth < LUNG_HU) & body
    gas = _gas(hu, smooth, inside, spacing_mm, ml, rules)
    lung = _without_small(inside & ~gas, spacing_mm, ml, rules.not_lung)
    midline = ndimage.center_of_mass(smooth > -200 if rules.cropped else body)[0]
    sides = _sides(lung, spacing_mm, ml, float(midline))
    labels = np.zeros(hu.shape, np.uint8)
    for side in (LEFT, RIGHT):
        closed = _close(sides == side, CLOSING_MM, spacing_mm)
        for k in range(closed.shape[2]):
            closed[:, :, k] = ndimage.binary_fill_holes(closed[:, :, k])
        labels[closed & ~gas & (labels == 0) & (hu > NOT_SCANNED_HU)] = side
    for side in (LEFT, RIGHT):
        pieces, volumes = _components(labels == side, ml)
        labels[np.isin(pieces, np.flatnonzero(volumes < SMALLEST_PIECE_ML)) & (labels == side)] = 0
    return labels


def _body(hu: NDArray[np.float32], spacing_mm: Spacing) -> Mask:
    """The largest object of each slice, without the table, filled."""
    tissue = ndimage.gaussian_filter(np.maximum(hu, -1024), 1 / spacing_mm) > BODY_HU
    steps = max(1, int(4 / spacing_mm[0]))
    body = np.zeros_like(tissue)
    for k in range(tissue.shape[2]):
        pieces, count = ndimage.label(ndimage.binary_opening(tissue[:, :, k], iterations=steps))
        if count:
            largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
            grown = (ndimage.binary_dilation(largest, iterations=steps) & tissue[:, :, k]) | largest
            body[:, :, k] = ndimage.binary_fill_holes(grown)
    return body


def _gas(
    hu: NDArray[np.float32], smooth: NDArray[np.float32], inside: Mask, spacing_mm: Spacing, ml: float, rules: Rules
) -> Mask:
    """Airways and bowel, with their walls."""
    gas = np.zeros_like(inside)
    if rules.gas_hu is not None:
        smoother = ndimage.gaussian_filter(np.maximum(hu, -1024), rules.gas_smoothing_mm / spacing_mm)
        pieces, volumes = _components(inside & (smoother < rules.gas_hu), ml)
        gas = _dilate(np.isin(pieces, np.flatnonzero(volumes > SMALLEST_GAS_ML)), GAS_MARGIN_MM, spacing_mm) & inside
    if rules.trachea_grows:
        airways = _grown(smooth, inside, ml)
        gas = _dilate(airways, TRACHEA_MARGIN_MM, spacing_mm) & inside & (smooth < -500)
    if (at := rules.airway_at) is not None:
        pieces, volumes = _components((smooth < -600) & inside, ml)
        centres = {n: ndimage.center_of_mass(pieces == n)[0] for n in np.flatnonzero(volumes > SMALLEST_MARKER_ML)}
        nearest = min(centres, key=lambda n: abs(centres[n] - at))
        gas |= _dilate(pieces == nearest, 1.6, spacing_mm) & inside
    return gas


def _grown(smooth: NDArray[np.float32], inside: Mask, ml: float) -> Mask:
    """The airways below the trachea of the topmost slice, at the last threshold before they burst into the lung."""
    pieces, count = ndimage.label(inside[:, :, -1])
    middle = inside.shape[0] / 2
    centres = {n: ndimage.center_of_mass(pieces == n) for n in range(1, count + 1) if (pieces == n).sum() >= 3}
    x, y = min(centres.values(), key=lambda centre: abs(centre[0] - middle))
    seed = (round(x), round(y), inside.shape[2] - 1)
    found = np.zeros_like(inside)
    for threshold in range(-990, -700, 10):
        pieces, _ = ndimage.label((smooth < threshold) & inside)
        if pieces[seed] == 0:
            continue
        grown = pieces == pieces[seed]
        if grown.sum() * ml > TRACHEA_MOST_ML:
            break
        found = grown
    return found


def _without_small(lung: Mask, spacing_mm: Spacing, ml: float, not_lung: Sequence[tuple[int, int, int]]) -> Mask:
    """What of it is large enough to be lung, and was not found to be something else."""
    pieces, volumes = _components(ndimage.gaussian_filter(lung.astype(np.float32), 1 / spacing_mm) > 0.5, ml)
    large = {n: ndimage.center_of_mass(pieces == n) for n in np.flatnonzero(volumes > SMALLEST_LUNG_ML)}
    kept = [n for n, at in large.items() if not any(np.abs(np.subtract(at, other)).max() < 6 for other in not_lung)]
    return np.isin(pieces, kept)


def _sides(lung: Mask, spacing_mm: Spacing, ml: float, midline: float) -> NDArray[np.int32]:
    """Left and right: eroded until the lungs come apart, then each voxel to the nearer core."""
    for radius in EROSIONS_MM:
        pieces, volumes = _components(_erode(lung, radius, spacing_mm), ml)
        cores = np.flatnonzero(volumes > SMALLEST_MARKER_ML)
        centres = [ndimage.center_of_mass(pieces == n)[0] for n in cores]
        widths = [np.ptp(np.flatnonzero((pieces == n).any((1, 2)))) * spacing_mm[0] for n in cores]
        far = SIDE_MM / spacing_mm[0]
        apart = len(cores) >= 2 and min(centres) < midline - far and max(centres) > midline + far
        if apart and max(widths) < WIDEST_LUNG_MM:
            break
    markers = np.zeros(lung.shape, np.int32)
    for n, centre in zip(cores, centres, strict=True):
        markers[pieces == n] = LEFT if centre < midline else RIGHT
    sides = watershed(-ndimage.distance_transform_edt(lung, sampling=spacing_mm), markers, mask=lung)
    pieces, volumes = _components(lung & (sides == 0), ml)
    for n in np.flatnonzero(volumes > SMALLEST_PIECE_ML):
        sides[pieces == n] = LEFT if ndimage.center_of_mass(pieces == n)[0] < midline else RIGHT
    return np.asarray(sides, np.int32)


def _components(mask: Mask, ml: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Numbered components, and the millilitres of each; number 0 is what is none."""
    pieces, _ = ndimage.label(mask)
    volumes = np.bincount(pieces.ravel()).astype(np.float64) * ml
    volumes[0] = 0
    return np.asarray(pieces, np.int32), volumes


def _dilate(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm)


def _erode(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """The border of the picture is none of the lung."""
    padded = np.pad(mask, 1, mode="edge")
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=spacing_mm)[1:-1, 1:-1, 1:-1] > radius_mm)


def _close(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    margin = [int(np.ceil(radius_mm / step)) + 1 for step in spacing_mm]
    padded = np.pad(mask, [(m, m) for m in margin], mode="edge")
    closed = _erode(_dilate(padded, radius_mm, spacing_mm), radius_mm, spacing_mm)
    return np.asarray(closed[tuple(slice(m, -m) for m in margin)] | mask)
