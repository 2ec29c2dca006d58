"""Made-up cases: the image that a generator gives to a label that nobody has drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .bucket import Bucket, Prepared
from .generator import Generator
from .shapes import varied
from .volume import Volume

#: what every made-up case is called, in case.json and in the record of a run
PREFIX = "synthetic"
SLICES_AT_A_TIME = 16
#: slices of a case that its style is taken from
STYLE_SLICES = 8
#: how far a style lies from that of a case, in standard deviations over the slices
STRAY = 0.5


@dataclass(frozen=True)
class Made:
    """A made-up case.

    Attributes:
        volume: its values in the channels' units, its label the one it was made for.
        host, donor, style_of: names of the training cases: whose surroundings, whose lesions, whose style.
    """

    volume: Volume
    host: str
    donor: str
    style_of: str


class Sampler:
    """Draws made-up cases; the n-th follows from seed and n alone.

    Args:
        lesions: label values that are moved from one patient to another.
    """

    def __init__(self, bucket: Bucket, generator: Generator, lesions: Sequence[int], seed: int) -> None:
        self.bucket, self.generator, self.seed = bucket, generator.eval(), seed
        self.device = next(generator.parameters()).device
        self._kinds = bucket.maps.kinds_of(lesions)

    def __call__(self, number: int) -> Made:
        drawn = np.random.default_rng([self.seed, number])
        cases = self.bucket.cases
        # every case is host as often as any other
        host = cases[int(np.random.default_rng(self.seed).permutation(len(cases))[number % len(cases)])]
        donor, style_of = (cases[int(drawn.integers(len(cases)))] for _ in range(2))
        inside, lesions = (self._map(one) for one in (host, donor))
        stretch = float(donor.volume.spacing_mm[0] / host.volume.spacing_mm[0])
        found = varied(inside, lesions, self._kinds, stretch, drawn)
        values = self.image(found, self._style(style_of, drawn))
        volume = Volume(f"{PREFIX}-{number:04}", values, self.bucket.maps.label(found), host.volume.affine)
        return Made(volume, host.volume.case, donor.volume.case, style_of.volume.case)

    def image(self, found: NDArray[np.uint8], style: torch.Tensor) -> NDArray[np.float32]:
        """The image of a map in one style for all its slices, so that they fit together.

        Args:
            found: (slices, rows, columns), not padded.
            style: (1, STYLE).

        Returns:
            (channels, slices, rows, columns) in the channels' units.
        """
        canvas, maps = self.bucket.canvas, self.bucket.maps
        padded = canvas.pad(found, maps.nothing)
        parts = [self._slices(maps.shown(padded, numbers), style) for numbers in _parts(len(found))]
        return self.bucket.scale.undo(canvas.cut(np.concatenate(parts), found.shape).swapaxes(0, 1))

    def style_of(self, prepared: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the style over some slices of a case, (1, STYLE) each."""
        step = max(1, len(prepared.scaled) // STYLE_SLICES)
        chosen = torch.from_numpy(prepared.scaled[step // 2 :: step]).to(self.device)
        with torch.no_grad():
            means, _ = self.generator.styles(chosen)
        return means.mean(0, keepdim=True), means.std(0, keepdim=True, unbiased=False)

    def _slices(self, shown: torch.Tensor, style: torch.Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            made = self.generator(shown.to(self.device), style.expand(len(shown), -1))
        return np.asarray(made.cpu().numpy(), np.float32)

    def _style(self, prepared: Prepared, drawn: np.random.Generator) -> torch.Tensor:
        mean, spread = self.style_of(prepared)
        stray = torch.from_numpy(drawn.standard_normal(mean.shape).astype(np.float32)).to(self.device)
        return mean + STRAY * spread * stray

    def _map(self, prepared: Prepared) -> NDArray[np.uint8]:
        return self.bucket.canvas.cut(prepared.found, prepared.volume.label.shape)


def _parts(count: int) -> Iterator[range]:
    for first in range(0, count, SLICES_AT_A_TIME):
        yield range(first, min(count, first + SLICES_AT_A_TIME))
