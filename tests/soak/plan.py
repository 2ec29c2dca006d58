"""All faults, in the order of the plan."""

from __future__ import annotations

from .tally import Fault

PLAN: tuple[Fault, ...] = ()
