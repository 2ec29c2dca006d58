"""[work] and [hosts]: the workers, and the processes that run networks and decode images for them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from .hours import Hours
from .sections import Section


class WorkSection(Section):
    """The workers and the model hosts."""

    workers: Annotated[int, Field(ge=1, le=64)] = 2
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    job_minutes: Annotated[float, Field(gt=0)] = 30
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    ageing_minutes: Annotated[float, Field(gt=0)] = 120
    lease_seconds: Annotated[float, Field(gt=0)] = 10
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 3
    decode_processes: Annotated[int, Field(ge=0, le=64)] = 0
    confine: Literal["best", "require", "off"] = "best"
    night: Hours = ""

    @model_validator(mode="after")
    def _lease_outlives_a_lost_beat(self) -> WorkSection:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_seconds")
        return self


class HostsSection(Section):
    """The model hosts of this machine, all of them together."""

    memory_gb: Annotated[float, Field(ge=0)] = 0
    warm: Annotated[int, Field(ge=0, le=1000)] = 0
    at_start: bool = True
