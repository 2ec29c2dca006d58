"""Small components: what a network sees where there is nothing of the kind."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage


def absorb_small_components(probabilities: torch.Tensor, voxel_ml: float, smallest_ml: float) -> torch.Tensor:
    """Take away the components of every class that are smaller than `smallest_ml`.

    A small component that touches another class becomes that class (a patch of right lung inside the left one is left
    lung); one that touches only background becomes background.

    Args:
        probabilities: (class, x, y, z) on the network's grid; changed in place.
        voxel_ml: of that grid.
    """
    winner = probabilities.argmax(0).cpu().numpy()
    for value in range(1, probabilities.shape[0]):
        components, count = ndimage.label(winner == value)
        if not count:
            continue
        sizes = np.bincount(components.ravel())
        for number, box in enumerate(ndimage.find_objects(components), 1):
            if sizes[number] * voxel_ml >= smallest_ml:
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
