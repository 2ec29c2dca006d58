"""The settings of the watch over networks: when what they read has drifted, and when a result counts as accepted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .peers import Section


class WatchSection(Section):
    """How networks are watched."""

    reference_persons: Annotated[int, Field(ge=20, le=10_000)] = 100
    fewest_persons: Annotated[int, Field(ge=10, le=10_000)] = 20
    accepted_days: Annotated[float, Field(gt=0, le=365)] = 14
