"""The settings of the receiver."""

from __future__ import annotations

import ipaddress
import os
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .sections import Section

#: by themselves: the rest of the cores has work to do
MOST_RECEIVERS = 4


class ReceiveSection(Section):
    """The C-STORE SCP."""

    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    listen: str = ""
    quiet_seconds: Annotated[float, Field(ge=0, le=86400)] = 60
    reserve_gb: Annotated[float, Field(ge=0)] = 5
    refuse_gb: Annotated[float, Field(ge=0)] = 0
    processes: Annotated[int, Field(ge=0, le=16)] = 0
    associations: Annotated[int, Field(ge=1, le=500)] = 50
    idle_seconds: Annotated[float, Field(ge=5)] = 60
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=131072)] = 131072
    connections_per_address: Annotated[int, Field(ge=1, le=5000)] = 100
    waiting_connections: Annotated[int, Field(ge=1, le=5000)] = 200
    object_gb: Annotated[float, Field(gt=0)] = 8
    loop: Literal["own", "pynetdicom"] = "own"
    require_called_ae: bool = False

    @field_validator("listen")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value or "127.0.0.1")
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address") from None
        return value

    @model_validator(mode="after")
    def _the_upper_mark_is_above(self) -> ReceiveSection:
        if self.refuse_gb and self.refuse_gb < self.reserve_gb:
            raise ValueError("refuse_gb is less than reserve_gb: callers are turned away before objects are")
        return self

    @property
    def receivers(self) -> int:
        """How many processes receive; never more than associations."""
        return min(self.processes or max(1, min(MOST_RECEIVERS, _cores() // 2)), self.associations)

    @property
    def refuse_bytes(self) -> int:
        """Below so much free space new associations are rejected."""
        return int((self.refuse_gb or 2 * self.reserve_gb) * 1e9)

    @property
    def reserve_bytes(self) -> int:
        """Below so much free space objects are refused too."""
        return int(self.reserve_gb * 1e9)

    @property
    def largest_bytes(self) -> int:
        """Larger objects are refused."""
        return int(self.object_gb * 1e9)


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
