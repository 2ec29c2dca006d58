"""The life of a job, as values: its states, its kinds, and how an attempt ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    """for its time and a worker"""
    RUNNING = "running"
    """a worker holds the lease"""
    DONE = "done"
    """it did what it was for"""
    REFUSED = "refused"
    """its input cannot be used; trying again would not help"""
    DEAD = "dead"
    """its attempts are used up; `planimeter retry` opens it again"""
    CANCELLED = "cancelled"
    """not wanted any more"""


OPEN = (JobState.WAITING, JobState.RUNNING)

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.WAITING, JobState.DONE, JobState.REFUSED, JobState.DEAD, JobState.CANCELLED}),
    JobState.DONE: frozenset({JobState.WAITING}),
    JobState.REFUSED: frozenset({JobState.WAITING}),
    JobState.DEAD: frozenset({JobState.WAITING}),
    JobState.CANCELLED: frozenset({JobState.WAITING}),
}


class JobKind(StrEnum):
    """What a job does; its module has a function of that name."""

    CHOOSE = "choose"
    SEGMENT = "segment"
    EXPLAIN = "explain"
    DELIVER = "deliver"
    COMMIT = "commit"
    LABEL = "label"
    TRAIN = "train"
    EVALUATE = "evaluate"
    SHADOW = "shadow"
    SWEEP = "sweep"
    FETCH = "fetch"
    RECONCILE = "reconcile"
    PRIOR = "prior"
    PURGE = "purge"
    WATCH = "watch"
    EXPORT = "export"


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    """an error; the job is tried again until its attempts are used up"""
    UNAVAILABLE = "unavailable"
    """something it needs is away; tried again, no attempt used up"""
    LOST = "lost"
    """the worker died or was cut off"""
    RELEASED = "released"
    """given back unworked, when a worker is stopped"""


class LostLease(Exception):
    """The job belongs to somebody else by now: whatever was made for it must be discarded."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job in the hands of a worker."""

    id: int
    kind: JobKind
    subject: str
    fencing_token: int
    attempts: int
    max_attempts: int
    first_claimed: float
    worker: str
    priority: int = 0
    study_id: int | None = None
    input_set_id: int | None = None
    model_version_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is kept of an attempt."""

    code: str | None = None
    sentence: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Backoff:
    """Exponential with full jitter on its upper half: between half of the wait and the wait."""

    first_seconds: float
    longest_seconds: float

    def seconds(self, attempts: int, random: Random) -> float:
        """The wait after so many attempts."""
        doublings = min(max(attempts - 1, 0), 60)  # of more, a float knows no second
        full = min(self.longest_seconds, self.first_seconds * 2.0**doublings)
        return full * random.uniform(0.5, 1.0)
