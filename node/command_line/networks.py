"""What `planimeter models` does: settings, a node, one call."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from ..app import Node
from ..errors import Refused
from .answers import node_of, say, show
from .options import who


def list_models(options: argparse.Namespace) -> int:
    from ..operations import catalogue

    found = catalogue.listing(node_of(options).networks)
    return show(options, found, partial(catalogue.print_tables, found))


def add_model(options: argparse.Namespace) -> int:
    from models import golden

    from ..operations import installing, rehearse, show_network

    node = node_of(options)
    said = (options.card, options.name, options.orientation)
    brought = installing.add(node.networks, options.path, who(), *said, node.confine, node.alarms.reserve_bytes)
    show_network.print_brought(brought)
    if brought.questions:
        return 1
    bundle = node.networks.known(brought.name)[1]
    return rehearse.check(bundle, node.device, confine=node.confine) if golden.are_in(bundle) else 0


def show_model(options: argparse.Namespace) -> int:
    from ..operations import proofs, show_network

    node = node_of(options)
    _, bundle = node.networks.known(options.network)
    with node.database.read() as tx:
        proof = proofs.last(tx, bundle)
    return show(options, show_network.shown(bundle, proof), partial(show_network.print_network, bundle, proof))


def check_model(options: argparse.Namespace) -> int:
    from ..operations import rehearse

    node = node_of(options)
    bundle = node.networks.known(options.network)[1]
    node.networks.prove(bundle)
    return rehearse.check(bundle, node.device, confine=node.confine)


def accept_model(options: argparse.Namespace) -> int:
    from ..operations import acceptance

    node = node_of(options)
    bundle = node.networks.known(options.network)[1]
    return say(
        acceptance.accept(bundle, options.cases, options.out, node.device, node.database, who(), confine=node.confine)
    )


def switch_model(options: argparse.Namespace) -> int:
    from ..operations import installing

    return say(installing.switch(node_of(options).networks, options.network, who(), on=options.action == "enable"))


def remove_model(options: argparse.Namespace) -> int:
    from ..operations import installing

    return say(installing.remove(node_of(options).networks, options.network, who()))


def new_model(options: argparse.Namespace) -> int:
    from ..operations import new_network

    networks = node_of(options).networks
    segments, freeze_epochs = options.segments, max(options.freeze_epochs, 0)
    return say(new_network.make(networks, options.network, options.like, segments, freeze_epochs, who()))


def approve_model(options: argparse.Namespace) -> int:
    from ..operations import versions

    node = node_of(options)
    _one_by_one(node)
    studies = node.learning.shadow_studies
    return say(versions.approve(node.database, options.network, options.named, who(), options.reason, studies))


def promote_model(options: argparse.Namespace) -> int:
    from ..operations import versions

    node = node_of(options)
    _one_by_one(node)
    return say(versions.promote(node.networks, options.network, options.named, who(), options.reason))


def _one_by_one(node: Node) -> None:
    if node.learning.two_person:
        raise Refused(
            "two-persons",
            "`two_person` in [learning] is true: approve and promote on the pages, each by an account of its own",
        )


def roll_back_model(options: argparse.Namespace) -> int:
    from ..operations import versions

    return say(versions.rollback(node_of(options).networks, options.network, who(), options.reason, options.to))


COMMANDS: dict[tuple[str, str], Callable[[argparse.Namespace], int]] = {
    ("models", "list"): list_models,
    ("models", "add"): add_model,
    ("models", "show"): show_model,
    ("models", "check"): check_model,
    ("models", "accept"): accept_model,
    ("models", "enable"): switch_model,
    ("models", "disable"): switch_model,
    ("models", "remove"): remove_model,
    ("models", "new"): new_model,
    ("models", "approve"): approve_model,
    ("models", "promote"): promote_model,
    ("models", "rollback"): roll_back_model,
}
