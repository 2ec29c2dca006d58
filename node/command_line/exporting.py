"""What `planimeter export` does: settings, a node, one call."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import date, timedelta

from ..app import Node
from ..deidentify.keys import Keys
from ..deidentify.options import chosen
from ..errors import Refused
from .answers import node_of
from .options import who


def call(options: argparse.Namespace) -> int:
    """Export studies or a data set; the exit status: 1 where something had to stay."""
    keys = None if options.key_file is None else Keys.read(options.key_file)
    with closing(node_of(options)) as node:
        keys = keys or Keys.of_house(node.learning.key.secret)
        if options.data_set:
            return data_set(options, node, keys)
        return studies(options, node, keys)


def studies(options: argparse.Namespace, node: Node, keys: Keys) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from ..deidentify.instance import Profile
    from ..operations.exporting import choice
    from ..operations.exporting import studies as exporting
    from ..operations.resend import day

    options_of_profile = chosen(options.option, usual=not options.basic)
    named = list(options.studies)
    which = dict(
        since=day(options.since) if options.since else None,
        until=day((date.fromisoformat(options.until) + timedelta(1)).isoformat()) if options.until else None,
        modality=options.modality,
        network=options.read_by,
    )
    if options.query or any(value is not None for value in which.values()):
        named += choice.find(node.database, node.archive, options.query, **which)
    if not named:
        raise Refused("nothing-to-export", "no study: name them by UID, or by --query, --since, --until, --read-by")
    wish = exporting.Wish(
        study_uids=named,
        profile=Profile(options_of_profile, keys),
        networks=[name for name in (options.networks or "").split(",") if name],
        results=not options.no_results,
        with_burned_in=options.with_burned_in,
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=not console.is_terminal) as progress:
        made = exporting.export(node.database, node.archive.home, node.learning.key, wish, options.to, who(), progress)
    sys.stdout.write("\n".join(exporting.sentences(made)) + "\n")
    return 1 if made.kept else 0


def data_set(options: argparse.Namespace, node: Node, keys: Keys) -> int:
    from ..operations.exporting import data_set as exporting

    if options.studies:
        raise Refused("nothing-to-export", "either studies or --data-set")
    network, _, number = options.data_set.partition(":")
    _, bundle = node.networks.known(network)
    wish = exporting.Wish(network=network, card=bundle.card, keys=keys, number=number, with_test=options.with_test)
    made = exporting.export(node.database, node.archive.home, wish, options.to, who())
    sys.stdout.write("\n".join(exporting.sentences(made)) + "\n")
    return 1 if made.kept else 0
