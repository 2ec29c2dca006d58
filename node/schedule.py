"""The scheduling process, which only enqueues: what is due by the clock, by APScheduler, and studies that are quiet.

Several may run, on as many machines: one acts, the others stand by (`duty`). What two of them ask for is one job.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from db import clock_steps, firing, jobs, lost_jobs, studies, tallies
from db.database import Conflict, DatabaseUnreachable
from db.job_states import JobKind

from . import reconciling, timetable
from .app import Node
from .audit.forward import Forwarder
from .clock_steps import ClockSteps, of_database
from .duty import Duty
from .operations import completeness, retrain
from .operations.alarms.watch import Watch
from .operations.retrain import Terms
from .operations.watch import looking
from .timetable import every, hourly

logger = logging.getLogger(__name__)

DUTY = "schedule"
SETTLE_SECONDS = 1.0
#: another process may be closing the study that is due
SOONEST_SECONDS = 0.05
RESCUE_SECONDS = 5.0
COUNT_SECONDS = 3.0
TRAINING_SECONDS = 20.0
RECONCILE_SECONDS = 30.0
DISK_SECONDS = 30.0
ALARM_SECONDS = 5.0
MESSAGE_SECONDS = 3.0
TALLY_SECONDS = 5.0
AUDIT_STOP_SECONDS = 5.0
#: of attempts that are counted at a time: an old database has many that were never counted
TALLY_PAGES = 5
SWEEP_ATTEMPTS = 3
#: after everything that a person waits for
SWEEP_PRIORITY = 100
#: before everything
FULL_PRIORITY = -100


def run(node: Node, stopping: threading.Event, process: str = "schedule") -> None:
    """Schedule until `stopping` is set, whenever it is this process's turn.

    Args:
        process: a name that no other one has.
    """
    with Duty(node.database, DUTY, process) as duty:
        _run(node, stopping, duty)


def _run(node: Node, stopping: threading.Event, duty: Duty) -> None:
    watch, steps = watch_of(node), ClockSteps()
    since = ClockSteps(heartbeat_seconds=node.work.heartbeat_seconds)
    telling = _tell_the_collector(node, stopping)
    while not stopping.is_set():
        scheduler = _scheduler(node, duty, watch, since)
        _keep_settling(node, stopping, duty, steps)
        scheduler.shutdown(wait=True)  # the machine's clock was set: what is next due would come an hour late
    telling.join(AUDIT_STOP_SECONDS)


def _scheduler(node: Node, duty: Duty, watch: Watch, steps: ClockSteps) -> BackgroundScheduler:
    """All that is due by the clock; started."""
    scheduler = timetable.empty()
    scheduler.add_job(rescue, every(RESCUE_SECONDS), args=[node, duty, steps])
    scheduler.add_job(duty.act, every(COUNT_SECONDS), args=[ask_counts, node])
    if node.fetch.reconcile_at is not None:
        scheduler.add_job(duty.act, every(RECONCILE_SECONDS), args=[ask_to_reconcile, node])
    if node.learning.train:
        scheduler.add_job(duty.act, every(TRAINING_SECONDS), args=[ask_for_training, node])
    scheduler.add_job(duty.act, hourly("*/10"), args=[ask_for_purge, node])
    scheduler.add_job(duty.act, every(DISK_SECONDS), args=[look_at_the_disk, node])
    scheduler.add_job(look, every(ALARM_SECONDS), args=[watch, duty])
    scheduler.add_job(duty.act, every(MESSAGE_SECONDS), args=[watch.send])
    scheduler.add_job(duty.act, every(TALLY_SECONDS), args=[tally, node])
    scheduler.add_job(duty.act, hourly(17), args=[ask_for_sweep, node])
    scheduler.add_job(duty.act, hourly(41), args=[ask_for_watch, node])
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    scheduler.start()
    return scheduler


def _tell_the_collector(node: Node, stopping: threading.Event) -> threading.Thread:
    """In a thread of its own: the collector may take its time."""

    def forward() -> None:
        if node.collector is not None:
            Forwarder(node.database, node.collector, node.audited_as, node.random).run(stopping)

    thread = threading.Thread(target=forward, name="audit", daemon=True)
    thread.start()
    return thread


def _keep_settling(node: Node, stopping: threading.Event, duty: Duty, steps: ClockSteps) -> None:
    """Settle each study at the moment when it has been quiet long enough, not at the next tick of a clock.

    Ends where this machine's clock is set, too.
    """
    wait_seconds, here = 0.0, ClockSteps()
    while not stopping.wait(wait_seconds) and not here.look(time.time):
        wait_seconds = SETTLE_SECONDS
        try:
            follow(node, duty, steps)
            if not duty.held:
                continue
            left = settle(node.fresh())
        except Exception:
            logger.exception("studies were not settled")  # the edge of the process: the next time may go well
            continue
        if left is not None:
            wait_seconds = min(max(left, SOONEST_SECONDS), SETTLE_SECONDS)


def follow(node: Node, duty: Duty, steps: ClockSteps) -> None:
    """Where the database's clock was set, have what waits wait no longer and no shorter for it."""
    step = 0.0
    try:
        step = steps.look(partial(of_database, node.database))
        if step and not duty.held and duty.was_ours:  # it could not be prolonged; perhaps it is taken up again
            steps.not_followed(step)
        elif step and duty.held:
            with node.database.write() as tx:
                clock_steps.follow(tx, step)
            logger.warning("the database's clock was set by %+.0f s; what waits was moved along", step)
    except DatabaseUnreachable as error:
        steps.not_followed(step)
        logger.warning("%s", error)


