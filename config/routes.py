"""Routes: which series go through which networks, and where the results go."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .conditions import Condition, Expects
from .sections import Name, Object, Section


class Priority(StrEnum):
    """How urgent a route's studies are; the database stores the number."""

    STAT = "stat"
    ROUTINE = "routine"
    NIGHT = "night"


Objects = Annotated[tuple[Object, ...], Field(min_length=1)]


class Route(Section):
    """Which studies go through which networks and where the results go."""

    name: Name
    when: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()
    networks: Annotated[tuple[Name, ...], Field(min_length=1)]
    destinations: tuple[Name, ...] = ()
    objects: Objects | dict[Name, Objects] | None = None
    priority: Priority = Priority.ROUTINE
    deadline_minutes: Annotated[float, Field(gt=0, le=10080)] | None = None
    per: Literal["study", "series"] = "study"
    quiet_seconds: Annotated[float, Field(ge=0, le=86400)] | None = None
    expects: Expects | None = None
    mode: Literal["live", "silent"] = "live"

    @model_validator(mode="after")
    def _fits_together(self) -> Route:
        if self.objects is not None and not self.destinations:
            raise ValueError("`objects` says what the destinations get, and there are no `destinations`")
        if isinstance(self.objects, dict) and (others := sorted(set(self.objects) - set(self.destinations))):
            raise ValueError(f"`objects` names {', '.join(others)}, which is none of its `destinations`")
        if self.quiet_seconds is not None and self.per == "study":
            raise ValueError('`quiet_seconds` of a route belongs to per = "series"; for studies it is in [receive]')
        return self
