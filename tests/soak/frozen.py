"""F8: a worker, the receiver, the database stand still for longer than a lease: no late result wins."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from itertools import cycle
from pathlib import Path
from threading import Event

from tests.postgres import Postgres
from tests.soak.house import House
from tests.soak.scanners import Scanners
from tests.soak.tally import Tally, Trials
from tests.waiting import wait_until

#: the lease is shorter than a site's, so that a trial takes seconds; a loaded machine loses it by itself now and then
SETTINGS = "[work]\nlease_seconds = 3\nheartbeat_seconds = 0.5\nattempts = 12\n"
RECEIVE = "reserve_gb = 0\nquiet_seconds = 2"
FROZEN_SECONDS = 8.0
#: what a worker says that comes too late
LATE = "the lease went to another worker"


def run(trials: Trials) -> Tally:
    """Worker, receiver, database, one after the other, on one node that is never started again."""
    programs = Postgres.find()
    assert programs is not None, "PostgreSQL is not here"
    tally = Tally()
    with (
        Postgres(programs) as server,
        House(trials.folder / "node", SETTINGS, url=server.new_database(), receive=RECEIVE) as house,
    ):
        house.start(workers=2)
        kinds: dict[str, Callable[[], float]] = {
            "worker": lambda: _worker(house),
            "receiver": lambda: _still(house, lambda: [house.processes["receive"].pid or 0]),
            "database": lambda: _still(house, lambda: _family(server.pid)),
        }
        times = dict.fromkeys(kinds, 0)
        with Scanners(house.port, house.receipts, count=2, rest=house.is_behind) as scanners:
            for _, kind in zip(range(trials.count), cycle(kinds), strict=False):
                before = len(scanners.studies)
                wait_until("studies come", lambda before=before: len(scanners.studies) > before, 300)
                tally.recoveries.append(kinds[kind]())
                tally.trials += 1
                times[kind] += 1
                trials.step()
                if trials.stopped.is_set():
                    break
        house.until_all_done(scanners.studies)
        house.require_done(tally)
        tally.figures |= {"frozen": times, "studies": len(scanners.studies), "attempts": house.outcomes()}
        tally.figures["late results discarded"] = house.log.read_text(errors="replace").count(LATE)
        house.stop()
        tally.add(house.oracle())
    return tally


def _worker(house: House) -> float:
    """Frozen while its network runs; the other one does the study, and then the first one gets its answer after all."""
    house.hosts.hang_next = True
    pid = wait_until("a worker waits for the network", house.hosts.hangs, 120)
    job_id, begun = house.segmented_by(pid), time.time()
    late = house.log.read_text(errors="replace").count(LATE)
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("the other one has done it", lambda: house.done_by_another(job_id, pid), 120, 0.1)
        claimed = (house.done_by_another(job_id, pid) or begun) - begun
    finally:
        house.hosts.hang_next = False
        os.kill(pid, signal.SIGCONT)
    wait_until("it noticed", lambda: house.log.read_text(errors="replace").count(LATE) > late, 120)
    return claimed


def _still(house: House, whom: Callable[[], Collection[int]]) -> float:
    """Seconds from its going on until images are acknowledged and jobs claimed."""
    pids = whom()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    Event().wait(FROZEN_SECONDS)
    count, thawed = house.receipts.count, time.time()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    wait_until("images are acknowledged again", lambda: house.receipts.count > count, 120)
    wait_until("jobs are claimed again", lambda: house.claimed_since(thawed), 120, 0.1)
    return time.time() - thawed


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]
