"""From what a bundle gave to the label map on the grid of the images, mended by the card's rules.

Where the bundle ends in softmax or sigmoids, inversion and argmax or threshold (`ending`), the last two are done here
(`restore`); else its own steps are, and what they give is looked at (`result`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from . import entropy, membership, overlapping
from .card import Card
from .clean import absorb_small_components, fill_holes, one_class_per_core, winners
from .ending import Ending
from .inversion import Inversion
from .restore import bit_map, label_map
from .result import LARGEST, Unusable, labels_of, only_known

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class Probabilities:
    """What a network gave before the card's rules mended it, on its own grid; filled by `Network.segment`.

    Attributes:
        array: float16 (class, x, y, z); class 0 is the background. Each of overlapping segments is a class, in the
            order of their values. None where the bundle gives none.
        affine: 4x4, from (x, y, z) index to DICOM patient coordinates (LPS, mm).
    """

    array: NDArray[np.float16] | None = None
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))


class ToLabels:
    """Of one bundle.

    Args:
        card: whose rules hold.
        ending: what the bundle does after its network.
        again: runs the bundle once more on an item, and gives its output.
    """

    def __init__(self, card: Card, ending: Ending, again: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.card, self._ending, self._again = card, ending, again

    def make(
        self,
        output: dict[str, Any],
        item: dict[str, Any],
        ras: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None,
        kept: Probabilities | None,
    ) -> None:
        """Fill in what came of one item.

        Args:
            output: of the bundle's evaluator.
            item: what it was given.
            ras: 4x4 of the images, from (column, row, slice) index to millimetres, right, anterior, superior.
            out: (slices, rows, columns); filled with the label values.
            doubt, kept: as `Network.segment` has them.

        Raises:
            Unusable: the output is no label map of this grid.
        """
        found = self._ending.probabilities(output)
        if found is None:
            self._finished(output, item, ras, out)
            return
        if not all(bool(torch.isfinite(channel).all()) for channel in found[0]):
            raise Unusable("output-not-finite", "the network's output is not a number in some voxels")
        by = self._restored if self._ending.threshold is None else self._reached
        by(*found, output, ras, out, doubt, kept)

    def _restored(
        self,
        probabilities: torch.Tensor,
        inversion: Inversion,
        output: dict[str, Any],
        ras: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None,
        kept: Probabilities | None,
    ) -> None:
        if probabilities.shape[0] > LARGEST + 1:
            raise Unusable("output-unknown-label", f"the network tells {probabilities.shape[0]} classes apart")
        if kept is not None:
            kept.array, kept.affine = probabilities.half().cpu().numpy(), LPS_TO_RAS @ inversion.affine
        of_voxels = None if doubt is None or self._ending.goes_on else entropy.of_softmax(probabilities)
        self._mend(probabilities, inversion.affine)
        if doubt is not None and of_voxels is not None:
            doubt |= entropy.means(of_voxels, probabilities, membership.parts(self.card))
        shape: tuple[int, int, int] = (out.shape[0], out.shape[1], out.shape[2])
        label_map(probabilities, inversion, shape, ras, out)
        if self._ending.goes_on:
            labels = MetaTensor(torch.from_numpy(out).permute(2, 1, 0)[None].float(), affine=torch.as_tensor(ras))
            out[:] = labels_of(self._ending.of_labels(labels, output), ras, out.shape, self.card)

    def _reached(
        self,
        probabilities: torch.Tensor,
        inversion: Inversion,
        output: dict[str, Any],
        ras: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None,
        kept: Probabilities | None,
    ) -> None:
        """As `_restored`, of one sigmoid per segment."""
        threshold = self._ending.threshold
        assert threshold is not None
        if kept is not None:
            every = overlapping.background_and(probabilities)
            kept.array, kept.affine = every.half().cpu().numpy(), LPS_TO_RAS @ inversion.affine
        of_voxels = None
        if doubt is not None and not self._ending.goes_on:
            of_voxels = overlapping.Doubt(probabilities, threshold)
        if self._mends:
            overlapping.mend(probabilities, inversion.affine, self.card, threshold)
        if doubt is not None and of_voxels is not None:
            doubt |= of_voxels.means(probabilities, sorted(segment.value for segment in self.card.segment))
        shape: tuple[int, int, int] = (out.shape[0], out.shape[1], out.shape[2])
        bit_map(probabilities, threshold, inversion, shape, ras, out)
        if self._ending.goes_on:
            masks = membership.unpacked(out, len(probabilities)).transpose(0, 3, 2, 1)
            image = MetaTensor(torch.from_numpy(masks.astype(np.float32)), affine=torch.as_tensor(ras))
            out[:] = labels_of(self._ending.of_labels(image, output), ras, out.shape, self.card)

    def _finished(
        self, output: dict[str, Any], item: dict[str, Any], ras: NDArray[np.float64], out: NDArray[np.uint8]
    ) -> None:
        """The bundle's own result, as a label map; inverted once more where it is between the labels."""
        for last in (False, True):
            result = self._ending.finished(output)
            if isinstance(result, MetaTensor) and result.ndim == 4:
                result = self._ending.saved_on(result, ras, out.shape[::-1])
            try:
                out[:] = labels_of(result, ras, out.shape, self.card)
                break
            except Unusable as error:
                if last or error.code != "output-not-integer" or not self._ending.force_nearest():
                    raise
            output = self._again(item)
        if self._mends:
            self._mend_labels(out, ras)

    @property
    def _mends(self) -> bool:
        card = self.card
        return bool(
            card.one_class_per_core_mm
            or card.smallest_component_ml
            or card.smallest_component_part
            or card.fill_holes_mm2
        )

    def _mend_labels(self, out: NDArray[np.uint8], ras: NDArray[np.float64]) -> None:
        """Apply the card's rules to a label map, on the source grid."""
        only_known(out, self.card)
        if self.card.overlapping:
            masks = membership.unpacked(out, len(self.card.segment)).transpose(0, 3, 2, 1)
            mended = torch.from_numpy(masks.astype(np.float32))
            overlapping.mend(mended, ras, self.card, 0.5)
            out[:] = membership.packed(mended.numpy().transpose(0, 3, 2, 1))
            return
        values = np.array([0, *membership.known(self.card)], np.uint8)
        classes = torch.from_numpy(np.searchsorted(values, out.transpose(2, 1, 0)))
        one_hot = torch.stack([(classes == number).to(torch.uint8) for number in range(len(values))])
        self._mend(one_hot, ras)
        out[:] = values[winners(one_hot)].transpose(2, 1, 0)

    def _mend(self, probabilities: torch.Tensor, model_affine: NDArray[np.float64]) -> None:
        """Apply the card's rules, in place."""
        spacing_mm = np.linalg.norm(model_affine[:3, :3], axis=0)
        if self.card.one_class_per_core_mm:
            one_class_per_core(probabilities, spacing_mm, self.card.one_class_per_core_mm)
        if self.card.smallest_component_ml or self.card.smallest_component_part:
            voxel_ml = abs(float(np.linalg.det(model_affine[:3, :3]))) / 1000
            least, part = self.card.smallest_component_ml, self.card.smallest_component_part
            absorb_small_components(probabilities, voxel_ml, least, part)
        if self.card.fill_holes_mm2:
            fill_holes(probabilities, float(spacing_mm[0] * spacing_mm[1]), self.card.fill_holes_mm2)
