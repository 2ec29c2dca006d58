"""Rules of a card that mend what networks get wrong: small components, holes, and two classes within one organ."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

#: a core belongs to a class that has so much of it; where none has, two organs may touch on a wide front
MAJORITY = 2 / 3
SMALLEST_CORE_ML = 2.0


def winners(probabilities: torch.Tensor) -> NDArray[np.uint8]:
    """The class of each voxel, as `argmax` over the first axis has it: the first of equal ones.

    A running comparison over all voxels at once: torch's `argmax` goes from voxel to voxel, ten times as long.

    Args:
        probabilities: (class, x, y, z), at most 256 classes.
    """
    best = probabilities[0].clone()
    winner = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for value, part in enumerate(probabilities[1:], 1):
        winner.masked_fill_(part > best, value)
        torch.maximum(best, part, out=best)
    return np.asarray(winner.cpu().numpy())


def absorb_small_components(
    probabilities: torch.Tensor, voxel_ml: float, smallest_ml: float, smallest_part: float = 0.0
) -> torch.Tensor:
    """Take away the components of every class that are smaller than `smallest_ml`, or than a part of its largest one.

    A small component that touches another class becomes that class (a patch of right lung inside the left one is left
    lung); one that touches only background becomes background.

    Args:
        probabilities: (class, x, y, z) on the network's grid; changed in place.
        voxel_ml: of that grid.
        smallest_part: of the largest component of the class.
    """
    winner = winners(probabilities)
    for value in range(1, probabilities.shape[0]):
        components, count = ndimage.label(winner == value)
        if not count:
            continue
        sizes = np.bincount(components.ravel())
        smallest = max(smallest_ml, smallest_part * float(sizes[1:].max()) * voxel_ml)
        for number, box in enumerate(ndimage.find_objects(components), 1):
            if sizes[number] * voxel_ml >= smallest:
                continue
            wider = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
            inside = components[wider] == number
            around = winner[wider][ndimage.binary_dilation(inside) & ~inside]
            around = around[around > 0]
            new = int(np.bincount(around).argmax()) if around.size else 0
            winner[wider][inside] = new
            where = torch.as_tensor(inside, device=probabilities.device)
            view = probabilities[(slice(None), *wider)]
            view[:, where] = 0
            view[new, where] = 1
    return probabilities


def fill_holes(probabilities: torch.Tensor, pixel_mm2: float, largest_mm2: float) -> torch.Tensor:
    """Close the holes of every class in each slice (the last axis): a vessel or nodule within the lung is lung.

    Args:
        probabilities: (class, x, y, z) on the network's grid; changed in place.
        pixel_mm2: area of one pixel of a slice.
        largest_mm2: a hole that is larger stays.
    """
    winner = winners(probabilities)
    for value in range(1, probabilities.shape[0]):
        for k in np.flatnonzero((winner == value).any((0, 1))):
            plane = winner[:, :, k]
            holes, count = ndimage.label(ndimage.binary_fill_holes(plane == value) & (plane == 0))
            if not count:
                continue
            small = np.flatnonzero(np.bincount(holes.ravel())[1:] * pixel_mm2 <= largest_mm2) + 1
            where = torch.as_tensor(np.isin(holes, small), device=probabilities.device)
            probabilities[:, :, :, k][:, where] = 0
            probabilities[value, :, :, k][where] = 1
    return probabilities


def one_class_per_core(probabilities: torch.Tensor, spacing_mm: NDArray[np.float64], depth_mm: float) -> torch.Tensor:
    """Give each organ one class, where a network took a part of it for its neighbour of the same kind.

    Left and right lung look alike, and hang together only by thin bridges: organs are told apart by what lies
    `depth_mm` below the surface of everything that is not background. A core in which one class has two thirds is of
    that class, and what belongs to it (by watershed) becomes so. Where no class has, all stays as the network said.

    Args:
        probabilities: (class, x, y, z) on the network's grid; changed in place.
        spacing_mm: of that grid.
    """
    winner = winners(probabilities)
    found = ndimage.find_objects((winner > 0).astype(np.uint8))
    if not found:
        return probabilities
    (box,) = found
    labels = winner[box]
    # the end of the scan is no surface
    depth = ndimage.distance_transform_edt(np.pad(labels > 0, 1, mode="edge"), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    cores, count = ndimage.label(depth > depth_mm)
    sizes = np.bincount(cores.ravel(), minlength=count + 1) * float(np.prod(spacing_mm)) / 1000
    classes = np.zeros(count + 1, labels.dtype)
    for number in range(1, count + 1):
        votes = np.bincount(labels[cores == number]) if sizes[number] >= SMALLEST_CORE_ML else np.zeros(1)
        if votes.sum() and votes.max() >= MAJORITY * votes.sum():
            classes[number] = votes.argmax()
    belongs = watershed(-depth, cores, mask=labels > 0)
    settled = classes[belongs]
    for value in np.unique(settled[settled > 0]):
        for other in np.unique(labels[(settled == value) & (labels != value)]):
            where = torch.as_tensor((settled == value) & (labels == other), device=probabilities.device)
            view = probabilities[(slice(None), *box)]
            view[int(value), where], view[int(other), where] = view[int(other), where], view[int(value), where]
    return probabilities
