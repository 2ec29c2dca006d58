"""The commands of what is kept, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

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
    made = _command(
        commands, node, "backup", "all rows, results, labels, networks and keys in one file, while the node runs"
    )
    made.add_argument("file", type=Path, metavar="FILE", help='a file that is not there; "-" is standard output')
    made.add_argument("--originals", action="store_true", help="also the images of studies that are done")
    restored = _command(commands, node, "restore", "a backup, into an empty home folder (--home) and an empty database")
    restored.add_argument("file", type=Path, metavar="FILE")
    restored.add_argument("--check", action="store_true", help="only verify the file, to the last byte")


def _command(commands: Commands, node: ArgumentParser, name: str, text: str) -> ArgumentParser:
    made = command(commands, node, name, text)
    made.set_defaults(command=name)
    return made
