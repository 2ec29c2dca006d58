"""What the commands that decide about results do: settings, a node, one call."""

from __future__ import annotations

import argparse

from ..operations import verdicts
from .answers import node_of, say
from .options import who


def call(options: argparse.Namespace) -> int:
    """Run one of them."""
    return COMMANDS[options.command](options)


def release(options: argparse.Namespace) -> int:
    node = node_of(options)
    return say(verdicts.release(node.database, options.result, who(), node.send.attempts))


def discard(options: argparse.Namespace) -> int:
    node = node_of(options)
    tries = node.send.attempts, node.work.attempts
    return say(verdicts.discard(node.database, options.result, who(), options.reason, *tries))


def withdraw(options: argparse.Namespace) -> int:
    node = node_of(options)
    tries = node.send.attempts, node.work.attempts
    return say(verdicts.withdraw(node.database, options.result, who(), options.reason, *tries))


COMMANDS = {"release": release, "discard": discard, "withdraw": withdraw}
