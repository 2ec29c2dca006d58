"""The commands of `planimeter routes`, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from .subcommands import Commands, command


def add(routes: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        routes: the group.
        node: the options that say which node is meant.
    """
    tested = command(
        routes, node, "test", "what the routes say of images, and which networks would run; nothing is sent"
    )
    tested.add_argument("what", metavar="PATH|STUDY_UID", help="a file, a folder, or a study that is here")
    tested.add_argument("--calling", default="SUBMIT", metavar="AET", help="who would send the files of PATH")
    tested.add_argument("--at", default="", metavar="HH:MM", help="the time of the day; default: now")
    shown = command(routes, node, "show", "what the routes said of a study, each time it was chosen from")
    shown.add_argument("what", metavar="STUDY_UID")
    replayed = command(routes, node, "replay", "which studies of the last days would go another way")
    replayed.add_argument("file", type=Path, metavar="FILE", help="the configuration that is to be tried")
    replayed.add_argument("--days", type=float, default=7.0, metavar="N", help="default: 7")
    for each in (tested, shown, replayed):
        each.add_argument("--json", action="store_true", help="the same for programs, complete")
