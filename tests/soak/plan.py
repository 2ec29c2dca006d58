"""All faults, in the order of the plan."""

from __future__ import annotations

from . import slow_mix
from .tally import Fault

PLAN: tuple[Fault, ...] = (
    Fault(
        name="slow-mix",
        ids=("F7",),
        what="200 silent connections, 50 with one byte and 20 slow senders beside a good sender",
        run=slow_mix.run,
        long=6,
        short=1,
        tests=(
            "tests/test_bad_connections.py::test_two_hundred_who_say_nothing_keep_nobody_out",
            "tests/test_bad_connections.py::test_who_sends_a_byte_now_and_then_is_cut_off",
        ),
    ),
)
