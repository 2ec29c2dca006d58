"""Everything that the writers of results need of one run of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..measurements.findings import Findings
from ..measurements.values import Change, Flag, Measured
from ..study.volume import Volume
from .identity import Provenance


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: what was read, what came out, what was measured of it.

    Attributes:
        volume: of the first channel: values, grid, headers, frames.
        sources: the repaired header of each slice, in the order of the slices (`headers.repaired`).
        labels: (slices, rows, columns), the card's label values; (0, 0, 0) of a network that gives none.
        measured: one per segment of the card, in its order.
        flags: doubts about it.
        changes: against the prior result.
        entropy: (slices, rows, columns), the stored values of the map of uncertainty, where somebody wants it.
        provenance: what made it.
        found: of a detector or a classifier; there is no segmentation then.
    """

    volume: Volume
    sources: list[Dataset]
    labels: NDArray[np.uint8]
    measured: tuple[Measured, ...]
    flags: tuple[Flag, ...] = ()
    changes: tuple[Change, ...] = ()
    entropy: NDArray[np.uint16] | None = None
    provenance: Provenance
    found: Findings | None = None


@dataclass(frozen=True, kw_only=True)
class SegReference:
    """The segmentation that another object refers to.

    Attributes:
        sop_class_uid, sop_instance_uid, series_uid: of it.
        frames: (segment number, slice index) -> frame number, from 1, for every frame that it has; in a label map, the
            frame of that slice for each segment.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    frames: dict[tuple[int, int], int]
