"""Two machines against one: studies per hour, where inference is the bottleneck and every worker has one core.

    python -P -m tests.bench.machines --studies 6 --rounds 3

Two test hosts (network namespaces, where the kernel lets us) share one PostgreSQL and one folder. Each runs one worker
with its model host, held to a core of its own (taskset, and one thread of torch). The studies are received and chosen
from while all workers are paused; then one host works them off alone, then both do, in turn, round after round. Prints
the rates and their ratio, and the share of a job's time that the network takes: what else there is, PostgreSQL's part
too, should be little, else it is that which is measured. It wants an idle machine with two cores: whatever else runs
takes from one of the two. Studies per run should be even.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from config.settings import load
from db import schema
from db.database import Database, open_database
from db.job_states import JobKind
from models.phantom import chest
from node.app import Node, open_node
from node.demo.study import ct_series
from tests.driving import take_in, work_off
from tests.machines import Machine, Network
from tests.postgres import Postgres
from tests.waiting import wait_until

NETWORK = "ct_lungs"
CONFIG = """
[database]
url = "{url}"
[receive]
reserve_gb = 0
quiet_seconds = 0
[work]
workers = 1
device = "cpu"
decode_processes = 1
[hosts]
at_start = true
[web]
enabled = false
[[route]]
name = "all"
networks = ["{network}"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=6, help="per run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--size", type=int, default=256, help="rows and columns")
    options = parser.parse_args()
    programs = Postgres.find()
    if programs is None:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two machines want two cores")
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="planimeter-bench-")))
        url = stack.enter_context(Postgres(programs)).new_database()
        config, home = folder / "planimeter.toml", folder / "home"
        config.write_text(CONFIG.format(url=url, network=NETWORK))
        schema.require(open_database(url))
        node = open_node(load(config, {"node": {"home": home}}))
        network = stack.enter_context(Network())
        hosts = [Machine(network, name, home, config, cores={core}) for name, core in zip("ab", cores, strict=False)]
        for host in hosts:
            stack.callback(host.stop)
            host.start("work")
            wait_until(f"{host.name} is warm", lambda: "is warm" in host.log, 300)  # noqa: B023
        rates: dict[int, list[float]] = {1: [], 2: []}
        serial = 0
        for number in range(options.rounds + 1):
            for count in (1, 2):
                serial = _arrive(node, options, serial)
                rate = _rate(node.database, hosts, count, options.studies)
                if number:  # the first round only warms up
                    rates[count].append(rate)
                    sys.stdout.write(f"{count} machine{'s' * (count > 1)}: {rate:.0f} studies per hour\n")
                    sys.stdout.flush()
        node.close()
        one, two = statistics.median(rates[1]), statistics.median(rates[2])
        sys.stdout.write(f"median {one:.0f} and {two:.0f} studies per hour: {two / one:.2f} times\n")
        sys.stdout.write(_where_time_goes(open_database(url), options.studies))


def _where_time_goes(database: Database, warming: int) -> str:
    """Of the jobs, but those that only warmed up: the stages of the median one, and the network's share."""
    with database.read() as tx:
        asked = sa.text(
            "SELECT attempt.seconds, attempt.ended - attempt.started AS took FROM attempt"
            " JOIN job ON job.id = attempt.job_id WHERE job.kind = 'segment' AND attempt.outcome = 'done'"
            " ORDER BY attempt.id"
        )
        rows = tx.execute(asked).all()[2 * warming :]
    database.dispose()
    stages = {name: statistics.median(row.seconds.get(name, 0.0) for row in rows) for name in rows[0].seconds}
    took = statistics.median(row.took for row in rows)
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
    return f"a job took {took:.1f} s: {told}; the network {stages.get('network', 0.0) / took:.0%}\n"


def _arrive(node: Node, options: argparse.Namespace, serial: int) -> int:
    """So many studies are received and chosen from, and wait; the number of all so far."""
    _pause(node.database, paused=True)
    spacing = (360 / options.size, 360 / options.size, 330 / options.slices)
    hu, _ = chest((options.size, options.size, options.slices), spacing, 1)
    for _ in range(options.studies):
        serial += 1
        hu[0, 0, 0] = -1000 + serial  # no two studies are the same
        take_in(node, ct_series(hu, spacing, patient_id=f"BENCH-{serial}"))
    work_off(node, JobKind.CHOOSE, most=10 * options.studies)
    return serial


def _pause(database: Database, *, paused: bool) -> None:
    with database.write() as tx:
        tx.execute(sa.text("DELETE FROM pause"))
        if paused:
            tx.execute(sa.text("INSERT INTO pause (activity, since, who) VALUES ('work', 0, 'bench')"))


def _rate(database: Database, hosts: list[Machine], count: int, studies: int) -> float:
    """Studies per hour of so many machines; the others are drained."""
    with database.write() as tx:
        for number, host in enumerate(hosts):
            drained = None if number < count else 1.0
            words = "UPDATE process SET drained = :drained WHERE machine = :machine"
            tx.execute(sa.text(words), {"drained": drained, "machine": host.name})
    begun = time.monotonic()
    _pause(database, paused=False)
    wait_until("all are segmented", lambda: not _waiting(database), 3600, every=0.1)
    return studies / (time.monotonic() - begun) * 3600


def _waiting(database: Database) -> int:
    with database.read() as tx:
        open_ones = sa.text("SELECT count(*) FROM job WHERE state IN ('waiting', 'running') AND kind = 'segment'")
        return int(tx.execute(open_ones).scalar_one())


if __name__ == "__main__":
    main()
