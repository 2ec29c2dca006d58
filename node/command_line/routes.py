"""What `planimeter routes` does: settings, a node, one call."""

from __future__ import annotations

import argparse
import time as clock
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, time
from functools import partial
from pathlib import Path

from ..app import Node
from ..configured import routes_of, targets_of
from ..errors import Refused
from ..operations.routes import Route
from ..reloading import known_networks
from . import answers
from .options import dicom_keywords

DAY_SECONDS = 86_400.0


def try_routes(options: argparse.Namespace) -> int:
    from ..operations import route_trial, routes

    at = _time_of(options.at)
    with closing(answers.node_of(options)) as node:
        every = node.routes if options.file is None else _routes_of(node, options.file)
        also, aside = routes.keywords(every), list[str]()
        study = route_trial.of_study(node.database, node.archive, node.decoders, options.what, also)
        if study is not None:
            found = {options.what: study}
        else:
            found, aside = route_trial.of_path(Path(options.what), options.calling, also)
        tried = [route_trial.trial(every, node.networks, uid, one, at) for uid, one in found.items()]
    return answers.show(options, {"studies": tried}, partial(route_trial.print_trial, tried, aside))


def _time_of(said: str) -> time:
    if not said:
        return datetime.now().astimezone().time()
    try:
        return time.fromisoformat(said)
    except ValueError:
        raise Refused("no-such-time", f"{said!r} is no time of the day, such as 07:30") from None


def show_decisions(options: argparse.Namespace) -> int:
    from ..operations import route_record

    with closing(answers.node_of(options)) as node:
        said = route_record.of_study(node.database, options.what)
    return answers.show(options, {"decisions": said}, partial(route_record.print_decisions, said))


def replay_routes(options: argparse.Namespace) -> int:
    from ..operations import replay

    with closing(answers.node_of(options)) as node:
        after = _routes_of(node, options.file)
        since = clock.time() - options.days * DAY_SECONDS
        found = replay.replay(node.database, node.archive, node.routes, after, since)
    return answers.show(options, found, partial(replay.print_replay, found))


def _routes_of(node: Node, file: Path) -> tuple[Route, ...]:
    """Those of another configuration.

    Raises:
        SettingsError, Refused: they cannot be used.
    """
    from config.settings import load

    settings = load(file, None, dicom_keywords())
    every = routes_of(settings, node.networks, targets_of(settings))
    known_networks(node.networks, (name for route in every for name in route.networks))
    return every


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "test": try_routes,
    "show": show_decisions,
    "replay": replay_routes,
}


def call(options: argparse.Namespace) -> int:
    """Run `planimeter routes COMMAND`."""
    return COMMANDS[options.action](options)
