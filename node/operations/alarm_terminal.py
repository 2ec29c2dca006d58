"""Alarms, metrics and health in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from .alarms.incidents import Incident
from .terminal import output, plain, print_table

STYLES = {"open": "bold red", "acknowledged": "yellow", "closed": "dim"}
KEYS = ("id", "state", "kind", "sentence", "count", "since", "over", "acknowledged_by")


def print_incidents(found: Sequence[Incident]) -> None:
    """The alarms, newest first, and what to do about those that are open."""
    console = output()
    rows = [asdict(one) | {"since": _when(one.since), "over": _when(one.closed)} for one in found]
    print_table(console, "alarms", KEYS, rows, STYLES)
    for one in found:
        if one.state == "open":
            console.print(f"[bold]{one.id}[/] {plain(one.to_do)}")


def print_answers(answers: Mapping[str, str]) -> int:
    """Who took the test; the exit status: 0 where everybody did."""
    console = output()
    if not answers:
        console.print("nobody is told of alarms: there is no [[recipient]] in the configuration", markup=False)
        return 1
    for name, fault in answers.items():
        console.print(f"[bold red]{plain(name)}: {plain(fault)}[/]" if fault else f"[green]{plain(name)}: taken[/]")
    return 1 if any(answers.values()) else 0


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
