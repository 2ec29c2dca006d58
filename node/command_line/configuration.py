"""What `planimeter config` does: settings, the versions that are kept, one call."""

from __future__ import annotations

import argparse
import sys
import time as clock
from collections.abc import Callable
from datetime import datetime
from difflib import unified_diff
from functools import partial
from typing import Any

from config.changes import changes
from config.settings import Settings, SettingsError, load
from db import config_versions

from .. import reloading
from ..app import open_configuration
from ..errors import Refused
from ..operations import replay
from ..operations.terminal import output, print_table
from ..reloading import Configuration, Live
from . import answers
from .options import dicom_keywords, settings_of, who

DAY_SECONDS = 86_400.0


def apply_file(options: argparse.Namespace) -> int:
    asked = load(options.file, None, dicom_keywords())  # all of the file has to be right, not only what is taken of it
    text, where = asked.said.text or "", str(options.file)
    archive, configuration = open_configuration(settings_of(options))
    after = configuration.newest()
    made, before = configuration.tried_with_networks(text, where), _usable(configuration)
    if before is not None:
        since = clock.time() - options.days * DAY_SECONDS
        replay.print_replay(replay.replay(configuration.database, archive, before.routes, made.routes, since))
    _say_what_else(before.settings if before is not None else configuration.settings, asked)
    if before is not None and made.settings.listen != before.settings.listen:
        sys.stdout.write(f"what runs goes on listening where it does; after a restart it is {made.settings.listen}\n")
    _must_agree(yes=options.yes)
    version = reloading.apply(configuration, text, where, who=who(), why=options.reason, after=after)
    return answers.say(f"version {version} is live; what runs takes it with its next job, within a second")


def _say_what_else(live: Settings, asked: Settings) -> None:
    """Each key beside the peers and routes that would be another one, and when it is taken."""
    for one in changes(live, asked):
        when = (
            f"is not taken over: that needs a restart of {one.needs} with this file"
            if one.needs
            else "is taken at once"
        )
        sys.stdout.write(f"{one.key} {when}\n")


def _usable(configuration: Configuration) -> Live | None:
    """What is live; None where this Planimeter cannot use it."""
    try:
        return configuration.live()
    except SettingsError as error:
        sys.stderr.write(f"planimeter: {error}\n")
        return None


def _must_agree(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("not-confirmed", "nothing is changed: there is nobody to ask; with --yes it is applied")
    sys.stdout.write("Apply it? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("not-confirmed", "nothing is changed")


def roll_back(options: argparse.Namespace) -> int:
    _, configuration = open_configuration(settings_of(options))
    version = reloading.roll_back(configuration, options.number, who=who(), why=options.reason)
    return answers.say(f"version {version} is live, with the text of version {options.number}")


def show(options: argparse.Namespace) -> int:
    sys.stdout.write(_text(options, options.number))
    return 0


def list_versions(options: argparse.Namespace) -> int:
    _, configuration = open_configuration(settings_of(options))
    with configuration.database.read() as tx:
        rows = config_versions.listing(tx)
    listed = [_said(dict(row), live=number == 0) for number, row in enumerate(rows)]
    keys = ("version", "live", "at", "who", "what", "why")
    return answers.show(
        options, {"versions": listed}, partial(print_table, output(), "versions of the configuration", keys, listed)
    )


def _said(row: dict[str, Any], *, live: bool) -> dict[str, Any]:
    what = f"rollback to {row['restores']}" if row["what"] == "rollback" else row["what"]
    at = datetime.fromtimestamp(row["at"]).astimezone().isoformat(timespec="seconds")
    said = {"version": row["id"], "live": "live" if live else "", "at": at, "who": row["who"], "what": what}
    return said | {"why": row["why"], "sha256": row["sha256"]}


def differ(options: argparse.Namespace) -> int:
    first, second = (_text(options, each).splitlines(keepends=True) for each in (options.first, options.second))
    other = f"version {options.second}" if options.second else "live"
    lines = unified_diff(first, second, f"version {options.first}", other)
    sys.stdout.writelines(lines)
    return 0


def _text(options: argparse.Namespace, version: int | None) -> str:
    """Of a version, else of the live one."""
    _, configuration = open_configuration(settings_of(options))
    with configuration.database.read() as tx:
        row = config_versions.find(tx, version) if version is not None else config_versions.live(tx)
    if row is None:
        said = "no version was kept yet" if version is None else f"there is no version {version}"
        raise Refused("no-such-version", f"{said}; `planimeter config list` lists them")
    return str(row["text"])


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "apply": apply_file,
    "rollback": roll_back,
    "show": show,
    "list": list_versions,
    "diff": differ,
}


def call(options: argparse.Namespace) -> int:
    """Run `planimeter config COMMAND`."""
    return COMMANDS[options.action](options)
