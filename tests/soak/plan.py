"""All faults, in the order of the plan."""

from __future__ import annotations

from . import clocks, growth, peak_hour, receiver_kills, slow_mix
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
    ),
    Fault(
        name="receiver-kills-postgresql",
        ids=("F1",),
        what="The same to `planimeter receive` on PostgreSQL",
        run=receiver_kills.on_postgresql,
        long=100,
        short=2,
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
)
