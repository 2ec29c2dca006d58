"""The commands of what is kept, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser

from .subcommands import Commands, command


def add(commands: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        commands: of the whole command line.
        node: the options that say which node is meant.
    """
    purge = _command(commands, node, "purge", "remove what [retention] of the configuration lets go")
    purge.add_argument("--dry-run", action="store_true", help="only tell what would go and why, and what stays")
    purge.add_argument("--json", action="store_true", help="with --dry-run: the same for programs, complete")


def _command(commands: Commands, node: ArgumentParser, name: str, text: str) -> ArgumentParser:
    made = command(commands, node, name, text)
    made.set_defaults(command=name)
    return made
