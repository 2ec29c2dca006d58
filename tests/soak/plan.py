"""All faults, in the order of the plan."""

from __future__ import annotations

from . import (
    clocks,
    commit_kills,
    cuts,
    frozen,
    full_disks,
    growth,
    order,
    pacs_faults,
    peak_hour,
    postgresql_restarts,
    racing,
    receiver_kills,
    slow_mix,
    upgrades,
    worker_kills,
)
from .tally import Fault

PLAN: tuple[Fault, ...] = (
    Fault(
        name="receiver-kills",
        ids=("F1",),
        what="SIGKILL to `planimeter receive` at any byte, while 4 senders push 100 instances each, and send again",
        run=receiver_kills.alone,
        long=200,
        short=3,
        tests=("test_kills_of_the_receiver_lose_nothing_that_was_acknowledged",),
    ),
    Fault(
        name="receiver-kills-supervised",
        ids=("F1",),
        what="The same to the receiver of `planimeter run`, which starts it again",
        run=receiver_kills.supervised,
        long=200,
        short=2,
        tests=("test_a_process_that_waits_to_be_started_again_keeps_nobody_waiting",),
    ),
    Fault(
        name="receiver-kills-postgresql",
        ids=("F1",),
        what="The same to `planimeter receive` on PostgreSQL",
        run=receiver_kills.on_postgresql,
        long=100,
        short=2,
        tests=(
            "test_many_senders_of_many_studies_at_once_lose_nothing",
            "test_kills_of_a_receiver_on_postgresql_lose_nothing",
        ),
    ),
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
        name="cuts",
        ids=("F3",),
        what="An association of 3 objects is cut at each byte of either way, by FIN and by RST, and sent again",
        run=cuts.every_byte,
        long=0,
        short=100,
        tests=(
            "test_a_sender_cut_off_at_any_byte_leaves_an_instance_or_nothing",
            "test_a_sender_that_goes_at_any_byte_of_the_answers_leaves_an_instance",
        ),
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
        name="commit-kills",
        ids=("F5",),
        what="SIGKILL in the midst of a commit, as the write-ahead log of SQLite is written",
        run=commit_kills.with_log,
        long=100,
        short=3,
        tests=("test_a_commit_that_is_killed_loses_nothing",),
    ),
    Fault(
        name="commit-kills-journal",
        ids=("F5",),
        what="The same, as its rollback journal is written",
        run=commit_kills.with_journal,
        long=100,
        short=3,
        tests=("test_a_commit_that_is_killed_loses_nothing",),
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
        name="slow-mix",
        ids=("F7",),
        what="200 silent connections, 50 with one byte and 20 slow senders beside a good sender",
        run=slow_mix.run,
        long=6,
        short=1,
        tests=(
            "test_two_hundred_who_say_nothing_keep_nobody_out",
            "test_who_sends_a_byte_now_and_then_is_cut_off",
        ),
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
        name="clock-steps",
        ids=("F9",),
        what="The machine's clock is set by an hour to and fro, or over the end of summer time, in transfers and jobs",
        run=clocks.run,
        long=12,
        short=3,
        needs=("cc",),
        tests=(
            "test_a_study_that_arrives_is_as_quiet_as_it_was",
            "test_what_waits_for_a_worker_waits_no_longer",
            "test_a_live_worker_keeps_its_job_and_a_dead_one_loses_it",
            "test_nobody_looks_at_the_time_of_the_day",
        ),
    ),
    Fault(
        name="racing-senders",
        ids=("F10",),
        what="One study from 4 senders over 10 associations each, shuffled, 5 % changed, and worked on meanwhile",
        run=racing.rounds,
        long=50,
        short=1,
        tests=("test_senders_that_race_with_one_another_make_one_job_of_each_input_set",),
    ),
    Fault(
        name="order",
        ids=("F11",),
        what="8 associations at once, traced: data, name, folder, row are synced before each Success",
        run=order.proof,
        long=50,
        short=1,
        needs=("strace",),
        tests=(
            "test_data_then_name_then_folder_then_row_and_only_then_success",
            "test_many_at_once_are_answered_only_when_each_is_safe",
        ),
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
    Fault(
        name="growth",
        ids=("F13",),
        what="Associations of eight kinds in turn: stored, echoed, rejected, aborted, broken off, over TLS, no request",
        run=growth.run,
        long=20_000,
        short=800,
        tests=("test_associations_of_every_kind_leave_nothing_behind",),
    ),
    Fault(
        name="peak-hour",
        ids=("F13",),
        what="A hospital's hour in six minutes: 120 radiographs, 50 ultrasound, 30 CT and 25 MR studies, sent to two",
        run=peak_hour.run,
        long=peak_hour.HOUR_SECONDS,
        short=peak_hour.HOUR_SECONDS // 6,
        tests=("test_a_moment_of_a_peak_hour_is_delivered",),
    ),
)
