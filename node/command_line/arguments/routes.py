"""The commands of `planimeter routes` and `planimeter config`, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from ..subcommands import Commands, command, group


def add(commands: Commands, node: ArgumentParser) -> None:
    """Add them, and those of `planimeter config`.

    Args:
        commands: of the whole command line.
        node: the options that say which node is meant.
    """
    _routes(group(commands, "routes", "which series goes where, and what would change if"), node)
    _config(group(commands, "config", "the versions of the configuration: apply, look, roll back; no restart"), node)


def _config(config: Commands, node: ArgumentParser) -> None:
    applied = command(config, node, "apply", "take a file as far as that needs no restart, and say what does")
    applied.add_argument("file", type=Path, metavar="FILE", help="a configuration, or a part of it")
    applied.add_argument("--yes", action="store_true", help="do not ask")
    applied.add_argument("--days", type=float, default=7.0, metavar="N", help="show what changes of these; default: 7")
    back = command(config, node, "rollback", "make an earlier version live again")
    back.add_argument("number", type=int, metavar="VERSION")
    for each in (applied, back):
        each.add_argument("--reason", default="", metavar="TEXT", help="kept with the decision")
    listed = command(config, node, "list", "the versions: who made which, when and why; the newest is live")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    shown = command(config, node, "show", "the text of a version; default: of the live one")
    shown.add_argument("number", type=int, nargs="?", metavar="VERSION")
    differ = command(config, node, "diff", "what one version says other than another one, or than the live one")
    differ.add_argument("first", type=int, metavar="VERSION")
    differ.add_argument("second", type=int, nargs="?", metavar="VERSION")


def _routes(routes: Commands, node: ArgumentParser) -> None:
    tested = command(
        routes, node, "test", "what the routes say of images, and which networks would run; nothing is sent"
    )
    tested.add_argument("what", metavar="PATH|STUDY_UID", help="a file, a folder, or a study that is here")
    tested.add_argument("--calling", default="SUBMIT", metavar="AET", help="who would send the files of PATH")
    tested.add_argument(
        "--with", type=Path, metavar="FILE", dest="file", help="the routes of this file, not the live ones"
    )
    tested.add_argument("--at", default="", metavar="HH:MM", help="the time of the day; default: now")
    shown = command(routes, node, "show", "what the routes said of a study, each time it was chosen from")
    shown.add_argument("what", metavar="STUDY_UID")
    replayed = command(routes, node, "replay", "which studies of the last days would go another way")
    replayed.add_argument("file", type=Path, metavar="FILE", help="the configuration that is to be tried")
    replayed.add_argument("--days", type=float, default=7.0, metavar="N", help="default: 7")
    for each in (tested, shown, replayed):
        each.add_argument("--json", action="store_true", help="the same for programs, complete")
