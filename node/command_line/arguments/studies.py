"""The commands about one study and about destinations, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser

from ..subcommands import Commands, command


def add_destinations(destinations: Commands, node: ArgumentParser) -> None:
    """`planimeter destinations`.

    Args:
        destinations: the group.
        node: the options that say which node is meant.
    """
    listed = command(destinations, node, "list", "whether each answers, and what waits for it")
    listed.add_argument("--json", action="store_true", help="the same for programs, complete")
    for name, text in (
        ("echo", "ask one for a sign of life; what waits for it is sent when it answers"),
        ("pause", "send one nothing; results for it wait"),
        ("resume", "go on sending to one"),
        ("retry", "send again what one did not take"),
    ):
        command(destinations, node, name, text).add_argument("destination", metavar="NAME")


def add_study(study: ArgumentParser) -> None:
    """`planimeter study`."""
    study.add_argument("study_uid", metavar="STUDY_UID")
    study.add_argument("--json", action="store_true", help="the same for programs, complete")


def add_reprocess(reprocess: ArgumentParser) -> None:
    """What `planimeter reprocess` has beside the study."""
    reprocess.add_argument("--network", metavar="NETWORK", help="with this network, although no route may name it")
    reprocess.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="DESTINATION",
        help="with --network: where its results go; may be repeated",
    )


def add_deliver(deliver: ArgumentParser) -> None:
    """`planimeter deliver`."""
    deliver.add_argument("result", metavar="RESULT", help="id or SOP Instance UID of any object of it, see `study`")
    deliver.add_argument("destination", metavar="DESTINATION")
