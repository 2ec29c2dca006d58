"""The commands about the machines of a node."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from .. import machine
from .answers import node_of, say, show
from .options import who


def call(options: argparse.Namespace) -> int:
    """Run the command that was asked for; its exit status."""
    return COMMANDS[options.action](options)


def list_machines(options: argparse.Namespace) -> int:
    from ..operations import machines, status

    found = [asdict(one) for one in machines.listing(node_of(options).database)]
    return show(options, {"machines": found}, partial(status.print_machines, found))


def drain(options: argparse.Namespace) -> int:
    from ..operations import machines

    database, name = node_of(options).database, options.machine or machine.name()
    said = machines.drain(database, name, who(), drained=True)
    return say(said if options.wait is None else machines.wait_until_drained(database, name, options.wait))


def resume(options: argparse.Namespace) -> int:
    from ..operations import machines

    return say(machines.drain(node_of(options).database, options.machine or machine.name(), who(), drained=False))


def forget(options: argparse.Namespace) -> int:
    from ..operations import machines

    return say(machines.forget(node_of(options).database, options.machine, who()))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": list_machines,
    "drain": drain,
    "resume": resume,
    "forget": forget,
}
