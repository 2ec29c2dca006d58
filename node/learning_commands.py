"""What the commands of the learning loop do: settings, a node, one call."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial

from .app import Node, open_node
from .operations.terminal import print_json
from .options import settings_of, who
from .prediction import read


def call(options: argparse.Namespace) -> int:
    """Run `planimeter GROUP COMMAND`."""
    return COMMANDS[options.command, getattr(options, "action", "")](options)


def _node(options: argparse.Namespace) -> Node:
    return open_node(settings_of(options))


def _say(sentence: str) -> int:
    sys.stdout.write(sentence + "\n")
    return 0


def _show(options: argparse.Namespace, everything: object, for_people: Callable[[], None]) -> int:
    print_json(everything) if options.json else for_people()
    return 0


# ------------------------------------------------------------------- labels


def list_labels(options: argparse.Namespace) -> int:
    from .operations import labels

    found = labels.listing(_node(options).database, options.state)
    return _show(options, {"labels": found}, partial(labels.print_tables, found))


def map_label(options: argparse.Namespace) -> int:
    from .operations import labels

    node = _node(options)
    return _say(
        labels.map_structures(node.database, node.networks, options.id, options.pairs, who(), node.work.attempts)
    )


def reject_label(options: argparse.Namespace) -> int:
    from .operations import labels

    return _say(labels.reject(_node(options).database, options.id, who(), options.reason))


def add_labels(options: argparse.Namespace) -> int:
    from .operations import labels

    return labels.add(_node(options).inbox, options.paths)


def export_labels(options: argparse.Namespace) -> int:
    from .operations import nifti

    node = _node(options)
    of_bundle = partial(read, node.archive, node.decoders)
    return nifti.export(node.database, node.networks, node.archive.home, of_bundle, options.to)


# ----------------------------------------------------------------- patients


def list_patients(options: argparse.Namespace) -> int:
    from .operations import people

    node = _node(options)
    found = people.listing(node.database, node.learning.key)
    return _show(options, found, partial(people.print_tables, found))


def merge_patients(options: argparse.Namespace) -> int:
    from .operations import people

    node = _node(options)
    return _say(people.merge(node.database, node.archive.home, options.first, options.second, who()))


def keep_patients_apart(options: argparse.Namespace) -> int:
    from .operations import people

    return _say(people.apart(_node(options).database, options.first, options.second, who()))


# ------------------------------------------------------------------- models


def list_models(options: argparse.Namespace) -> int:
    from .operations import catalogue

    found = catalogue.listing(_node(options).networks)
    return _show(options, found, partial(catalogue.print_tables, found))


def add_model(options: argparse.Namespace) -> int:
    from .operations import installing, rehearse, show_network

    node = _node(options)
    brought = installing.add(node.networks, options.path, who(), options.card, options.name, options.orientation)
    show_network.print_brought(brought)
    if brought.questions:
        return 1
    bundle = node.networks.known(brought.name)[1]
    return rehearse.check(bundle, node.device) if rehearse.has_golden_cases(bundle) else 0


def show_model(options: argparse.Namespace) -> int:
    from .operations import proofs, show_network

    node = _node(options)
    _, bundle = node.networks.known(options.network)
    with node.database.read() as tx:
        proof = proofs.last(tx, bundle)
    return _show(options, show_network.shown(bundle, proof), partial(show_network.print_network, bundle, proof))


def check_model(options: argparse.Namespace) -> int:
    from .operations import rehearse

    node = _node(options)
    return rehearse.check(node.networks.known(options.network)[1], node.device)


def accept_model(options: argparse.Namespace) -> int:
    from .operations import acceptance

    node = _node(options)
    bundle = node.networks.known(options.network)[1]
    return _say(acceptance.accept(bundle, options.cases, options.out, node.device, node.database, who()))


def switch_model(options: argparse.Namespace) -> int:
    from .operations import installing

    return _say(installing.switch(_node(options).networks, options.network, who(), on=options.action == "enable"))


def remove_model(options: argparse.Namespace) -> int:
    from .operations import installing

    return _say(installing.remove(_node(options).networks, options.network, who()))


def new_model(options: argparse.Namespace) -> int:
    from .operations import new_network

    networks = _node(options).networks
    segments, freeze_epochs = options.segments, max(options.freeze_epochs, 0)
    return _say(new_network.make(networks, options.network, options.like, segments, freeze_epochs, who()))


def approve_model(options: argparse.Namespace) -> int:
    from .operations import versions

    node = _node(options)
    studies = node.learning.shadow_studies
    return _say(versions.approve(node.database, options.network, options.named, who(), options.reason, studies))


def promote_model(options: argparse.Namespace) -> int:
    from .operations import versions

    node = _node(options)
    return _say(versions.promote(node.networks, options.network, options.named, who(), options.reason))


def roll_back_model(options: argparse.Namespace) -> int:
    from .operations import versions

    return _say(versions.rollback(_node(options).networks, options.network, who(), options.reason, options.to))


def retrain(options: argparse.Namespace) -> int:
    from .operations import follow
    from .operations import retrain as ordering

    node = _node(options)
    wait_seconds = 0.0 if options.now else node.learning.wait_seconds(datetime.now().astimezone().time())
    _say(ordering.ask(node.database, node.networks, options.network, node.work.attempts, who(), wait_seconds))
    if wait_seconds or options.no_wait:
        return 0
    return follow.training(node.database, node.archive.home, options.network)


# -------------------------------------------------------------------- audit


def list_events(options: argparse.Namespace) -> int:
    from .operations import audit

    found = audit.listing(_node(options).database)
    return _show(options, found, partial(audit.print_table, found))


def verify_record(options: argparse.Namespace) -> int:
    from .operations import audit

    return _say(audit.verify(_node(options).database, options.head))


def show_head(options: argparse.Namespace) -> int:
    from .operations import audit

    return _say(audit.head(_node(options).database))


COMMANDS: dict[tuple[str, str], Callable[[argparse.Namespace], int]] = {
    ("labels", "list"): list_labels,
    ("labels", "map"): map_label,
    ("labels", "reject"): reject_label,
    ("labels", "add"): add_labels,
    ("labels", "export"): export_labels,
    ("patients", "list"): list_patients,
    ("patients", "merge"): merge_patients,
    ("patients", "apart"): keep_patients_apart,
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
    ("audit", "list"): list_events,
    ("audit", "verify"): verify_record,
    ("audit", "head"): show_head,
    ("retrain", ""): retrain,
}
