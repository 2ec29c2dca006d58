"""The settings of what is kept for how long. Out of the box nothing is removed by itself."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import Field, model_validator

from . import hours
from .peers import Section

Days = Annotated[float, Field(ge=0, le=36_500)]


class RetentionSection(Section):
    """How long what is kept; 0 days: for ever."""

    window: hours.Hours = "01:00-05:00"
    originals_days: Days = 0
    originals_when_committed: bool = False
    results_days: Days = 0
    labels_days: Days = 0
    revisions_days: Days = 0
    history_days: Days = 0
    when_full: bool = False

    @model_validator(mode="after")
    def _results_outlive_their_images(self) -> RetentionSection:
        if self.results_days and not (self.originals_days or self.originals_when_committed):
            raise ValueError(
                "results_days without originals_days: the results of a study are removed only after its images"
            )
        return self

    def wait_seconds(self, now: time) -> float:
        """How long until things go by themselves, at this time of the day by the machine's clock; 0: now."""
        return hours.wait_seconds(self.window, now)
