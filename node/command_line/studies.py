"""What the commands about one study and about destinations do: one call each."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable

from ..app import Node
from ..errors import Refused
from ..operations.terminal import print_json
from .options import who


def call(options: argparse.Namespace, node: Node) -> int:
    """Run the command that was asked for."""
    action = getattr(options, "action", None)
    return COMMANDS[options.command if action is None else f"{options.command} {action}"](options, node)


def study(options: argparse.Namespace, node: Node) -> int:
    from ..operations.one_study import gather, show

    found = gather.study(node.database, node.networks, options.study_uid)
    print_json(show.as_json(found)) if options.json else show.print_study(found)
    return 0


def reprocess(options: argparse.Namespace, node: Node) -> int:
    from ..operations import by_hand, control

    attempts = node.work.attempts
    if options.network:
        return _say(
            by_hand.reprocess_with(
                node.database,
                node.networks,
                node.targets,
                options.study_uid,
                options.network,
                options.to,
                who(),
                attempts,
            )
        )
    if options.to:
        raise Refused("network-missing", "--to says where the results of --network NETWORK go")
    return _say(control.reprocess(node.database, options.study_uid, who(), attempts))


def deliver(options: argparse.Namespace, node: Node) -> int:
    from ..operations import by_hand

    to, attempts = options.destination, node.send.attempts
    return _say(by_hand.send_result(node.database, node.targets, options.result, to, who(), attempts))


def list_destinations(options: argparse.Namespace, node: Node) -> int:
    from ..operations import destinations

    listed = destinations.listing(node.database, node.targets)
    if options.json:
        print_json([dataclasses.asdict(one) for one in listed])
    else:
        destinations.print_destinations(listed, destinations.now(node.database))
    return 0


def echo(options: argparse.Namespace, node: Node) -> int:
    from ..operations import destinations

    return _say(destinations.echo(node.database, node.targets, options.destination, node.ae_title))


def pause(options: argparse.Namespace, node: Node) -> int:
    from ..operations import destinations

    paused = options.action == "pause"
    return _say(destinations.pause(node.database, node.targets, options.destination, paused=paused, who=who()))


def retry(options: argparse.Namespace, node: Node) -> int:
    from ..operations import destinations

    return _say(destinations.retry_dead(node.database, options.destination))


def _say(sentence: str) -> int:
    sys.stdout.write(sentence + "\n")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, Node], int]] = {
    "study": study,
    "reprocess": reprocess,
    "deliver": deliver,
    "destinations list": list_destinations,
    "destinations echo": echo,
    "destinations pause": pause,
    "destinations resume": pause,
    "destinations retry": retry,
}
