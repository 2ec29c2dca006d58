"""Labels that nobody has drawn: those of training cases, deformed; lesions moved, and taken from another patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .maps import LEVELS

#: around a lesion that is taken out its blurred edge goes with it, or a bright ring would stay that nobody labelled
EDGE_PIXELS = 2
SMALLEST, LARGEST = 0.7, 1.3
TURN_DEGREES = 35.0
#: of where a lesion comes to lie, in parts of the image
MOVE = 0.08
#: of the deformation: how far (SD, pixels) and how smooth (slices, rows, columns)
DEFORM_PIXELS, DEFORM_SMOOTH = 1.8, (4.0, 7.0, 7.0)
TRIES = 5


def without(found: NDArray[np.uint8], kinds: Sequence[int]) -> NDArray[np.uint8]:
    """A map whose lesions are taken out: the nearest of what surrounds them takes their place.

    Args:
        found: (slices, rows, columns).
        kinds: of the lesions, in the map.
    """
    lesions = np.isin(found, kinds)
    surroundings = found < LEVELS
    gone = lesions | (ndimage.binary_dilation(lesions, iterations=EDGE_PIXELS) & surroundings)
    if not gone.any() or not (surroundings & ~gone).any():
        return found.copy()
    nearest = ndimage.distance_transform_edt(~(surroundings & ~gone), return_distances=False, return_indices=True)
    return np.where(gone, found[tuple(nearest)], found)


def moved(
    lesions: NDArray[np.uint8],
    to: Sequence[int],
    stretch: float,
    drawn: np.random.Generator,
    middle: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Lesions turned in the slice, made larger or smaller, and put elsewhere.

    Args:
        lesions: (slices, rows, columns), 0 where there is none.
        to: shape of the result.
        stretch: slice spacing of the one by that of the other.
        middle: where their middle comes to lie.
    """
    here = np.array(ndimage.center_of_mass(lesions > 0))
    turn = np.deg2rad(drawn.uniform(-TURN_DEGREES, TURN_DEGREES))
    sizes = drawn.uniform(SMALLEST, LARGEST) * np.array([stretch, 1.0, 1.0])
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    back = rotation.T / sizes[None, :]  # from the result to where it comes from
    return ndimage.affine_transform(lesions, back, here - back @ middle, output_shape=tuple(to), order=0)


def deformed(found: NDArray[np.uint8], drawn: np.random.Generator) -> NDArray[np.uint8]:
    """The map with everything in it bent smoothly, within the slices."""
    grid = np.indices(found.shape).astype(np.float32)
    for axis in (1, 2):
        bend = ndimage.gaussian_filter(drawn.standard_normal(found.shape).astype(np.float32), DEFORM_SMOOTH)
        grid[axis] += bend * (DEFORM_PIXELS / max(float(bend.std()), 1e-6))
    return ndimage.map_coordinates(found, grid, order=0, mode="nearest")


def varied(
    host: NDArray[np.uint8],
    donor: NDArray[np.uint8],
    kinds: Sequence[int],
    stretch: float,
    drawn: np.random.Generator,
) -> NDArray[np.uint8]:
    """A new map from those of two training cases.

    Where the network looks for lesions, the host's are taken out and the donor's put in; organs stay in their order and
    are deformed with everything else, for a lung of one patient in the chest of another is no anatomy.

    Args:
        host, donor: (slices, rows, columns) of their own.
        kinds: what a lesion is in a map; empty: nothing is moved.
        stretch: slice spacing of the donor by that of the host.
    """
    given = np.where(np.isin(donor, kinds), donor, 0).astype(np.uint8)
    own = np.isin(host, kinds)
    if not given.any():
        return deformed(host, drawn)
    cleared = without(host, kinds)
    centre = np.array(ndimage.center_of_mass(own)) if own.any() else (np.array(host.shape) - 1) / 2
    for _ in range(TRIES):
        middle = centre + drawn.normal(0, MOVE, 3) * host.shape
        lesions = moved(given, host.shape, stretch, drawn, middle)
        lesions[cleared == 0] = 0  # the darkest level: air
        lesions[cleared >= LEVELS] = 0  # other structures
        if (lesions > 0).sum() >= 0.1 * (given > 0).sum() * stretch:
            return deformed(np.where(lesions > 0, lesions, cleared), drawn)
    return deformed(host, drawn)
