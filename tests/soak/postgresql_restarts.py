"""F5: PostgreSQL is restarted at once, or loses a backend, while studies arrive and jobs run."""

from __future__ import annotations

import os
import signal
import time

import psycopg

from tests.postgres import Postgres
from tests.soak.house import House
from tests.soak.scanners import Scanners
from tests.soak.tally import Tally, Trials
from tests.waiting import wait_until

#: of each trial
STUDIES = 12
RECEIVE = "reserve_gb = 0\nquiet_seconds = 2"


def run(trials: Trials) -> Tally:
    """Every second time all of it is stopped without a checkpoint; else one backend is killed, and the others end."""
    programs = Postgres.find()
    assert programs is not None, "PostgreSQL is not here"
    tally = Tally()
    with (
        Postgres(programs, durable=True) as server,
        House(trials.folder / "node", url=server.new_database(), receive=RECEIVE) as house,
    ):
        house.start(workers=2)
        with Scanners(house.port, house.receipts, rest=house.is_behind) as scanners:
            for number in range(trials.count):
                enough = len(scanners.studies) + STUDIES
                wait_until("more studies came", lambda enough=enough: len(scanners.studies) >= enough, 300)
                wait_until("jobs run", lambda: house.count("running") > 0, 60, 0.002)
                tally.recoveries.append(_fault(server, house, number))
                tally.trials += 1
                trials.step()
                if trials.stopped.is_set():
                    break
        house.until_all_done(scanners.studies)
        house.require_done(tally)
        tally.figures |= {"studies": len(scanners.studies), "attempts": house.outcomes()}
        house.stop()
        tally.add(house.oracle())
    return tally


def _fault(server: Postgres, house: House, number: int) -> float:
    """Seconds until an image is acknowledged and a job is claimed again."""
    if number % 2:
        with psycopg.connect(house.url.replace("+psycopg", "")) as asking:
            pids = asking.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        begun = time.time()
        os.kill(pids[number % len(pids)][0], signal.SIGKILL)
    else:
        begun = time.time()
        server.stop("immediate")
        server.start()
    count = house.receipts.count
    wait_until("images are acknowledged again", lambda: house.receipts.count > count, 60)
    wait_until("jobs are claimed again", lambda: house.claimed_since(begun), 60, 0.1)
    return time.time() - begun
