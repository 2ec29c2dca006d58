"""What a card says of learning: what the network was trained on and begins with, and what counts when it is judged."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, model_validator

from .input_rules import Part, Range, Text


class TrainedOn(Part):
    """What the network was trained on; an input outside of it is flagged.

    Attributes:
        pixel_spacing_mm, slice_spacing_mm, slice_thickness_mm, age_years: least and most.
        kernel: patterns, one of which ConvolutionKernel has.
    """

    pixel_spacing_mm: Range | None = None
    slice_spacing_mm: Range | None = None
    slice_thickness_mm: Range | None = None
    age_years: Range | None = None
    kernel: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _patterns_compile(self) -> TrainedOn:
        for pattern in self.kernel:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"kernel: {pattern!r} is not a regular expression: {error}") from None
        return self


class Baseline(Part):
    """What a network is compared with beside its predecessor: the voxels whose value in the first channel is above."""

    value: Annotated[int, Field(ge=1)]
    above: float


class Gate(Part):
    """What counts when a retrained network is compared with the live one.

    Attributes:
        primary: label values over whose mean Dice the two are compared; none named: all segments.
        margin, class_margin, subgroup_margin: how much Dice may be lost over all, in a class, in a subgroup, before a
            candidate is refused; `class_margins` by label value, where a class has its own.
        tolerance_mm: surfaces that lie so near to one another agree (normalised surface Dice).
        absolute: label value -> mean Dice that a network without a predecessor has to reach.
        baseline: one per class, or none.
    """

    primary: tuple[int, ...] = ()
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    class_margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    class_margins: dict[int, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    subgroup_margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    tolerance_mm: Annotated[float, Field(gt=0)] = 3.0
    absolute: dict[int, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    baseline: tuple[Baseline, ...] = ()

    @property
    def named(self) -> set[int]:
        """All label values that it speaks of."""
        return {*self.primary, *self.class_margins, *self.absolute, *(one.value for one in self.baseline)}


class Start(Part):
    """Of a network that was not trained yet: its weights are those of another one, for other structures.

    Attributes:
        like: name and version of that one.
        freeze_epochs: for so long its first training leaves alone what was taken over.
    """

    like: Text
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
