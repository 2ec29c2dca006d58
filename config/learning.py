"""The settings of the learning loop: when it trains, on whom, and how far it may go without a person."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from . import hours
from .peers import Section

Percent = Annotated[int, Field(ge=0, le=100)]


class LearningSection(Section):
    """How corrections become networks."""

    train: bool = False
    shares: tuple[Percent, Percent, Percent] = (70, 10, 20)
    new_patients: Annotated[int, Field(ge=1)] = 10
    window: hours.Hours = "20:00-06:00"
    max_epochs: Annotated[int, Field(ge=1)] = 200
    max_minutes: Annotated[float, Field(gt=0)] = 480
    early_stop: Annotated[int, Field(ge=1)] = 10
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    quiet_seconds: Annotated[float, Field(ge=0, le=3600)] = 30
    seed: Annotated[int, Field(ge=0)] = 20261121
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    fewest_patients: Annotated[int, Field(ge=5)] = 12
    automatic_patients: Annotated[int, Field(ge=12)] = 30
    shadow_studies: Annotated[int, Field(ge=0)] = 10
    auto_promote: bool = False
    two_person: bool = False

    @field_validator("shares")
    @classmethod
    def _all_of_them(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if sum(value) != 100 or not value[0]:
            raise ValueError("shares are percentages of training, validation and test; they make 100 together")
        return value

    @model_validator(mode="after")
    def _automatic_needs_more(self) -> LearningSection:
        if self.automatic_patients < self.fewest_patients:
            raise ValueError("automatic_patients is less than fewest_patients")
        if self.auto_promote and self.two_person:
            raise ValueError(
                "auto_promote goes without a person, and two_person wants two of them: only one can be true"
            )
        return self

    def wait_seconds(self, now: time) -> float:
        """How long until a training may begin by itself, at this time of the day by the machine's clock; 0: now."""
        return hours.wait_seconds(self.window, now)
