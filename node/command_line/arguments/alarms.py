"""The commands of whoever watches a node, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser

from ..subcommands import Commands, command, group


def add(commands: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        commands: of the whole command line.
        node: the options that say which node is meant.
    """
    alarms = group(commands, "alarms", "what is wrong, and who is told of it")
    listed = command(alarms, node, "list", "the alarms, newest first, and what to do about them")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    known = command(alarms, node, "acknowledge", "somebody knows of it: no more reminders")
    known.add_argument("id", type=int, metavar="ID")
    known.add_argument("--reason", default="", metavar="TEXT", help="kept with it in the record")
    command(alarms, node, "test", "send a test to every [[recipient]], and say who took it")
    for name, text in (
        ("metrics", "print the numbers for Prometheus, as the pages have them at /metrics"),
        ("health", "whether the node can do its work; exit status 0 or 1"),
    ):
        made = command(commands, node, name, text)
        made.set_defaults(command=name)
        if name == "health":
            roles = ("receive", "work", "schedule", "web")
            said = "whether this machine plays these roles, whatever others do"
            made.add_argument("--here", nargs="+", choices=roles, metavar="ROLE", help=said)
