"""What `planimeter routes` does: settings, a node, one call."""

from __future__ import annotations

import argparse
import time as clock
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, time
from functools import partial
from pathlib import Path

from . import answers
from .app import Node
from .configured import routes_of, targets_of
from .errors import Refused
from .options import dicom_keywords

DAY_SECONDS = 86_400.0


def try_routes(options: argparse.Namespace) -> int:
    from .operations import route_trial, routes

    at = _time_of(options.at)
    with closing(answers.node_of(options)) as node:
        also, aside = routes.keywords(node.routes), list[str]()
        study = route_trial.of_study(node.database, node.archive, node.decoders, options.what, also)
        if study is not None:
            found = {options.what: study}
        else:
            found, aside = route_trial.of_path(Path(options.what), options.calling, also)
        tried = [route_trial.trial(node.routes, node.networks, uid, one, at) for uid, one in found.items()]
    return answers.show(options, {"studies": tried}, partial(route_trial.print_trial, tried, aside))


def _time_of(said: str) -> time:
    if not said:
        return datetime.now().astimezone().time()
    try:
        return time.fromisoformat(said)
    except ValueError:
        raise Refused("no-such-time", f"{said!r} is no time of the day, such as 07:30") from None


def show_decisions(options: argparse.Namespace) -> int:
    from .operations import route_record

    with closing(answers.node_of(options)) as node:
        said = route_record.of_study(node.database, options.what)
    return answers.show(options, {"decisions": said}, partial(route_record.print_decisions, said))


def replay_routes(options: argparse.Namespace) -> int:
    from config.settings import load

    from .operations import replay

    with closing(answers.node_of(options)) as node:
        settings = load(options.file, None, dicom_keywords())
        after = routes_of(settings, node.networks, targets_of(settings))
        _known_networks(node, {name for route in after for name in route.networks})
        since = clock.time() - options.days * DAY_SECONDS
        found = replay.replay(node.database, node.archive, node.routes, after, since)
    return answers.show(options, found, partial(replay.print_replay, found))


def _known_networks(node: Node, wanted: set[str]) -> None:
    if unknown := sorted(wanted - set(node.networks.names())):
        raise Refused(
            "no-such-network", f"there is no network {', '.join(unknown)}; `planimeter models list` lists them"
        )


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "test": try_routes,
    "show": show_decisions,
    "replay": replay_routes,
}


def call(options: argparse.Namespace) -> int:
    """Run `planimeter routes COMMAND`."""
    return COMMANDS[options.action](options)
