"""What the commands of the learning loop do: settings, a node, one call."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from db.database import Row
from models.card import Bundle

from ..audit.codes import What
from ..audit.transfer import imported
from . import networks as network_commands
from .answers import node_of, say, show
from .options import who


def call(options: argparse.Namespace) -> int:
    """Run `planimeter GROUP COMMAND`."""
    return COMMANDS[options.command, getattr(options, "action", "")](options)


# ------------------------------------------------------------------- labels


def list_labels(options: argparse.Namespace) -> int:
    from ..operations import labels

    found = labels.listing(node_of(options).database, options.state)
    return show(options, {"labels": found}, partial(labels.print_tables, found))


def work_list(options: argparse.Namespace) -> int:
    from ..operations import worklist
    from ..operations.watch import show as watching

    node = node_of(options)
    for said in worklist.SAID:
        if (marked := getattr(options, said)) is not None:
            return say(worklist.mark(node.database, marked, said, who()))
    names = partial(watching.classes, node.networks)
    found = worklist.worklist(node.database, node.learning.key, names, options.network)
    return show(options, worklist.as_values(found), partial(worklist.print_tables, found))


def map_label(options: argparse.Namespace) -> int:
    from ..operations import labels

    node = node_of(options)
    return say(
        labels.map_structures(node.database, node.networks, options.id, options.pairs, who(), node.work.attempts)
    )


def reject_label(options: argparse.Namespace) -> int:
    from ..operations import labels

    return say(labels.reject(node_of(options).database, options.id, who(), options.reason))


def add_labels(options: argparse.Namespace) -> int:
    from ..operations import labels

    node = node_of(options)
    return labels.add(node.inbox, options.paths, imported(node.trail, who()))


def export_labels(options: argparse.Namespace) -> int:
    from .. import upstream
    from ..operations import nifti
    from ..prediction import read
    from ..study.channels import Channels

    node = node_of(options)

    def of_bundle(bundle: Bundle, input_set_id: int, members: Sequence[Row]) -> Channels:
        upstreams = upstream.of(node.database, node.networks, bundle.card, input_set_id)
        return read(node.archive, node.decoders, bundle, members, upstreams)

    def told(study_uid: str) -> None:
        node.trail.note(What.EXPORTED, study_uid, who=who())

    return nifti.export(node.database, node.networks, node.archive.home, of_bundle, options.to, told)


# ----------------------------------------------------------------- patients


def list_patients(options: argparse.Namespace) -> int:
    from ..operations import people

    node = node_of(options)
    found = people.listing(node.database, node.learning.key)
    return show(options, found, partial(people.print_tables, found))


def merge_patients(options: argparse.Namespace) -> int:
    from ..operations import people

    node = node_of(options)
    return say(people.merge(node.database, node.archive.home, options.first, options.second, who()))


def keep_patients_apart(options: argparse.Namespace) -> int:
    from ..operations import people

    return say(people.apart(node_of(options).database, options.first, options.second, who()))


# ----------------------------------------------------------------- training


def retrain(options: argparse.Namespace) -> int:
    from ..operations import follow
    from ..operations import retrain as ordering

    node = node_of(options)
    if options.stop:
        return say(ordering.stop(node.database, options.network, who(), options.reason))
    wait_seconds = 0.0 if options.now else node.learning.wait_seconds(datetime.now().astimezone().time())
    say(ordering.ask(node.database, node.networks, options.network, node.work.attempts, who(), wait_seconds))
    if wait_seconds or options.no_wait:
        return 0
    return follow.training(node.database, node.archive.home, options.network)


# -------------------------------------------------------------------- watch


def watch(options: argparse.Namespace) -> int:
    from ..operations.watch import looking
    from ..operations.watch import show as watching

    node = node_of(options)
    if options.close is not None:
        return say(looking.close(node.database, options.close, who(), options.reason, renew=options.new_reference))
    found = watching.watched(node.database, node.networks, node.watch, options.network)
    return show(options, watching.as_values(found), partial(watching.print_tables, found))


# -------------------------------------------------------------------- audit


def list_events(options: argparse.Namespace) -> int:
    from ..operations import audit

    found = audit.listing(node_of(options).database)
    return show(options, found, partial(audit.print_table, found))


def verify_record(options: argparse.Namespace) -> int:
    from ..operations import audit

    return say(audit.verify(node_of(options).database, options.head))


def show_head(options: argparse.Namespace) -> int:
    from ..operations import audit

    return say(audit.head(node_of(options).database))


def try_collector(options: argparse.Namespace) -> int:
    from ..audit import forward
    from ..errors import Refused

    node = node_of(options)
    if node.collector is None:
        raise Refused("no-collector", "[audit] names no host: there is no collector of audit messages")
    forward.try_once(node.collector, node.audited_as)
    return say(f"{node.collector.name} took a test message")


COMMANDS: dict[tuple[str, str], Callable[[argparse.Namespace], int]] = {
    ("labels", "list"): list_labels,
    ("labels", "worklist"): work_list,
    ("labels", "map"): map_label,
    ("labels", "reject"): reject_label,
    ("labels", "add"): add_labels,
    ("labels", "export"): export_labels,
    ("patients", "list"): list_patients,
    ("patients", "merge"): merge_patients,
    ("patients", "apart"): keep_patients_apart,
    **network_commands.COMMANDS,
    ("audit", "list"): list_events,
    ("audit", "verify"): verify_record,
    ("audit", "head"): show_head,
    ("audit", "test"): try_collector,
    ("retrain", ""): retrain,
    ("watch", ""): watch,
}
