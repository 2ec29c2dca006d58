"""The numbers for Prometheus, all of them from the database, so that processes and restarts agree.

Labels are names that the site gave (peers, networks, machines) and words of this program; never anything of a patient.
What counts up is in `db.tallies`, and never goes down.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from db import alarm_messages, audit_trail, gauges, incidents, processes, tallies
from db.audit_trail import Backlog
from db.database import Database, Row
from db.tallies import BUCKETS, INFINITE
from models.confine.process import Part
from models.confine.rights import Demand
from models.gpus import Gpu

from . import confinement

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: a process that was heard of within this is alive
ALIVE_SECONDS = 30.0
PREFIX = "planimeter"

#: name in `tally` -> (name for Prometheus, what it is, labels)
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "attempts": ("job_attempts", "Attempts at jobs that have ended.", ("kind", "outcome")),
    "refusals": ("job_refusals", "Jobs that were refused, by code.", ("kind", "code")),
    "deliveries": ("deliveries", "Attempts to send a study's results to a destination.", ("destination", "outcome")),
    "runs": ("runs", "Runs of networks.", ("network", "outcome")),
    "associations": ("associations", "Associations that were accepted, by calling AE title.", ("ae",)),
    "instances": ("instances", "Instances that were stored, by calling AE title.", ("ae",)),
    "bytes": ("received_bytes", "Bytes of these instances.", ("ae",)),
    "rejected": ("rejected", "Associations and instances that were rejected or put off.", ("ae", "code")),
}


@dataclass(frozen=True)
class Snapshot:
    """What was counted, at one moment.

    Attributes:
        warm: the networks that are loaded, as `warm.read` gives them.
        gpus: of this machine.
        lacking: of the parts of a confinement.
    """

    tallies: Mapping[tuple[str, ...], float]
    queue: Sequence[Row]
    running: Mapping[str, int]
    dead: Sequence[Row]
    deliveries: Mapping[tuple[str, str], int]
    processes: Sequence[Row]
    alarms: Mapping[tuple[str, bool], int]
    messages: Mapping[tuple[str, str], int]
    audit: Backlog | None
    studies_open: int
    disk_total: int
    disk_free: int
    warm: Sequence[Mapping[str, Any]]
    gpus: Sequence[Gpu]
    version: str
    product: str
    lacking: Collection[str]


def snapshot(
    database: Database,
    home: Path,
    version: str,
    warm: Sequence[Mapping[str, Any]],
    gpus: Sequence[Gpu] = (),
    confine: Demand = Demand.BEST,
) -> Snapshot:
    """Look once; milliseconds, however much was ever done.

    Raises:
        DatabaseUnreachable
    """
    disk = shutil.disk_usage(home)
    with database.read() as tx:
        return Snapshot(
            tallies=tallies.read(tx),
            queue=gauges.queue(tx),
            running=gauges.running(tx),
            dead=gauges.dead(tx),
            deliveries=gauges.unfinished_deliveries(tx),
            processes=processes.listing(tx),
            alarms=incidents.open_by_kind(tx),
            messages=alarm_messages.by_state(tx),
            audit=audit_trail.backlog(tx),
            studies_open=gauges.studies_open(tx),
            disk_total=disk.total,
            disk_free=disk.free,
            warm=warm,
            gpus=gpus,
            version=version,
            product=database.product,
            lacking=confinement.lacking(confine),
        )


def exposition(of: Snapshot) -> bytes:
    """As Prometheus reads it (text format 0.0.4)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(of))
    return generate_latest(registry)


class _Collector:
    def __init__(self, of: Snapshot) -> None:
        self._of = of

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        of = self._of
        yield InfoMetricFamily(PREFIX, "Which version this is.", {"version": of.version, "database": of.product})
        yield from _counters(of)
        yield _stages(of)
        yield from _queue(of)
        yield from _machine(of)
        yield from _people(of)
        yield from _audit(of.audit)


def _counters(of: Snapshot) -> Iterator[Metric]:
    for name, (title, said, labels) in COUNTERS.items():
        family = CounterMetricFamily(f"{PREFIX}_{title}", said, labels=labels)
        for key, value in sorted(of.tallies.items()):
            if key[0] == name and len(key) == len(labels) + 1:
                family.add_metric(list(key[1:]), value)
        yield family


def _stages(of: Snapshot) -> Metric:
    said = "Seconds of the stages of attempts at jobs; `whole` is all of an attempt."
    family = HistogramMetricFamily(f"{PREFIX}_stage_seconds", said, labels=("kind", "stage"))
    counted: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for key, value in of.tallies.items():
        if key[0] == "stage":
            counted[key[1], key[2]][key[3]] = value
    for (kind, stage), per_bucket in sorted(counted.items()):
        total, buckets = 0.0, []
        for end in [f"{end:g}" for end in BUCKETS] + [INFINITE]:
            total += per_bucket.get(end, 0.0)
            buckets.append((end if end == INFINITE else str(float(end)), total))
        family.add_metric([kind, stage], buckets, of.tallies.get(("stage_seconds", kind, stage), 0.0))
    return family


