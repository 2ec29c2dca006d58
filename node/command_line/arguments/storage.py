"""The commands of what is kept, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from ..subcommands import Commands, command
from .named import named


def add(commands: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        commands: of the whole command line.
        node: the options that say which node is meant.
    """
    purge = _command(commands, node, "purge", "remove what [retention] of the configuration lets go")
    purge.add_argument("--dry-run", action="store_true", help="only tell what would go and why, and what stays")
    purge.add_argument("--json", action="store_true", help="with --dry-run: the same for programs, complete")
    made = _command(
        commands, node, "backup", "all rows, results, labels, networks and keys in one file, while the node runs"
    )
    made.add_argument("file", type=Path, metavar="FILE", help='a file that is not there; "-" is standard output')
    made.add_argument("--originals", action="store_true", help="also the images of studies that are done")
    restored = _command(commands, node, "restore", "a backup, into an empty home folder (--home) and an empty database")
    restored.add_argument("file", type=Path, metavar="FILE")
    restored.add_argument("--check", action="store_true", help="only verify the file, to the last byte")
    erase = _command(commands, node, "erase", "erase a patient: all objects, results, masks and rows")
    erase.add_argument("patient_id", type=named, metavar="PATIENT_ID", help='"-": it is read from standard input')
    erase.add_argument("--issuer", metavar="I", help="of the PatientID, where several have it")
    erase.add_argument("--reason", default="", metavar="TEXT", help="kept in the record: do not name the patient")
    erase.add_argument("--notes", action="store_true", help="first tell the destinations not to use the results")
    erase.add_argument("--dry-run", action="store_true", help="only tell what there is")
    again = _command(
        commands, node, "resend", "send results that were sent before to another destination, such as a new PACS"
    )
    again.add_argument("--to", required=True, metavar="NAME", help="a [[peer]] that is a destination")
    again.add_argument("--since", metavar="DAY", help="only what was made from this day on")
    again.add_argument("--study", metavar="UID", help="only of this study")
    again.add_argument("--network", metavar="N", help="only of this network")
    again.add_argument("--originals", action="store_true", help="also the images of these studies, here and now")
    again.add_argument("--dry-run", action="store_true", help="only tell how much it would be")
    _export(_command(commands, node, "export", "studies or a data set, de-identified and proven, for somebody else"))


def _export(export: ArgumentParser) -> None:
    export.add_argument("studies", nargs="*", metavar="STUDY", help="Study Instance UIDs")
    export.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="that is not there yet")
    for option, name, text in (
        ("--since", "DAY", "studies that came from this day on"),
        ("--until", "DAY", "to this one"),
        ("--modality", "M", "only studies that have this modality"),
        ("--read-by", "NETWORK", "only studies that this network has read"),
        ("--networks", "N,N", "results of these networks alone"),
        (
            "--data-set",
            "NETWORK[:N]",
            "instead of studies: the images and labels that a network is trained on, as NIfTI",
        ),
    ):
        export.add_argument(option, metavar=name, help=text)
    export.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="KEYWORD=VALUE",
        help="studies by AccessionNumber, StudyDate ...",
    )
    export.add_argument("--no-results", action="store_true", help="only what came, nothing that was made of it")
    export.add_argument("--with-test", action="store_true", help="with --data-set: also the locked patients")
    export.add_argument(
        "--option", action="append", default=[], metavar="NAME", help="of PS3.15 E.3, such as retain-modified-dates"
    )
    export.add_argument("--basic", action="store_true", help="none of the options that are usual")
    export.add_argument(
        "--with-burned-in", action="store_true", help="also what may have names in its pixels: somebody has looked"
    )
    export.add_argument("--key-file", type=Path, metavar="FILE", help="32 random bytes: a key of this export's own")


def _command(commands: Commands, node: ArgumentParser, name: str, text: str) -> ArgumentParser:
    made = command(commands, node, name, text)
    made.set_defaults(command=name)
    return made
