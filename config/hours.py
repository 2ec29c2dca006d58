"""Hours of the day in which something may begin, by the clock of this machine."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

DAY_SECONDS = 86_400.0


def _are_times(value: str) -> str:
    for part in value.split("-") if value else ():
        try:
            time.fromisoformat(part)
        except ValueError:
            raise ValueError(f"{part!r} is no time of the day") from None
    return value


#: "20:00-06:00", or empty: at any time
Hours = Annotated[
    str,
    StringConstraints(pattern=r"^([0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9])?$"),
    AfterValidator(_are_times),
]


def wait_seconds(hours: str, now: time) -> float:
    """How long until they begin; 0: they have begun, and have not ended."""
    if not hours:
        return 0.0
    begins, ends = (time.fromisoformat(part) for part in hours.split("-"))
    if begins <= now < ends if begins <= ends else now >= begins or now < ends:
        return 0.0
    return (_seconds(begins) - _seconds(now)) % DAY_SECONDS


def _seconds(moment: time) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
