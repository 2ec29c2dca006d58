"""What the commands of what is kept do: settings, a node, one call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial

from db import resending

from ..app import database_url
from ..errors import Refused
from ..remembered import remember
from .answers import node_of, say, show
from .options import settings_of, who


def call(options: argparse.Namespace) -> int:
    """Run one of them."""
    return COMMANDS[options.command](options)


def purge(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ..operations import purge as removing
    from ..operations import retention

    with closing(node_of(options)) as node:
        if options.dry_run:
            planned = retention.plan(node.database, node.retention)
            shown = partial(retention.print_plan, planned, node.retention)
            return show(options, retention.as_values(planned), shown)
        done = removing.purge(node.archive, node.database, node.retention, who(), console=Console(stderr=True))
    return say(str(done))


def backup(options: argparse.Namespace) -> int:
    from ..operations import backup as writing

    with closing(node_of(options)) as node:
        made = writing.backup(
            node.database,
            node.archive.home,
            options.file,
            originals=options.originals,
            config=options.config,
            committing=node.retention.committing,
            node_version=node.version,
            who=who(),
        )
    if str(options.file) == "-":
        sys.stderr.write(f"{made}\n")
        return 0
    return say(str(made))


def restore(options: argparse.Namespace) -> int:
    from ..operations import restore as reading

    if not options.file.is_file():
        raise Refused("no-such-file", f"{options.file}: there is no such file")
    if options.check:
        about, _ = reading.verify(options.file)
        return say(f"whole: made {about.created} by Planimeter {about.node_version}, {about.files} files")
    settings = settings_of(options)
    url = database_url(settings) if settings.database.url else ""
    done = reading.restore(options.file, settings.home, url)
    if settings.database.url:
        remember(settings.home, options.config, settings.database.url)
    said = f"{settings.home} is as it was on {done.about.created}"
    if done.has_config:
        said += f"; its configuration lies there as {reading.RESTORED_CONFIG}"
    if done.older:
        said += "; it was made by an older Planimeter: run `planimeter upgrade`"
    return say(said)


def erase(options: argparse.Namespace) -> int:
    from rich.console import Console

    from ..operations import erase as erasing

    with closing(node_of(options)) as node:
        named, key, console = (options.patient_id, options.issuer), node.learning.key, Console(stderr=True)
        if options.dry_run:
            found = erasing.look(node.archive, node.database, *named, key, console)
            erasing.print_found(found, erased=False)
            return 0
        if options.notes:
            return say(erasing.withdraw_first(node.database, *named, who(), node.send.attempts))
        found = erasing.erase(node.archive, node.database, *named, options.reason, who(), key, console=console)
    erasing.print_found(found, erased=True)
    return 0


def resend(options: argparse.Namespace) -> int:
    from ..operations import resend as sending

    with closing(node_of(options)) as node:
        target = node.targets.get(options.to)
        if target is None:
            known = ", ".join(sorted(node.targets)) or "none"
            raise Refused("unknown-destination", f"{options.to} is no [[peer]] with a `destination`; there is {known}")
        since = sending.day(options.since) if options.since else None
        which = dict(since=since, study_uid=options.study, network=options.network)
        runs = sending.plan(node.database, target, **which)
        if options.dry_run:
            return say(f"{sending.said(runs)} would go to {target.name}")
        status = say(sending.resend(node.database, target, runs, node.send.attempts))
        if options.originals:
            with node.database.read() as tx:
                studies = {row["study_id"] for row in resending.standing(tx, **which)}
            to = (target, sorted(studies), node.ae_title, node.send.timeout_seconds)
            status = sending.send_originals(node.database, node.archive, node.trail, *to)
    return status


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "backup": backup,
    "erase": erase,
    "purge": purge,
    "resend": resend,
    "restore": restore,
}