def settle(node: Node) -> float | None:
    """Close the studies that are complete, and fire the series that need not wait, each with its `choose` job.

    No PACS is asked here: that may take time.

    Returns:
        The seconds until the next one may be; None where nothing is on its way, or it is a PACS that is waited for.
    """
    patience, quiets = node.fetch.patience, node.quiets
    settled, fired = list[str](), list[str]()
    try:
        with node.database.read() as tx:
            due = studies.any_due(tx, node.quiet_seconds, patience) or firing.any_due(tx, quiets)
            left = _due_in(tx, node)
            ahead = clock_steps.is_ahead(tx)
        if due or ahead:
            with node.database.write() as tx:
                clock_steps.catch_up(tx)
                settled = studies.settle(tx, node.quiet_seconds, node.work.attempts, patience)
                fired = firing.fire(tx, quiets, node.work.attempts)
                left = _due_in(tx, node)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)
        return None
    if settled or fired:
        logger.info("%d studies settled, %d series fired", len(settled), len(fired))
    # a study whose time has come, and that is not due, waits for a PACS
    return min((one for one in left if one or settled), default=None)


def _due_in(tx: Any, node: Node) -> list[float]:
    left = studies.due_in(tx, node.quiet_seconds), firing.due_in(tx, node.quiets)
    return [one for one in left if one is not None]


def ask_counts(node: Node) -> None:
    """How many images the PACS has of what is arriving."""
    node = node.fresh()
    try:
        completeness.ask(node.database, node.fetch.pacs, node.ae_title, node.fetch.limits, node.trail)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)


def ask_to_reconcile(node: Node) -> None:
    """What the PACS have that never came, once a day."""
    try:
        reconciling.ask(node.fresh(), datetime.now().astimezone())
    except DatabaseUnreachable as error:
        logger.warning("%s", error)


def rescue(node: Node, duty: Duty, steps: ClockSteps) -> None:
    """Take back the jobs of workers that are gone; where the others could not be heard of, they are heard first."""
    try:
        if not steps.is_settled(partial(of_database, node.database)) or not duty.held:
            return
        with node.database.write() as tx:
            taken_back = lost_jobs.rescue(tx)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)
        return
    if taken_back:
        logger.warning("%d jobs of dead workers wait again", taken_back)


def ask_for_training(node: Node) -> None:
    """A training, where enough new patients have come and the window is open."""
    terms = Terms(
        new_patients=node.learning.new_patients,
        wait_seconds=node.learning.wait_seconds,
        attempts=node.work.attempts,
    )
    now = datetime.now().astimezone().time()
    try:
        asked = retrain.ask_where_due(node.database, node.networks, terms, now)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)
        return
    for network in asked:
        logger.info("%s is to be trained", network)


def watch_of(node: Node) -> Watch:
    """The watch over a node, by the alarms that are live when it looks."""
    return Watch(node.database, lambda: node.fresh().alarms, node.archive.home, node.serial, node.random)


def look(watch: Watch, duty: Duty) -> None:
    """Judge what is wrong; people are told of it by `watch.send`, which may take its time.

    While the database is away nobody's lease can be prolonged: whoever had it last says that it is away.
    """
    if duty.was_ours:
        watch.look(datetime.now().astimezone())


def tally(node: Node) -> None:
    """Count what has ended, for the metrics."""
    try:
        for _ in range(TALLY_PAGES):
            with node.database.read() as tx:
                if not tallies.any_uncounted(tx):
                    return
            with node.database.write() as tx:
                tallies.count_attempts(tx)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)


def ask_for_sweep(node: Node) -> None:
    """One tidying per hour, whoever asks first."""
    due = datetime.now(UTC).strftime("%Y-%m-%dT%H:00Z")
    try:
        with node.database.write() as tx:
            jobs.enqueue(tx, JobKind.SWEEP, "home", due=due, max_attempts=SWEEP_ATTEMPTS, priority=SWEEP_PRIORITY)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)


def ask_for_purge(node: Node, now: datetime | None = None) -> None:
    """One purge per day, when its hours have come."""
    here, policy = now or datetime.now().astimezone(), node.fresh().retention
    if not policy.removes_anything or policy.wait_seconds(here.time()) > 0:
        return
    try:
        with node.database.write() as tx:
            due = here.strftime("%Y-%m-%d")
            jobs.enqueue(tx, JobKind.PURGE, "home", due=due, max_attempts=SWEEP_ATTEMPTS, priority=SWEEP_PRIORITY)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)


def look_at_the_disk(node: Node) -> None:
    """A purge at once, where callers are turned away for want of room: before all other jobs."""
    policy = node.fresh().retention
    if not policy.when_full or node.archive.free_bytes() >= policy.refuse_bytes:
        return
    try:
        with node.database.write() as tx:
            jobs.enqueue(tx, JobKind.PURGE, "home", max_attempts=SWEEP_ATTEMPTS, priority=FULL_PRIORITY)
    except (Conflict, DatabaseUnreachable) as error:  # another one asked at the same moment
        logger.warning("%s", error)


def ask_for_watch(node: Node) -> None:
    """One look per week at what the networks read, whoever asks first, and however late."""
    kind, subject, due = looking.due(datetime.now().astimezone())
    try:
        with node.database.write() as tx:
            jobs.enqueue(tx, kind, subject, due=due, max_attempts=SWEEP_ATTEMPTS, priority=SWEEP_PRIORITY)
    except DatabaseUnreachable as error:
        logger.warning("%s", error)
