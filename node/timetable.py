"""What is due every so many seconds, or at a minute of the hour, whatever becomes of the machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger


class Onwards(BaseTrigger):
    """Another trigger, that passes over all that was missed at once.

    APScheduler would count what was missed time by time, and keep all of these times, while nothing can be begun or
    stopped: ten million for each thing that is due every three seconds, where the clock is set by a year.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self._trigger = trigger

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        return self._trigger.get_next_fire_time(previous and max(previous, now), now)


def empty() -> BackgroundScheduler:
    """A timetable with nothing in it: what is late is done late, and once."""
    each = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    return BackgroundScheduler(timezone=UTC, job_defaults=each)


def every(seconds: float) -> Onwards:
    """Every so many seconds."""
    return Onwards(IntervalTrigger(seconds=seconds, timezone=UTC))


def hourly(minute: int | str) -> Onwards:
    """At a minute of each hour, or at those that an expression of cron names."""
    return Onwards(CronTrigger(minute=minute, timezone=UTC))
