"""The commands of `planimeter models`, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from ..subcommands import Commands, command


def add(models: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        models: the group.
        node: the options that say which node is meant.
    """
    listed = command(models, node, "list", "every version of every network")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    added = command(models, node, "add", "look at a bundle from elsewhere, draft its card, install it switched off")
    what = "a bundle, results of nnU-Net, a zip of these, or a TorchScript file"
    added.add_argument("path", type=Path, metavar="PATH", help=what)
    added.add_argument("--card", type=Path, metavar="FILE", help="its card, once the draft is filled in")
    added.add_argument("--name", default="", metavar="NAME", help="of the network, in the draft")
    added.add_argument(
        "--orientation", default="", metavar="AXES", help="of nnU-Net's training: LAS, LPS, RAS ... or acquired"
    )
    shown = command(models, node, "show", "a network's card, and what its bundle executes")
    shown.add_argument("network", metavar="NETWORK")
    shown.add_argument("--json", action="store_true", help="the same for programs, complete")
    command(models, node, "check", "try a network on noise and on a drawn body").add_argument(
        "network", metavar="NETWORK"
    )
    accepted = command(models, node, "accept", "how good a network is on labelled cases of one's own")
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
        command(models, node, name, text).add_argument("network", metavar="NETWORK")
    new = command(models, node, "new", "a network for other structures, to be trained on labels from here")
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
        decided = command(models, node, name, text)
        decided.add_argument("network", metavar="NETWORK")
        decided.add_argument("named", metavar="VERSION", help="its name or the beginning of its weights' hash")
        decided.add_argument("--reason", required=True, metavar="TEXT", help="kept with the decision")
    rollback = command(models, node, "rollback", "back to the version that was live before")
    rollback.add_argument("network", metavar="NETWORK")
    rollback.add_argument("--to", metavar="VERSION", help="or to this one, which was live once")
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="kept with the decision")
