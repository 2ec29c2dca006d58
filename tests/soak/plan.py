"""All faults, in the order of the plan."""

from __future__ import annotations

from . import commit_kills, cuts, order, racing, receiver_kills
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
)
