"""The card's `[uncertainty]`: several passes of a network over one image, to see where they differ."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .input_rules import Part

LEFT_RIGHT = "left-right"
#: axis of the patient (right, anterior, superior) or of a picture -> its number in an affine
OF_PATIENT = {LEFT_RIGHT: 0, "front-back": 1, "feet-head": 2}
OF_PICTURE = {"across": 0, "down": 1}
MONTE_CARLO_PASSES = 8

Axis = Literal["left-right", "front-back", "feet-head", "across", "down"]


class Uncertainty(Part):
    """How a network is asked several times. The mean of the passes is its result.

    Attributes:
        method: "flips": the image is mirrored, its result mirrored back; "monte-carlo": dropout stays on (Gal and
            Ghahramani, 2016).
        passes: of flips, so many of the combinations of axes, those of fewest axes first; all where it is not said.
        axes: of flips: of the patient for volumes, of the picture for networks in two dimensions.
    """

    method: Literal["flips", "monte-carlo"]
    passes: Annotated[int, Field(ge=2, le=64)] | None = None
    axes: tuple[Axis, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Uncertainty:
        if (self.method == "flips") != bool(self.axes):
            raise ValueError('axes: named for method = "flips", and for no other')
        if len(set(self.axes)) != len(self.axes):
            raise ValueError("axes: one is named twice")
        if {*self.axes} & {*OF_PATIENT} and {*self.axes} & {*OF_PICTURE}:
            raise ValueError(f"axes: {', '.join(OF_PATIENT)} are of volumes, {', '.join(OF_PICTURE)} of pictures")
        if self.axes and (self.passes or 0) > 2 ** len(self.axes):
            raise ValueError(f"passes: {len(self.axes)} axes have {2 ** len(self.axes)} combinations")
        return self

    @property
    def flips(self) -> tuple[tuple[Axis, ...], ...]:
        """The axes that are flipped together in each pass; the first pass flips none."""
        every = [some for count in range(len(self.axes) + 1) for some in itertools.combinations(self.axes, count)]
        return tuple(every[: self.passes])

    @property
    def count(self) -> int:
        """How many passes there are."""
        return len(self.flips) if self.axes else self.passes or MONTE_CARLO_PASSES
