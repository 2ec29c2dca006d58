"""What is wrong now. A finding names destinations, networks, AE titles and numbers: nothing that names a patient."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from db import alarm_messages, audit_trail, away, deadlines, gauges, pauses, processes, refusals
from db.database import Row, clock
from db.job_states import JobKind, JobState, Outcome

from .. import promises
from ..routes import PRIORITIES
from . import certificates, rates
from .kinds import Kind
from .rules import DAY_SECONDS, AlarmPolicy

Key = tuple[str, str]

#: codes of an attempt that are about the network or its host, and not about the images
OF_THE_HOST = frozenset(
    {
        *("host-died", "host-not-started", "host-busy", "network-unusable", "network-failed", "out-of-memory"),
        *("golden-lost", "too-much-written"),
    }
)
OF_A_QUOTA = frozenset({"quota-associations", "quota-hour"})
IN_A_ROW = 3
#: a network that nobody has asked since then is not said to fail
FORGOTTEN_SECONDS = 6 * 3600.0
CRASHES = 3
#: once low, the disk has to have so much more free until it is not
ENOUGH_TIMES = 1.1
#: in the record, of `planimeter backup`
BACKUP_EVENT = "backup"
#: audit messages that were lost are told of for so long
LOST_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        subject: which of its kind; empty where there is one.
        sentence: without a number that grows while nothing happens.
        count: of what it is about.
        for_seconds: how long it is known to have been so.
        hold_seconds: how long it has to be so until people are told.
    """

    kind: Kind
    subject: str
    sentence: str
    count: int = 1
    for_seconds: float = 0.0
    hold_seconds: float = 0.0


@dataclass(frozen=True)
class World:
    """What the database does not know.

    Attributes:
        free_bytes: on the disk of the home folder.
        at: seconds since 1970 by the machine's clock, for what others wrote with theirs.
        standing: kind and subject of what is open already: it stays for longer than it takes to open it.
    """

    free_bytes: int
    at: float
    standing: Collection[Key] = ()


def look(tx: Any, policy: AlarmPolicy, world: World) -> list[Finding]:
    """Everything that is wrong, in a transaction that only reads."""
    return [
        *_disk(policy, world),
        *_destinations(tx, policy),
        *_dead_letters(tx),
        *_queue(tx, policy),
        *_processes(tx, policy),
        *_networks(tx),
        *_refusals(tx, policy, world),
        *_reviews(tx, policy),
        *_certificates(policy, world),
        *_quotas(tx, policy),
        *_backup(tx, policy),
        *_messages(tx, policy),
        *_audit(tx, policy),
    ]


def _disk(policy: AlarmPolicy, world: World) -> Iterator[Finding]:
    for kind, limit, said in (
        (Kind.DISK_RESERVE, policy.reserve_bytes, "less than the reserve of"),
        (Kind.DISK_LOW, policy.disk_bytes, "less than"),
    ):
        times = ENOUGH_TIMES if (kind, "") in world.standing else 1.0
        if world.free_bytes < limit * times:
            yield Finding(kind, "", f"the disk of the home folder has {said} {limit / 1e9:g} GB free")


