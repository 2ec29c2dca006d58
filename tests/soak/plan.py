"""All faults, in the order of the plan."""

from __future__ import annotations

from . import frozen, full_disks, pacs_faults, postgresql_restarts, upgrades, worker_kills
from .tally import Fault

PLAN: tuple[Fault, ...] = (
    Fault(
        name="worker-kills",
        ids=("F2",),
        what=(
            "SIGKILL of a worker at 12 places from the claim of a job to the commit after its results were sent, in "
            "the midst of a C-STORE and at any moment, and of its model host in the midst of a volume"
        ),
        run=worker_kills.run,
        long=15 * 50,
        short=15,
        tests=("tests/test_crashes.py", "tests/test_host_faults.py"),
    ),
    Fault(
        name="disk-full",
        ids=("F4",),
        what=(
            "no room on the disk of the home folder (spool, store, results, SQLite; with marks and without), on that "
            "of the rows alone, on PostgreSQL's, and no more files, while three scanners send; then room again"
        ),
        run=full_disks.run,
        long=30,
        short=6,
        tests=("tests/test_disk_full.py", "tests/test_soak_jobs.py"),
        needs=("mount",),
    ),
    Fault(
        name="postgresql-restarts",
        ids=("F5",),
        what=(
            "pg_ctl restart -m immediate, or SIGKILL of a backend, while three scanners send and two workers work; "
            "fsync is on"
        ),
        run=postgresql_restarts.run,
        long=20,
        short=2,
        tests=("tests/test_soak_jobs.py",),
    ),
    Fault(
        name="pacs-faults",
        ids=("F6",),
        what=(
            "the destination is stopped, refuses associations, aborts during and after a C-STORE, sleeps longer than "
            "it is waited for, answers 0xA700, takes no segmentations; then it is well again"
        ),
        run=pacs_faults.run,
        long=80,
        short=8,
        tests=("tests/test_delivery.py",),
        needs=("/usr/bin/storescp",),
    ),
    Fault(
        name="frozen",
        ids=("F8",),
        what=(
            "SIGSTOP of a worker whose network runs, of the receiver, of PostgreSQL, for longer than the lease, then "
            "SIGCONT, while two scanners send"
        ),
        run=frozen.run,
        long=21,
        short=3,
        tests=("tests/test_crashes.py::test_a_worker_that_was_frozen_cannot_spoil_what_another_did_meanwhile",),
    ),
    Fault(
        name="upgrade",
        ids=("F12",),
        what=(
            "a database with jobs in every state, carried over to each schema since 0004, is upgraded, on SQLite and "
            "on PostgreSQL, and the node goes on with each job"
        ),
        run=upgrades.run,
        long=len(upgrades.OLD),
        short=2,
        tests=("tests/test_upgrades.py",),
    ),
)
