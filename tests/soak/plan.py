"""All faults, in the order of the plan."""

from __future__ import annotations

from . import receiver_kills
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
)
