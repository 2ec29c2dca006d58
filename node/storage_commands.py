"""What the commands of what is kept do: settings, a node, one call."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from functools import partial

from .answers import node_of, say, show
from .options import who


def call(options: argparse.Namespace) -> int:
    """Run one of them."""
    return COMMANDS[options.command](options)


def purge(options: argparse.Namespace) -> int:
    from rich.console import Console

    from .operations import purge as removing
    from .operations import retention

    with closing(node_of(options)) as node:
        if options.dry_run:
            planned = retention.plan(node.database, node.retention)
            shown = partial(retention.print_plan, planned, node.retention)
            return show(options, retention.as_values(planned), shown)
        done = removing.purge(node.archive, node.database, node.retention, who(), console=Console(stderr=True))
    return say(str(done))


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "purge": purge,
}
