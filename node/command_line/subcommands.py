"""Commands within commands, as argparse has them: `planimeter GROUP COMMAND`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, TypeAlias

#: what ArgumentParser.add_subparsers gives, whose class has no public name
Commands: TypeAlias = Any


def group(commands: Commands, name: str, text: str) -> Commands:
    """A command that has commands."""
    made = commands.add_parser(name, help=text, description=text)
    made.set_defaults(command=name)
    return made.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)


def command(group: Commands, node: ArgumentParser, name: str, text: str) -> ArgumentParser:
    """One of them, with the options that say which node is meant."""
    made: ArgumentParser = group.add_parser(name, help=text, description=text, parents=[node])
    return made