def _destinations(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    if not policy.destination_seconds:
        return
    now, waiting = clock(tx), gauges.unfinished_deliveries(tx)
    for outage in away.listing(tx):
        name = outage["destination"]
        count = waiting.get((name, "waiting"), 0)
        since = max(0.0, now - outage["since"])
        said = f"{name} does not answer; what is for it waits"
        yield Finding(Kind.DESTINATION_DOWN, name, said, count, since, policy.destination_seconds)


def _dead_letters(tx: Any) -> Iterator[Finding]:
    of: Counter[tuple[str, str]] = Counter()
    for job in gauges.dead(tx):
        where = job["subject"].rsplit("/", 1)[0] if job["kind"] == JobKind.DELIVER else job["network"] or ""
        of[job["kind"], where] += 1
    for (kind, where), count in sorted(of.items()):
        about = f"to {where}" if kind == JobKind.DELIVER else f"of {where}" if where else ""
        said = " ".join(filter(None, (f"{kind} jobs", about, "have used up their attempts")))
        yield Finding(Kind.DEAD_LETTER, f"{kind} {where}".strip(), said, count)


def _queue(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    paused = pauses.paused(tx)
    computing = (JobKind.CHOOSE, JobKind.SEGMENT)
    below = -1
    for name, number in sorted(PRIORITIES.items(), key=lambda one: one[1]):
        seconds = policy.deadlines.get(name, 0.0)
        found = gauges.late(tx, computing, below, number, seconds)
        below = number
        if seconds and found["count"]:
            why = "; work is paused" if "work" in paused else ""
            said = f"{name} jobs have waited for more than {_minutes(seconds)}{why}"
            yield Finding(Kind.QUEUE_LATE, name, said, found["count"])
    seconds = policy.deadlines.get("routine", 0.0)
    gone = [outage["destination"] for outage in away.listing(tx)]
    found = gauges.late(tx, (JobKind.DELIVER,), -1000, 1000, seconds, gone)
    if seconds and found["count"]:
        why = "; sending is paused" if "send" in paused else ""
        said = f"results have waited to be sent for more than {_minutes(seconds)}{why}"
        yield Finding(Kind.QUEUE_LATE, "sending", said, found["count"])
    if overdue := deadlines.overdue(tx):
        said = "results are not delivered by the deadline of their route (`planimeter status` lists them)"
        yield Finding(Kind.QUEUE_LATE, "deadlines", said, len(overdue))
    late = Counter(one.waits_for for one in promises.unchosen(tx, policy.promise, 0.0))
    if count := late["images"]:
        said = "studies have not settled by the deadline of a route that may take them"
        yield Finding(Kind.QUEUE_LATE, "not settled", said, count)
    if count := late["choose"]:
        said = "studies were not chosen from by the deadline of a route that may take them"
        yield Finding(Kind.QUEUE_LATE, "not chosen", said, count)


def _processes(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    if not policy.process_seconds:
        return
    for one in processes.listing(tx):
        if one["silent_seconds"] > policy.process_seconds:
            said = f"{one['name']} has not been heard of for more than {policy.process_seconds:.0f} s"
            yield Finding(Kind.PROCESS_LOST, one["name"], said)
        elif one["crashes"] >= CRASHES:
            yield Finding(Kind.PROCESS_LOST, one["name"], f"{one['name']} ends again and again, soon after its start")


def _networks(tx: Any) -> Iterator[Finding]:
    runs: defaultdict[str, list[Row]] = defaultdict(list)
    for run in gauges.last_runs(tx):
        runs[run["network"]].append(run)
    for network, last in sorted(runs.items()):
        bad = [run for run in last[:IN_A_ROW] if run["outcome"] != Outcome.DONE and run["code"] in OF_THE_HOST]
        if len(bad) == IN_A_ROW and last[0]["age_seconds"] < FORGOTTEN_SECONDS:
            codes = ", ".join(sorted({run["code"] for run in bad}))
            yield Finding(Kind.NETWORK_FAILING, network, f"{network} failed {IN_A_ROW} times in a row: {codes}")


def _refusals(tx: Any, policy: AlarmPolicy, world: World) -> Iterator[Finding]:
    if not policy.refusal_studies:
        return
    for kind, column, title in ((JobKind.CHOOSE, "source", "studies of"), (JobKind.SEGMENT, "network", "runs of")):
        of: defaultdict[str, list[bool]] = defaultdict(list)
        for job in gauges.ended_jobs(tx, kind):
            of[job[column] or ""].append(job["state"] == JobState.REFUSED)
        for name, refused in sorted(of.items()):
            found = rates.rate(refused, policy.refusal_studies)
            subject = f"{title} {name}"
            if not name or found is None:
                continue
            if found.is_alarming(already=(Kind.REFUSALS, subject) in world.standing):
                before = f"; before that {found.before_refused} of {found.before_of}" if found.before_of else ""
                said = f"{found.refused} of the last {found.of} {subject} were refused{before}"
                yield Finding(Kind.REFUSALS, subject, said, found.refused)


def _reviews(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    networks = {str(review["network"]) for review in policy.reviews(tx)}
    for network in sorted(networks):
        yield Finding(Kind.DRIFT, network, f"what {network} reads or finds has changed; a review is open")


def _certificates(policy: AlarmPolicy, world: World) -> Iterator[Finding]:
    if not policy.certificate_seconds:
        return
    if said := policy.unusable():
        yield Finding(Kind.CERTIFICATE, "[tls]", f"the files of [tls] cannot be used: {said}")
    ours = [(file, "certificate", certificates.ends, policy.certificate_seconds) for file in policy.certificates]
    # a list of revoked certificates is made anew every few days
    lists = [(file, "list of revoked certificates", certificates.list_ends, 0.0) for file in policy.revoked]
    for file, what, end, before in (*ours, *lists):
        try:
            left = end(file) - world.at
        except (OSError, ValueError):
            yield Finding(Kind.CERTIFICATE, file.name, f"the {what} {file.name} cannot be read")
            continue
        if left < before:
            on = time.strftime("%Y-%m-%d", time.gmtime(world.at + left))
            said = f"the {what} {file.name} {'ends' if left > 0 else 'has ended'} on {on}"
            yield Finding(Kind.CERTIFICATE, file.name, said)


def _quotas(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    """Who was turned away for a quota since incidents are forgotten: one while it goes on."""
    now = clock(tx)
    of: dict[str, int] = {}
    for row in refusals.callers(tx, codes=OF_A_QUOTA):
        if now - row["last"] <= policy.clear_seconds:
            of[row["ae_title"]] = of.get(row["ae_title"], 0) + row["count"]
    for ae_title, count in sorted(of.items()):
        asks = (
            "callers, and others, ask for more than their" if ae_title == "*" else f"{ae_title} asks for more than its"
        )
        yield Finding(Kind.QUOTA, ae_title, f"{asks} quota, and {'are' if ae_title == '*' else 'is'} put off", count)


def _backup(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    if not policy.backup_seconds:
        return
    ago = gauges.last_event_seconds(tx, BACKUP_EVENT)
    days = f"{policy.backup_seconds / DAY_SECONDS:g} days"
    if ago is None:
        yield Finding(Kind.BACKUP_LATE, "", "no backup was ever made")
    elif ago > policy.backup_seconds:
        yield Finding(Kind.BACKUP_LATE, "", f"no backup was made for more than {days}")


def _messages(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    now = clock(tx)
    for one in alarm_messages.stuck(tx):
        said = f"messages to {one['recipient']} are not taken"
        waited = now - one["since"]
        yield Finding(
            Kind.MESSAGES_STUCK, one["recipient"], said, one["count"], max(0.0, waited), policy.messages_seconds
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds < 2 * 3600 else f"{seconds / 3600:g} h"


def _audit(tx: Any, policy: AlarmPolicy) -> Iterator[Finding]:
    behind = audit_trail.backlog(tx)
    if behind is None or not policy.audit_seconds:
        return
    if behind.waiting and behind.oldest_seconds > policy.audit_seconds:
        why = f": {behind.reason}" if behind.reason else "; no schedule process sends them"
        said = f"audit messages have waited for more than {_minutes(policy.audit_seconds)}{why}"
        yield Finding(Kind.AUDIT_STUCK, "", said, behind.waiting)
    elif behind.unsendable:
        said = "audit messages cannot be written, and were set aside; the log says which"
        yield Finding(Kind.AUDIT_STUCK, "", said, behind.unsendable)
    if behind.lost_seconds is not None and behind.lost_seconds < LOST_SECONDS:
        yield Finding(Kind.AUDIT_LOST, "", "audit messages could not be written down", behind.lost)
