"""What a node asks its database all the time, or whenever somebody looks: each of it as a function of a transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from db import (
    alarm_messages,
    arrivals,
    completeness,
    deadlines,
    deliveries,
    destinations,
    firing,
    gauges,
    job_orders,
    jobs,
    lost_jobs,
    overview,
    pauses,
    processes,
    queue,
    recording,
    results,
    studies,
    tallies,
)
from db.arrivals import Arrival, Kind
from db.job_states import JobKind, JobState, Report
from node.operations.alarms.findings import World, look
from node.operations.alarms.rules import AlarmPolicy
from node.worker import LOOPS

Question = Callable[[Any], object]


def _claimed(tx: Any) -> object:
    claim = jobs.claim(tx, LOOPS["work"], "gpu:1:a", 60)
    assert claim is not None
    jobs.beat(tx, claim, 60)
    jobs.finish(tx, claim, JobState.DONE, Report())
    return claim


def _arrival(number: int) -> Arrival:
    return Arrival(
        sop_uid=f"1.2.3.{number}",
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        study_uid="1.2.3",
        series_uid="1.2.3.1",
        modality="CT",
        kind=Kind.IMAGE,
        transfer_syntax="1.2.840.10008.1.2.1",
        patient_id="NEW",
        issuer="",
        birth_date="",
        accession="ACC",
        digest=f"d{number}",
        path=f"store/new/{number}",
        size=1,
        calling_ae="CT_1",
        address="10.0.0.1",
        announced=None,
    )


def _received(tx: Any) -> None:
    assert [arrivals.stored(tx, f"1.2.3.{number}", f"d{number}") for number in range(2)] == [None, None]
    recording.record(tx, [_arrival(number) for number in range(2)])


#: of workers, senders, the receiver and the schedule process, several times a second
EVERY_SECOND: dict[str, Question] = {
    "is there work": lambda tx: [jobs.any_ready(tx, kinds) for kinds in LOOPS.values()],
    "claim, beat, finish": _claimed,
    "claim what is to be sent": lambda tx: jobs.claim(tx, LOOPS["send"], "gpu:1:a", 60),
    "rescue": lambda tx: (lost_jobs.rescue(tx), lost_jobs.any_there(tx), lost_jobs.take(tx)),
    "what is paused": pauses.paused,
    "take in two images": _received,
    "is it ours": lambda tx: results.is_ours(tx, "2.25.11", []),
    "settle": lambda tx: (studies.any_due(tx, 60), studies.due_in(tx, 60), studies.settle(tx, 60, 3)),
    "fire series": lambda tx: (firing.any_due(tx, [20.0]), firing.due_in(tx, [20.0]), firing.fire(tx, [20.0], 3)),
    "whom to ask for counts": completeness.to_ask,
    "what is to be sent of one": lambda tx: deliveries.waiting(tx, 7, "pacs"),
    "a destination is back": lambda tx: job_orders.due_in(tx, JobKind.DELIVER, "pacs/", 0),
    "does a study need the device": lambda tx: (job_orders.network_wanted(tx, "gpu"), job_orders.trains(tx, "gpu")),
    "count attempts": lambda tx: (tallies.any_uncounted(tx), tallies.count_attempts(tx)),
    "messages that are due": lambda tx: (alarm_messages.any_due(tx), alarm_messages.take(tx)),
    "ask for a job": lambda tx: jobs.enqueue(tx, JobKind.DELIVER, "pacs/7", max_attempts=3, study_id=7),
}
#: of pages, `status`, the alarms and Prometheus
WHEN_LOOKED_AT: dict[str, Question] = {
    "gauges of the queue": lambda tx: (gauges.queue(tx), gauges.running(tx), gauges.dead(tx)),
    "gauges of studies and deliveries": lambda tx: (gauges.studies_open(tx), gauges.unfinished_deliveries(tx)),
    "deadlines": lambda tx: deadlines.due(tx, 600),
    "the latest studies": lambda tx: overview.studies(tx, ids=overview.latest(tx, 50)),
    "the latest jobs": lambda tx: overview.jobs(tx, latest=50),
    "the latest deliveries": lambda tx: deliveries.listing(tx, latest=50),
    "what the self-check holds": results.held,
    "machines": processes.listing,
    "destinations that are paused": destinations.paused,
    "a page of the queue": lambda tx: (
        queue.counts(tx, queue.Wanted(), 100),
        queue.page(tx, queue.Wanted(), "", 51),
        queue.page(tx, queue.Wanted(), "done", 51),
        queue.page(tx, queue.Wanted(), "waiting", 51),
        queue.urgent(tx, queue.Wanted(), 50),
        deadlines.soonest(tx, range(1, 51)),
    ),
    "the page of destinations": lambda tx: (
        destinations.queues(tx),
        destinations.taken(tx, "pacs", 3600),
        destinations.dead_reasons(tx, "pacs", 3),
    ),
}
#: these go through the latest of what was done, as many as a constant says
BOUNDED: dict[str, Question] = {
    "a look of the alarms": lambda tx: look(tx, AlarmPolicy(), World(10**12, time.time())),
}
