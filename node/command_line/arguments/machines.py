"""The commands about the machines of a node, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser

from ..subcommands import Commands, command


def add(machines: Commands, node: ArgumentParser) -> None:
    """`planimeter machines`.

    Args:
        machines: the group.
        node: the options that say which node is meant.
    """
    listed = command(machines, node, "list", "what runs on which machine, and which schedule process is on duty")
    listed.add_argument("--json", action="store_true", help="the same for programs")
    for name, text in (
        ("drain", "the workers of a machine finish what they have and begin nothing, until they are started again"),
        ("resume", "they take jobs again"),
    ):
        made = command(machines, node, name, text)
        made.add_argument("machine", nargs="?", metavar="MACHINE", help="default: this one")
        if name == "drain":
            said = "also wait, so many seconds at most, until they have no job; exit status 1 where they still do"
            made.add_argument("--wait", type=float, metavar="N", help=said)
    command(machines, node, "forget", "a machine that does not come back").add_argument("machine", metavar="MACHINE")
