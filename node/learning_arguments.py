"""The commands of the learning loop, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, TypeAlias

#: what ArgumentParser.add_subparsers gives, whose class has no public name
Commands: TypeAlias = Any


def add(commands: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        commands: of the whole command line.
        node: the options that say which node is meant.
    """
    _labels(_group(commands, "labels", "corrections that came back, and what was learnt from them"), node)
    _patients(_group(commands, "patients", "who is trained on, and who is locked away for the test"), node)
    _models(_group(commands, "models", "the networks: their versions, which one is live, and who decided so"), node)
    _audit(_group(commands, "audit", "the record of what was learnt, judged and decided"), node)
    retrain = _command(commands, node, "retrain", "train a network on what came back, and judge the result")
    retrain.set_defaults(command="retrain")
    retrain.add_argument("network", metavar="NETWORK")
    retrain.add_argument("--now", action="store_true", help="do not wait for the window of `[learning]`")
    retrain.add_argument("--no-wait", action="store_true", help="do not follow it; the node works on it")


def _group(commands: Commands, name: str, text: str) -> Commands:
    group = commands.add_parser(name, help=text, description=text)
    group.set_defaults(command=name)
    return group.add_subparsers(title="commands", metavar="COMMAND", dest="action", required=True)


def _command(group: Commands, node: ArgumentParser, name: str, text: str) -> ArgumentParser:
    command: ArgumentParser = group.add_parser(name, help=text, description=text, parents=[node])
    return command


def _labels(labels: Commands, node: ArgumentParser) -> None:
    listed = _command(labels, node, "list", "the labels, the newest first")
    listed.add_argument("--state", help="only those in this state: ready, accepted, waiting, quarantined, ...")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    mapped = _command(labels, node, "map", "say which class a structure is; `labels list` names the structures")
    mapped.add_argument("id", type=int, metavar="ID")
    mapped.add_argument("pairs", nargs="+", metavar="NAME=VALUE", help='a structure and a label value, "GTV Mass=1"')
    rejected = _command(labels, node, "reject", "do not learn from a label")
    rejected.add_argument("id", type=int, metavar="ID")
    rejected.add_argument("--reason", required=True, metavar="TEXT", help="kept with the decision")
    added = _command(labels, node, "add", "take in images and their outlines, in any order")
    added.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    export = _command(labels, node, "export", "write images and masks as NIfTI")
    export.add_argument("--to", required=True, type=Path, metavar="DIR")


def _patients(patients: Commands, node: ArgumentParser) -> None:
    listed = _command(patients, node, "list", "patients with labels, their bucket, and who may be the same person")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    for name, text in (
        ("merge", "two entries are one person: from now on they are in one bucket"),
        ("apart", "two entries that look like one person are two"),
    ):
        command = _command(patients, node, name, text)
        for which in ("first", "second"):
            command.add_argument(which, metavar=which.upper(), help="as `patients list` names them: p7")


def _models(models: Commands, node: ArgumentParser) -> None:
    listed = _command(models, node, "list", "every version of every network")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    added = _command(models, node, "add", "look at a bundle from elsewhere, draft its card, install it switched off")
    what = "a bundle, results of nnU-Net, a zip of these, or a TorchScript file"
    added.add_argument("path", type=Path, metavar="PATH", help=what)
    added.add_argument("--card", type=Path, metavar="FILE", help="its card, once the draft is filled in")
    added.add_argument("--name", default="", metavar="NAME", help="of the network, in the draft")
    added.add_argument(
        "--orientation", default="", metavar="AXES", help="of nnU-Net's training: LAS, LPS, RAS ... or acquired"
    )
    shown = _command(models, node, "show", "a network's card, and what its bundle executes")
    shown.add_argument("network", metavar="NETWORK")
    shown.add_argument("--json", action="store_true", help="the same for programs, complete")
    _command(models, node, "check", "try a network on noise and on a drawn body").add_argument(
        "network", metavar="NETWORK"
    )
    accepted = _command(models, node, "accept", "how good a network is on labelled cases of one's own")
    accepted.add_argument("network", metavar="NETWORK")
    accepted.add_argument(
        "--cases", required=True, type=Path, metavar="FOLDER", help="NAME_image.nii.gz and NAME_mask.nii.gz"
    )
    accepted.add_argument("--out", type=Path, default=Path("acceptance"), metavar="DIR", help="for the report")
    for name, text in (
        ("enable", "let a network read the studies that come"),
        ("disable", "let a network read no study any more"),
        ("remove", "take a network away that is off; its results stay"),
    ):
        _command(models, node, name, text).add_argument("network", metavar="NETWORK")
    new = _command(models, node, "new", "a network for other structures, to be trained on labels from here")
    new.add_argument("network", metavar="NAME")
    new.add_argument("--like", required=True, metavar="MODEL", help="reads the same images, and lends its layers")
    new.add_argument(
        "--segments", required=True, type=Path, metavar="CARD", help="TOML: [[segment]], [gate], title ..."
    )
    new.add_argument("--freeze-epochs", type=int, default=0, metavar="N", help="leave lent layers alone for so long")
    for name, text in (
        ("approve", "let a candidate that was proven better go live when it is promoted"),
        ("promote", "an approved version goes live; jobs that run end with the old one"),
    ):
        command = _command(models, node, name, text)
        command.add_argument("network", metavar="NETWORK")
        command.add_argument("named", metavar="VERSION", help="its name or the beginning of its weights' hash")
        command.add_argument("--reason", required=True, metavar="TEXT", help="kept with the decision")
    rollback = _command(models, node, "rollback", "back to the version that was live before")
    rollback.add_argument("network", metavar="NETWORK")
    rollback.add_argument("--to", metavar="VERSION", help="or to this one, which was live once")
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="kept with the decision")


def _audit(audit: Commands, node: ArgumentParser) -> None:
    listed = _command(audit, node, "list", "what was learnt, judged and decided, the newest first")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    verify = _command(audit, node, "verify", "whether nothing in the record was changed, removed or put in")
    verify.add_argument(
        "--head", metavar="HEAD", help="that `audit head` printed: nothing was cut off since then either"
    )
    _command(audit, node, "head", "the hash of the newest entry, to be noted elsewhere")
