"""What we sent for some images: the drafts that a label may have been made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.card import Card

from ..study.decode import Decoders
from ..study.volume import Volume
from . import outlined
from .mapping import Composed, Sent, compose, map_structures


@dataclass(frozen=True)
class Draft:
    """A segmentation that we made.

    Attributes:
        result_id: its row.
        sent: its structures, as a reader of it sees them.
        mask: uint8 (slices, rows, columns).
        values: the label values that it tells of, with voxels or without.
    """

    result_id: int
    sent: tuple[Sent, ...]
    mask: NDArray[np.uint8]
    values: frozenset[int]

    def tracking_uids(self) -> frozenset[str]:
        return frozenset(one.structure.tracking_uid for one in self.sent if one.structure.tracking_uid)


def read(file: Path, result_id: int, volume: Volume, card: Card, decoders: Decoders | None = None) -> Draft:
    """Read a segmentation of ours the way that a correction of it is read.

    Args:
        file: the SEG.
        volume: the images that it is of.
        card: of the network as it is now; what the draft has beside its classes is left out.

    Raises:
        Refused: it cannot be read, or has no class of this card.
    """
    found = outlined.read(file, volume, decoders=decoders)
    mapped = map_structures(found, card, (), {})
    made: Composed = compose(mapped, card, volume.geometry.shape)
    sent = tuple(Sent(one.structure, one.value) for one in mapped if one.value is not None)
    return Draft(result_id, sent, made.mask, frozenset(made.annotated))
