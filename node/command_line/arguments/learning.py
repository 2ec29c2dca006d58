"""The commands of the learning loop, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from ..subcommands import Commands, command, group
from . import networks as network_arguments


def add(commands: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        commands: of the whole command line.
        node: the options that say which node is meant.
    """
    _labels(group(commands, "labels", "corrections that came back, and what was learnt from them"), node)
    _patients(group(commands, "patients", "who is trained on, and who is locked away for the test"), node)
    network_arguments.add(
        group(commands, "models", "the networks: their versions, which one is live, and who decided so"), node
    )
    _audit(group(commands, "audit", "the record of what was learnt, judged and decided"), node)
    _watch(command(commands, node, "watch", "week by week: what networks found, what was corrected, what drifts"))
    retrain = command(commands, node, "retrain", "train a network on what came back, and judge the result")
    retrain.set_defaults(command="retrain")
    retrain.add_argument("network", metavar="NETWORK")
    retrain.add_argument("--now", action="store_true", help="do not wait for the window of `[learning]`")
    retrain.add_argument("--stop", action="store_true", help="stop the training that is under way; with --reason")
    retrain.add_argument("--reason", default="", metavar="TEXT", help="with --stop: kept with the decision")
    retrain.add_argument("--no-wait", action="store_true", help="do not follow it; the node works on it")


def _watch(watch: ArgumentParser) -> None:
    watch.set_defaults(command="watch")
    watch.add_argument("network", nargs="?", metavar="NETWORK", help="only this one")
    watch.add_argument("--json", action="store_true", help="the same for programs, complete")
    watch.add_argument("--close", type=int, metavar="REVIEW", help="close a review that drift has opened")
    watch.add_argument("--reason", default="", metavar="TEXT", help="with --close: kept with the decision")
    watch.add_argument(
        "--new-reference",
        action="store_true",
        help="with --close: the change is meant to stay; what is read from now on is the new reference",
    )


def _labels(labels: Commands, node: ArgumentParser) -> None:
    listed = command(labels, node, "list", "the labels, the newest first")
    listed.add_argument("--state", help="only those in this state: ready, accepted, waiting, quarantined, ...")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    work = command(labels, node, "worklist", "results to be looked at: the most doubtful ones, and 1 in 20 at random")
    work.add_argument("network", nargs="?", metavar="NETWORK", help="only of this one")
    work.add_argument("--json", action="store_true", help="the same for programs")
    for said, text in (("agreed", "it was looked at, and is right"), ("corrected", "it was corrected, elsewhere")):
        work.add_argument(f"--{said}", type=int, metavar="ID", help=text)
    mapped = command(labels, node, "map", "say which class a structure is; `labels list` names the structures")
    mapped.add_argument("id", type=int, metavar="ID")
    mapped.add_argument("pairs", nargs="+", metavar="NAME=VALUE", help='a structure and a label value, "GTV Mass=1"')
    rejected = command(labels, node, "reject", "do not learn from a label")
    rejected.add_argument("id", type=int, metavar="ID")
    rejected.add_argument("--reason", required=True, metavar="TEXT", help="kept with the decision")
    added = command(labels, node, "add", "take in images and their outlines, in any order")
    added.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    export = command(labels, node, "export", "write images and masks as NIfTI")
    export.add_argument("--to", required=True, type=Path, metavar="DIR")


def _patients(patients: Commands, node: ArgumentParser) -> None:
    listed = command(patients, node, "list", "patients with labels, their bucket, and who may be the same person")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    for name, text in (
        ("merge", "two entries are one person: from now on they are in one bucket"),
        ("apart", "two entries that look like one person are two"),
    ):
        decided = command(patients, node, name, text)
        for which in ("first", "second"):
            decided.add_argument(which, metavar=which.upper(), help="as `patients list` names them: p7")


def _audit(audit: Commands, node: ArgumentParser) -> None:
    listed = command(audit, node, "list", "what was learnt, judged and decided, the newest first")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    verify = command(audit, node, "verify", "whether nothing in the record was changed, removed or put in")
    verify.add_argument(
        "--head", metavar="HEAD", help="that `audit head` printed: nothing was cut off since then either"
    )
    command(audit, node, "head", "the hash of the newest entry, to be noted elsewhere")
    command(audit, node, "test", "send a test message to the collector of [audit], and say whether it took it")
