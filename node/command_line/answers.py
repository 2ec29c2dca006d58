"""What commands have in common: the node that is meant, and an answer for people or for programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ..app import Node, open_node
from ..operations.terminal import print_json
from .options import settings_of


def node_of(options: argparse.Namespace) -> Node:
    """The node that the options name."""
    return open_node(settings_of(options))


def say(sentence: str) -> int:
    """One sentence; the exit status."""
    sys.stdout.write(sentence + "\n")
    return 0


def show(options: argparse.Namespace, everything: object, for_people: Callable[[], None]) -> int:
    """The same for people, or complete for programs where `--json` asks for it; the exit status."""
    print_json(everything) if options.json else for_people()
    return 0
