"""What a card says of samples that are made up for its network's training: none, unless it asks for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .input_rules import Part

#: a generator halves its canvas so many times
HALVINGS = 3


class Augmentation(Part):
    """The `[augmentation]` of a card, and of a run.

    Attributes:
        synthetic_share: this part of the samples a network is trained on is made by a generator, which is trained on
            the same training cases before; 0: none is, and no generator is trained.
        synthetic_cases: how many cases it makes.
        generator_steps: of its training.
        canvas: rows and columns of a slice as the generator sees it; larger images are made coarser.
    """

    synthetic_share: Annotated[float, Field(ge=0, le=0.5)] = 0
    synthetic_cases: Annotated[int, Field(ge=1, le=1000)] = 24
    generator_steps: Annotated[int, Field(ge=1)] = 1000
    canvas: Annotated[int, Field(ge=32, le=256, multiple_of=2**HALVINGS)] = 64
