"""The working process: claims jobs, keeps their leases, and says how each attempt ended.

It knows nothing of DICOM or networks; the steps are in `journey`. Four loops run side by side, so that a result
that is there is not kept waiting by the next study: one works (choose, segment, label, sweep, purge, export), one sends
(deliver, commit), one learns (train, evaluate, shadow), one receives what has to be asked for (prior, fetch,
reconcile).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from db import jobs, lost_jobs, pauses, processes, studies
from db.database import Conflict, DatabaseUnreachable
from db.job_states import Claim, JobKind, JobState, LostLease, Outcome

from . import logs
from .app import Node
from .attempt import Stages
from .clock_steps import ClockSteps, of_database
from .errors import Failed, Refused, Unavailable
from .failpoints import reach
from .giving_up import end_lost, gave_up
from .journey import STEPS

logger = logging.getLogger(__name__)

LOOPS: dict[str, tuple[JobKind, ...]] = {
    "work": (
        *(JobKind.CHOOSE, JobKind.SEGMENT, JobKind.EXPLAIN, JobKind.LABEL),
        *(JobKind.SWEEP, JobKind.PURGE, JobKind.WATCH, JobKind.EXPORT),
    ),
    "send": (JobKind.DELIVER, JobKind.COMMIT),
    "learn": (JobKind.TRAIN, JobKind.EVALUATE, JobKind.SHADOW),
    "receive": (JobKind.PRIOR, JobKind.FETCH, JobKind.RECONCILE),
}
POLL_SECONDS = 0.3
RESCUE_SECONDS = 2.0
#: after an error of the loop itself
AGAIN_SECONDS = 1.0
UNAVAILABLE_SECONDS = 10.0
NOTING_SECONDS = 0.5
#: of the disk, or of what this user may have on it
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
#: how much longer than its wall-clock limit a job may take until the whole worker is given up
GRACE_SECONDS = 60.0
EXIT_HUNG = 70


@dataclass
class Worker:
    """One worker process.

    Attributes:
        poll_seconds: after so long each loop looks for what others made; for what this worker made it looks at once.
        process: what `Beating` calls it; it may be drained under this name.
    """

    node: Node
    name: str
    stopping: threading.Event = field(default_factory=threading.Event)
    poll_seconds: float = POLL_SECONDS
    process: str = ""
    _held: dict[int, Claim] = field(default_factory=dict)
    _news: dict[str, threading.Event] = field(default_factory=lambda: {one: threading.Event() for one in LOOPS})
    _steps: ClockSteps = field(init=False)
    _rescuing: threading.Lock = field(default_factory=threading.Lock)
    _rescued: float = float("-inf")

    def __post_init__(self) -> None:
        self._steps = ClockSteps(heartbeat_seconds=self.node.work.heartbeat_seconds)

    def run(self, grace_seconds: float) -> None:
        """Work until `stopping` is set; a job that is not done after the grace is given back, no attempt used up."""
        threads = [
            threading.Thread(target=self._loop, args=(activity, kinds), name=activity, daemon=True)
            for activity, kinds in LOOPS.items()
        ]
        for thread in threads:
            thread.start()
        self.stopping.wait()
        self._tell()
        deadline = time.monotonic() + grace_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for claim in list(self._held.values()):
            with contextlib.suppress(LostLease), self.node.database.write() as tx:
                report = Stages().report("released", "its worker was stopped")
                jobs.postpone(tx, claim, report, 0, Outcome.RELEASED)
                logger.info("%s given back: job %s", claim.kind, claim.id)

    def _loop(self, activity: str, kinds: tuple[JobKind, ...]) -> None:
        while True:
            self._news[activity].clear()  # before it looks: what comes after that is news
            if self.stopping.is_set():
                return
            try:
                self._rescue()
                claim = self._next(activity, kinds)
                if claim is None:
                    self._news[activity].wait(self.poll_seconds)
                else:
                    self.attempt(claim)
                    self._tell()
            except DatabaseUnreachable as error:
                logger.warning("%s", error)
                self.stopping.wait(AGAIN_SECONDS)
            except Exception:  # the edge of the thread: a job that it held is rescued when its lease has run out
                logger.exception("the loop `%s` goes on after what nobody foresaw", activity)
                self.stopping.wait(AGAIN_SECONDS)

    def _rescue(self) -> None:
        """Take back the jobs of workers that are gone; one loop does it, every few seconds."""
        if time.monotonic() - self._rescued < RESCUE_SECONDS or not self._rescuing.acquire(blocking=False):
            return
        try:
            self._rescued = time.monotonic()
            if self._steps.is_settled(partial(of_database, self.node.database)):
                with self.node.database.write() as tx:
                    lost_jobs.rescue(tx)
                end_lost(self.node)
        finally:
            self._rescuing.release()

    def _tell(self) -> None:
        """What a job made may be another loop's next one: it need not wait for its turn to look."""
        for one in self._news.values():
            one.set()

    def _next(self, activity: str, kinds: tuple[JobKind, ...]) -> Claim | None:
        with self.node.database.read() as tx:
            if not jobs.any_ready(tx, kinds) or activity in pauses.paused(tx) or processes.is_drained(tx, self.process):
                return None
        work = self.node.fresh().work
        # of two workers that begin to fetch at the same moment, the database lets one
        with contextlib.suppress(Conflict), self.node.database.write() as tx:
            return jobs.claim(tx, kinds, self.name, work.lease_seconds, work.ageing_seconds)
        return None

    def attempt(self, claim: Claim) -> None:
        """One attempt at a job, whatever comes of it."""
        reach("claimed")
        stages = Stages()
        begun = time.monotonic()
        self._held[claim.id] = claim
        node = self.node
        try:
            with self._lease(claim, stages), logs.about(job=claim.id, **self._about(claim)):
                try:
                    node = self.node.fresh()
                    STEPS[claim.kind](node, claim, stages)
                    logger.info("%s done: job %s, %.1f s", claim.kind, claim.id, time.monotonic() - begun)
                except LostLease as error:
                    logger.warning("%s; what was made for it is discarded", error)
                except Exception as error:  # noqa: BLE001 - the edge of the process
                    self._ended_badly(node, claim, stages, error)
        except Unavailable as error:  # it was not begun: nothing keeps its lease
            self._ended_badly(node, claim, stages, error)
        finally:
            self._held.pop(claim.id, None)

    def _about(self, claim: Claim) -> dict[str, str]:
        """What the log says beside the job: the study, as it is called there, and the network."""
        try:
            with self.node.database.read() as tx:
                study_uid, network = studies.named(tx, claim.study_id, claim.input_set_id)
        except DatabaseUnreachable:
            return {}
        return {"study": logs.study(study_uid), "network": network}

    def _ended_badly(self, node: Node, claim: Claim, stages: Stages, error: Exception) -> None:
        """Note it; where the database is away too, as soon as it is back: an outage uses up no attempt."""
        while True:
            try:
                with self.node.database.write() as tx:
                    self._note(tx, node, claim, stages, error)
            except LostLease as lost:
                logger.warning("%s", lost)
            except DatabaseUnreachable as away:
                logger.warning("job %s: its end cannot be noted now: %s", claim.id, away)
                if not self.stopping.wait(NOTING_SECONDS):
                    continue
            return

    def _note(self, tx: Any, node: Node, claim: Claim, stages: Stages, error: Exception) -> None:
        backoff = self.node.send.backoff if claim.kind in LOOPS["send"] else self.node.work.backoff
        if isinstance(error, Refused):
            # of what went wrong the code alone: a sentence may quote what a PACS said, and that may name anybody
            logger.info("%s refused: job %s: %s", claim.kind, claim.id, error.code)
            state = jobs.finish(tx, claim, JobState.REFUSED, stages.report(error.code, error.sentence))
            if state is JobState.REFUSED:
                gave_up(tx, node, claim, error.sentence)
        elif (away := _away(error)) is not None:
            code, sentence, wait = away
            logger.info("%s waits: job %s: %s", claim.kind, claim.id, code)
            jobs.postpone(tx, claim, stages.report(code, sentence), wait)
        else:
            code, sentence = _failure(error)
            if not isinstance(error, Failed):
                logger.error("%s failed: job %s", claim.kind, claim.id, exc_info=error)
            state = jobs.fail(
                tx, claim, stages.report(code, sentence), backoff.seconds(claim.attempts, self.node.random)
            )
            logger.warning("%s failed: job %s, now %s: %s", claim.kind, claim.id, state, code)
            if state is JobState.DEAD:
                gave_up(tx, node, claim, sentence)

    @contextlib.contextmanager
    def _lease(self, claim: Claim, stages: Stages) -> Iterator[None]:
        """Beat while the job is worked on; give the whole process up when it hangs beyond all limits.

        Raises:
            Unavailable: `no-thread`.
        """
        done = threading.Event()
        name = f"lease of job {claim.id}"
        beat = threading.Thread(target=self._beat, args=(claim, stages, done), name=name, daemon=True)
        try:
            beat.start()
        except RuntimeError as error:
            raise Unavailable("no-thread", f"this machine lets the worker start no thread: {error}") from error
        try:
            yield
        finally:
            done.set()
            beat.join()

    def _beat(self, claim: Claim, stages: Stages, done: threading.Event) -> None:
        # a network may be waited for as long as it may run, and runs again where a prior has to be measured anew
        limit_seconds = 4 * self.node.work.job_seconds + GRACE_SECONDS
        if claim.kind is JobKind.TRAIN:  # it has a limit of its own, and its cases are made before
            limit_seconds += 2 * 60 * self.node.learning.max_minutes
        if claim.kind in (JobKind.FETCH, JobKind.PRIOR):
            limit_seconds += 2 * self.node.fetch.limits.study_seconds
        held = True
        while not done.wait(self.node.work.heartbeat_seconds):
            # of an evaluation of many patients each is a stage
            if time.monotonic() - stages.moved > limit_seconds:
                logger.error("job %s hangs; this worker ends, so that another may try", claim.id)
                os._exit(EXIT_HUNG)
            if not held:  # by nobody's order it works on, and must not for ever: its loop does nothing else
                continue
            try:
                with self.node.database.write() as tx:
                    jobs.beat(tx, claim, self.node.work.lease_seconds)
            except DatabaseUnreachable as error:
                self._steps.disturb()  # others could not prolong their leases either
                logger.warning("no heartbeat: %s", error)
            except LostLease:
                held = False
            except Exception:  # the edge of this thread: the job goes on, and the next beat may come in time
                logger.exception("no heartbeat of job %s", claim.id)


def _away(error: Exception) -> tuple[str, str, float] | None:
    """Of what uses up no attempt: code, sentence, and when to try again."""
    if isinstance(error, Unavailable):
        return error.code, error.sentence, error.retry_seconds or UNAVAILABLE_SECONDS
    if isinstance(error, DatabaseUnreachable):
        return "database-unreachable", str(error), UNAVAILABLE_SECONDS
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return "disk-full", "there is no room on the disk for what it makes", UNAVAILABLE_SECONDS
    return None


def _failure(error: Exception) -> tuple[str, str]:
    if isinstance(error, Failed):
        return error.code, error.sentence
    return "unexpected-error", f"{type(error).__name__} (see the log of this time)"
