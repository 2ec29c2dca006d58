"""A part of the day by the machine's clock, such as "20:00-06:00"."""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

DAY_SECONDS = 86_400.0


def _times(value: str) -> str:
    for part in value.split("-") if value else ():
        try:
            time.fromisoformat(part)
        except ValueError:
            raise ValueError(f"{part!r} is no time of the day") from None
    return value


Hours = Annotated[
    str, StringConstraints(pattern=r"^([0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9])?$"), AfterValidator(_times)
]
"""Empty: the whole day. Where it ends before it begins, it goes over midnight."""


def within(hours: str, now: time) -> bool:
    """Whether a time of the day lies in it; the end does not belong to it."""
    if not hours:
        return True
    begins, ends = (time.fromisoformat(part) for part in hours.split("-"))
    return begins <= now < ends if begins <= ends else now >= begins or now < ends


def wait_seconds(hours: str, now: time) -> float:
    """How long until it begins; 0 within it."""
    if within(hours, now):
        return 0.0
    begins = time.fromisoformat(hours.split("-")[0])
    return (_seconds(begins) - _seconds(now)) % DAY_SECONDS


def left_seconds(hours: str, now: time) -> float:
    """How long until it ends; 0 outside of it, and where it is empty: nothing ends then."""
    if not hours or not within(hours, now):
        return 0.0
    ends = time.fromisoformat(hours.split("-")[1])
    return (_seconds(ends) - _seconds(now)) % DAY_SECONDS


def _seconds(moment: time) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