def _gauge(name: str, said: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", said, labels=labels)
    for key, value in values:
        family.add_metric(list(key), value)
    return family


def _queue(of: Snapshot) -> Iterator[Metric]:
    keys = ("kind", "priority")
    waiting = [((row["kind"], str(row["priority"])), row) for row in of.queue]
    yield _gauge("jobs_waiting", "Jobs that wait.", keys, [(key, row["count"]) for key, row in waiting])
    oldest = [(key, max(0.0, row["oldest_seconds"])) for key, row in waiting]
    yield _gauge("jobs_oldest_seconds", "How long the oldest of them has waited.", keys, oldest)
    running = [((kind,), count) for kind, count in sorted(of.running.items())]
    yield _gauge("jobs_running", "Jobs that a worker holds.", ("kind",), running)
    dead: defaultdict[str, int] = defaultdict(int)
    for row in of.dead:
        dead[row["kind"]] += 1
    yield _gauge("jobs_dead", "Dead letters.", ("kind",), [((kind,), count) for kind, count in sorted(dead.items())])
    yield _gauge("studies_arriving", "Studies whose images are arriving.", (), [((), of.studies_open)])
    unfinished = sorted(of.deliveries.items())
    said = "Objects that are not delivered: waiting, held for a person, or dead."
    yield _gauge("objects_undelivered", said, ("destination", "state"), unfinished)


def _machine(of: Snapshot) -> Iterator[Metric]:
    yield _gauge("disk_free_bytes", "Free on the disk of the home folder.", (), [((), of.disk_free)])
    yield _gauge("disk_total_bytes", "Size of the disk of the home folder.", (), [((), of.disk_total)])
    keys = ("gpu", "name")
    for title, said, values in (
        ("gpu_memory_total_bytes", "Memory of a GPU of this machine.", [one.total for one in of.gpus]),
        ("gpu_memory_free_bytes", "Of it free, whoever uses the rest.", [one.free for one in of.gpus]),
    ):
        names = [(str(one.index), one.name) for one in of.gpus]
        yield _gauge(title, said, keys, list(zip(names, values, strict=True)))
    roles: defaultdict[str, int] = defaultdict(int)
    for row in of.processes:
        roles[row["role"]] += row["silent_seconds"] < ALIVE_SECONDS
    yield _gauge(
        "processes_alive", "Processes heard of in the last 30 s.", ("role",), [((r,), n) for r, n in roles.items()]
    )
    said = "Whether networks and decoders are confined on this machine, by part: 1, or 0 where the kernel cannot."
    yield _gauge("confined", said, ("part",), [((part.replace(" ", "_"),), part not in of.lacking) for part in Part])
    of_host = ("machine", "network", "device")
    for name, said, key in (
        ("host_memory_bytes", "Memory that a model host holds on its device.", "memory_mb"),
        ("host_peak_bytes", "The most that it held in its last run.", "peak_mb"),
    ):
        held: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        for host in of.warm:
            where = str(host["machine"]), str(host["network"]), str(host["device"]).split(" ")[0]
            held[where] += float(host[key]) * 2**20
        yield _gauge(name, said, of_host, sorted(held.items()))


def _people(of: Snapshot) -> Iterator[Metric]:
    said = "Alarms that are not over, and whether somebody has acknowledged them."
    alarms = [((kind, "yes" if seen else "no"), n) for (kind, seen), n in sorted(of.alarms.items())]
    yield _gauge("alarms_open", said, ("kind", "acknowledged"), alarms)
    yield _gauge("alarm_messages", "Messages about alarms.", ("recipient", "state"), sorted(of.messages.items()))


def _audit(behind: Backlog | None) -> Iterator[Metric]:
    if behind is None:
        return
    waiting, oldest = [((), float(behind.waiting))], [((), behind.oldest_seconds)]
    yield _gauge("audit_waiting", "Audit messages that the collector has not taken yet.", (), waiting)
    yield _gauge("audit_oldest_seconds", "How long the oldest of them has waited.", (), oldest)
    for name, said, count in (
        ("audit_sent", "Audit messages that the collector took.", behind.sent),
        ("audit_lost", "Audit messages that could not be written down.", behind.lost),
    ):
        family = CounterMetricFamily(f"{PREFIX}_{name}", said)
        family.add_metric([], count)
        yield family
