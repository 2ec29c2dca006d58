"""Which pictures there are of a run: an overview, then each segment where there is most of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.card import Card
from models.membership import inside

from ..run import Run

#: key images of a run, the overview among them
MOST = 12
#: slices in an overview
SLICES = 10


def number_of_key_images(labels: NDArray[np.uint8], card: Card) -> int:
    """How many key images a run will have; nothing is drawn for it.

    Args:
        labels: (slices, rows, columns).
    """
    missing = {segment.value: segment.values for segment in card.segment}
    for labelled in labels:
        if not missing:
            break
        if labelled.any():
            missing = {value: of_it for value, of_it in missing.items() if not inside(labelled, of_it).any()}
    return min(MOST, 1 + len(card.segment) - len(missing))


def shown(run: Run) -> list[int]:
    """The segments, by their place in the card, that have a key image: all that were found, where there are few enough;
    else those with a flag first, then lesions, then in the order of the card."""
    flagged = {flag.segment for flag in run.flags}
    segments = run.provenance.card.segment
    found = [n for n, one in enumerate(run.measured) if one.voxels]
    first = sorted(found, key=lambda n: (segments[n].value not in flagged, not segments[n].lesions, n))
    return sorted(first[: MOST - 1])


def through(labels: NDArray[np.uint8], most: int = SLICES) -> list[int]:
    """Slices from the first to the last one in which anything was found; from all where nothing was."""
    found = [k for k, labelled in enumerate(labels) if labelled.any()]
    low, high = (found[0], found[-1]) if found else (0, len(labels) - 1)
    return [int(k) for k in np.unique(np.linspace(low, high, most).round().astype(int))]
