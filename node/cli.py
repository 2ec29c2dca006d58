"""The command line: arguments in, one call of `commands` out. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from models.loading import loading

from .command_line.arguments import alarms as alarm_arguments
from .command_line.arguments import learning as learning_arguments
from .command_line.arguments import machines as machine_arguments
from .command_line.arguments import routes as route_arguments
from .command_line.arguments import storage as storage_arguments
from .command_line.arguments import studies as study_arguments
from .command_line.arguments import users as user_arguments
from .command_line.arguments.named import named
from .command_line.subcommands import group

EXIT_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    _guard_names()
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.version:
        from . import __version__

        print(f"planimeter {__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return EXIT_USAGE
    with loading():
        commands = import_module("node.command_line.commands")
    return int(commands.call(options))


def _guard_names() -> None:
    """Another distribution called `config`, `db`, `models` or `node` in this environment would break us quietly."""
    ours = Path(__file__).resolve().parent.parent
    for name in ("config", "db", "models", "node"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found != ours:
            sys.exit(
                f"planimeter: the package {name!r} was found in {found}, expected {ours}; "
                "install Planimeter in an environment of its own"
            )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"planimeter: {message}; `{self.prog} --help` tells more\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="planimeter",
        description="A DICOM node for radiology departments: studies in, segmentations and structured reports out.",
        epilog="Research use; not a medical device.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    node, inner = _node_options(), _inner_options()

    def add(name: str, text: str, *parents: _Parser) -> _Parser:
        command = commands.add_parser(name, help=text, description=text, parents=[node, *parents])
        command.set_defaults(command=name)
        return command

    run = add("run", "receive, work, schedule and show pages: the whole node, supervised; SIGTERM ends it cleanly")
    run.add_argument("--no-web", action="store_true", help="without the pages, whatever `enabled` in [web] says")
    add("receive", "only receive, for several machines on one database", inner)
    add("work", "only work: workers and their model hosts", inner)
    add("schedule", "only schedule", inner)
    add("web", "only the pages", inner)
    status = add("status", "what the node is doing: studies, jobs, deliveries, refused callers")
    status.add_argument("--json", action="store_true", help="the same for programs")
    status.add_argument("--all", action="store_true", help="everything there ever was, however long that takes")
    jobs = add("jobs", "the jobs, or with an ID the attempts of one")
    jobs.add_argument("id", nargs="?", type=int, metavar="ID")
    add("retry", "open an ended job again").add_argument("id", type=int, metavar="ID")
    cancelled = add("cancel", "nobody wants what a network would find: a job that waits or runs")
    cancelled.add_argument("id", type=int, metavar="ID")
    study_arguments.add_study(add("study", "one study: what happened to it and why, results, measurements, deliveries"))
    reprocess = add("reprocess", "choose again and run the networks again, also where nothing has changed")
    reprocess.add_argument("study_uid", metavar="STUDY_UID")
    study_arguments.add_reprocess(reprocess)
    study_arguments.add_deliver(add("deliver", "send a result to a destination, although no route may"))
    add("close", "do not wait for more images of a study").add_argument("study_uid", metavar="STUDY_UID")
    for name in ("pause", "resume"):
        command = add(name, f"{name} an activity; without one, all of them")
        command.add_argument("activity", nargs="?", choices=("receive", "work", "send", "learn"))
    for name, text, needed in (
        ("release", "send results that were held for a person", None),
        ("discard", "put results away that were not sent", False),
        ("withdraw", "take results back: every destination that has them is told not to use them", True),
    ):
        command = add(name, text)
        command.add_argument(
            "result", metavar="RESULT", help="id or SOP Instance UID of any object of it, see `status`"
        )
        if needed is not None:
            command.add_argument("--reason", required=needed, default="", metavar="TEXT", help="kept with the decision")
    add("submit", "take in a file or a folder without the network").add_argument("path", type=Path, metavar="PATH")
    send = add("send", "send files to another node or PACS by C-STORE")
    send.add_argument("path", type=Path, metavar="PATH")
    send.add_argument("target", metavar="PEER", help="name of a [[peer]] with a destination, or AET@HOST:PORT")
    doctor = add("doctor", "ask a peer what it can do for this node, and say what to do; nothing is left there")
    doctor.add_argument("peer", metavar="AET@HOST:PORT|NAME", help="anybody, or a [[peer]] of the configuration")
    doctor.add_argument("--json", action="store_true", help="the same for programs")
    doctor.add_argument("--timeout", type=float, default=10, metavar="N", help="seconds for each answer; default 10")
    doctor.add_argument("--tls", action="store_true", help="speak TLS")
    for option, text in (
        ("--ca-file", "speak TLS and trust these certificates instead of the system's"),
        ("--certificate", "speak TLS with this certificate of ours, for a peer that asks for one"),
        ("--key", "of that certificate"),
    ):
        doctor.add_argument(option, type=Path, metavar="FILE", help=text)
    add("conformance", "print the DICOM conformance statement of this version, as Markdown")
    fetch = add("fetch", "fetch studies from a PACS: those that you name now, those of many days at night")
    for option, name, text in (
        ("--accession", "N", 'the study with this accession number; "-": it is read from standard input'),
        ("--patient", "ID", 'all studies of this patient; "-": likewise'),
        ("--study", "UID", "this study"),
        ("--series", "UID", "with --study: this series of it alone"),
        (
            "--days",
            "A..B",
            "all studies of these days, such as 2026-01-01..2026-01-31, as jobs within the hours of [fetch]",
        ),
        ("--since", "DAY", "the same, from this day"),
        ("--until", "DAY", "to this one; default: today"),
        ("--modality", "M", "only studies that have this modality"),
        ("--from", "PEER", "the [[peer]] with a `query`, where there are several"),
    ):
        kind = named if option in ("--accession", "--patient") else str
        fetch.add_argument(option, type=kind, metavar=name, help=text, dest="peer" if option == "--from" else None)
    fetch.add_argument("--priors", type=int, default=0, metavar="N", help="also so many earlier studies of the patient")
    fetch.add_argument("--list", action="store_true", help="only show what would come")
    fetch.add_argument("--now", action="store_true", help="with days: here and now, not as jobs")
    reconcile = add("reconcile", "which studies a PACS has of the last days that never came, or not whole")
    reconcile.add_argument("--days", type=int, default=1, metavar="N", help="so many days before today; default: 1")
    reconcile.add_argument("--from", metavar="PEER", dest="peer", help="only this [[peer]] with a `query`")
    reconcile.add_argument("--modality", metavar="M", help="only studies that have this modality")
    reconcile.add_argument(
        "--fetch", action="store_true", help="have them fetched, by jobs within the hours of [fetch]"
    )
    reconcile.add_argument("--json", action="store_true", help="the same for programs, complete")
    add("check", "look at the configuration, the database, the disk, the GPU, the decoders and the peers")
    upgrade = add("upgrade", "bring the database of an older Planimeter up to date; one in SQLite is copied before")
    upgrade.add_argument("--backed-up", action="store_true", help="of a PostgreSQL: it was backed up")
    study_arguments.add_destinations(group(commands, "destinations", "where results go: does it answer?"), node)
    route_arguments.add(commands, node)
    alarm_arguments.add(commands, node)
    user_arguments.add(group(commands, "users", "who may use the pages, and as what"), node)
    machine_arguments.add(group(commands, "machines", "what runs on which machine"), node)
    learning_arguments.add(commands, node)
    storage_arguments.add(commands, node)
    demo = add("demo", "try it: a node, a toy PACS and a study, end to end")
    demo.add_argument("study", nargs="?", type=Path, metavar="STUDY", help="a folder; default: a synthetic chest CT")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="for the results and the picture")
    return parser


def _node_options() -> _Parser:
    options = _Parser(add_help=False)
    group = options.add_argument_group("node", "these win over the configuration file")
    group.add_argument(
        "--config", type=Path, metavar="FILE", help="default: $PLANIMETER_CONFIG, else built-in defaults"
    )
    group.add_argument("--home", type=Path, metavar="DIR", help="where the node keeps everything")
    group.add_argument("--ae-title", metavar="T", help="our AE title")
    group.add_argument("--port", type=int, metavar="N", help="of the C-STORE SCP")
    group.add_argument("--database", metavar="URL")
    group.add_argument("--quiet-seconds", type=float, metavar="N", help="how long until a study is complete")
    group.add_argument(
        "--send-to",
        action="append",
        default=[],
        metavar="AET@HOST:PORT",
        help="a destination for all results; may be repeated",
    )
    return options


def _inner_options() -> _Parser:
    """What the supervisor tells its children."""
    options = _Parser(add_help=False)
    options.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    options.add_argument("--hosts", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--role", help=argparse.SUPPRESS)
    options.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    options.add_argument("--tls-listener", type=int, help=argparse.SUPPRESS)
    return options


if __name__ == "__main__":
    sys.exit(main())
