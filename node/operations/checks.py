"""`planimeter check`: is everything there that a study will need?"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.markup import escape

from db import processes, schema
from db.database import Database, DatabaseError, clock, open_database, why_journal
from models import card, chain, membership
from models.card import CardError
from models.confine.process import STILL
from models.confine.rights import Demand

from .. import __version__, place
from ..audit.syslog import Collector, Connection
from ..errors import NodeError
from ..inbound import syntaxes
from ..outbound import scu, stow
from ..outbound.target import Target
from ..tls.accepting import Accepting
from . import confinement, tls_check
from .metrics import ALIVE_SECONDS
from .terminal import new_list, output

ECHO_SECONDS = 10.0
#: a clock that is off by less is right
CLOCK_SECONDS = 5.0
CODECS = {
    "JPEG 2000, HTJ2K": "openjpeg",
    "JPEG-LS": "jpeg_ls",
    "RLE": "rle",
    "JPEG, JPEG lossless": "imagecodecs",
}


@dataclass(frozen=True)
class Finding:
    """One line of the answer; `right` is None where nothing is wrong but something is worth knowing."""

    what: str
    right: bool | None
    said: str


def check(
    *,
    home: Path,
    database_url: str,
    device: str,
    confine: Demand,
    reserve_gb: float,
    listen: str,
    tls: Accepting | None,
    tls_port: int,
    senders: Sequence[str],
    targets: Sequence[Target],
    pacs: Sequence[Target],
    ae_title: str,
    collector: Collector | None,
    routes: Mapping[str, Sequence[str]],
    live: str,
) -> int:
    """Print what was found; the exit status: 0 when nothing is wrong.

    Args:
        live: how what is live, and checked, is other than the file; empty where it is not.
    """
    console = output()
    table = new_list("mark", "what", "said")
    wrong = 0
    parts: list[Callable[[], Iterator[Finding]]] = [
        lambda: _configuration(listen, senders, targets, routes, live),
        lambda: _tls(tls, tls_port, (*targets, *pacs)),
        lambda: _home(home, reserve_gb),
        lambda: _database(home, database_url),
        lambda: _networks(home, routes, targets),
        lambda: _device(device),
        _decoders,
        lambda: confined(confine),
        lambda: _answering("destination", targets, ae_title),
        lambda: _answering("PACS to ask", pacs, ae_title),
        lambda: _collector(collector),
    ]
    for part in parts:
        with console.status("checking"):
            findings = list(part())
        for finding in findings:
            mark = {True: "[green]ok[/]", False: "[bold red]wrong[/]", None: "[yellow]note[/]"}[finding.right]
            table.add_row(mark, finding.what, escape(finding.said))
            wrong += finding.right is False
    console.print(table)
    console.print(f"[bold red]{wrong} wrong[/]" if wrong else "[bold green]Everything is in order.[/]")
    return 1 if wrong else 0


def _configuration(
    listen: str, senders: Sequence[str], targets: Sequence[Target], routes: Mapping[str, Sequence[str]], live: str
) -> Iterator[Finding]:
    if live:
        yield Finding("configuration", None, live)
    who = ", ".join(senders) or "any caller on this machine, nobody else: no [[peer]] has `may_send = true`"
    yield Finding("configuration", True, f"listens on {listen} for {who}")
    if not targets:
        yield Finding("configuration", None, "no peer is a destination: results are kept, not sent")
    if not routes:
        yield Finding("configuration", None, "no [[route]]: every network gets everything that it can read")


def _tls(how: Accepting | None, port: int, targets: Sequence[Target]) -> Iterator[Finding]:
    for right, said in tls_check.check(how, port, targets, time.time()):
        yield Finding("TLS", right, said)


def _home(home: Path, reserve_gb: float) -> Iterator[Finding]:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    enough = free > reserve_gb
    said = f"{free:.1f} GB free, the reserve is {reserve_gb:g} GB"
    yield Finding("disk", enough, said if enough else f"{said}: every C-STORE is answered 0xA700")
    if home.exists() and home.stat().st_mode & 0o077:
        yield Finding("home", False, f"{home} can be read by others; chmod 700 it")
    else:
        yield Finding("home", True, str(home) if home.exists() else f"{home}, made at the first start")
    if home.exists() and (two := place.foreign_owner(home)):
        said = (
            f"{home} belongs to user {two[0]}, and this is user {two[1]}: machines that share it need the same number"
        )
        yield Finding("home", False, said)


def _database(home: Path, url: str) -> Iterator[Finding]:
    if url.startswith("sqlite") and not home.exists():
        yield Finding("database", True, f"SQLite, made at the first start; {why_journal(url)}")
        return
    try:
        database = open_database(url)
        found = schema.current(database)
        with database.read():
            pass
    except DatabaseError as error:
        yield Finding("database", False, str(error))
        return
    kind = database.journal if database.is_sqlite else database.product
    if found not in (None, schema.newest()):
        yield Finding("database", False, f"{kind}: made by another version; back it up and run `planimeter upgrade`")
    else:
        yield Finding("database", True, kind)
        if found == schema.newest():
            yield from _machines(database)
    database.dispose()


def _machines(database: Database) -> Iterator[Finding]:
    """What several machines have to agree on: the time of the day, within reason, and the version."""
    with database.read() as tx:
        off = time.time() - clock(tx)
        alive = [row for row in processes.listing(tx) if row["silent_seconds"] < ALIVE_SECONDS]
    if abs(off) > CLOCK_SECONDS:
        yield Finding(
            "clock", None, f"this machine's clock is {off:+.0f} s off the database's: hours of the day are by it"
        )
    if others := sorted({row["machine"] for row in alive if row["version"] not in ("", __version__)}):
        yield Finding("machines", None, f"another version of Planimeter runs on {', '.join(others)}")


def _networks(home: Path, routes: Mapping[str, Sequence[str]], targets: Sequence[Target]) -> Iterator[Finding]:
    folders = (home / "models", card.SHIPPED)
    wanted = sorted({name for names in routes.values() for name in names}) or card.names(folders)
    for name in wanted:
        try:
            bundle = card.find(name, folders)
            card.verify(bundle)
            chain.prove(bundle.card, lambda other: card.find(other, folders))
        except CardError as error:
            yield Finding("network", False, str(error))
        else:
            yield Finding("network", True, f"{name} {bundle.card.version}, every file is the one its card lists")
            shows = ", ".join(target.name for target in targets if target.label_map)
            if shows and membership.overlap(bundle.card):
                said = f"the segments of {name} may overlap: {shows} gets them as a binary segmentation, no label map"
                yield Finding("network", None, said)


def _device(device: str) -> Iterator[Finding]:
    program = (
        "from models.loading import loading\n"
        "with loading():\n"
        "    import torch\n"
        "names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]\n"
        "print('; '.join(names))"
    )
    asked = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    if asked.returncode:
        yield Finding("GPU", False, f"torch cannot be used: {asked.stderr.strip().splitlines()[-1]}")
    elif names := asked.stdout.strip():
        yield Finding("GPU", True, f"{names}; networks run on {device}")
    elif device.startswith("cuda"):
        yield Finding("GPU", False, f"work.device is {device}, but torch finds no GPU")
    else:
        yield Finding("GPU", None, "none found; networks run on the CPU")


def _decoders() -> Iterator[Finding]:
    lacking = [name for name, module in CODECS.items() if find_spec(module) is None]
    said = f"{len(syntaxes.ACCEPTED)} transfer syntaxes are taken"
    yield Finding("decoders", not lacking, f"no decoder for {', '.join(lacking)}" if lacking else said)


def confined(demand: Demand) -> Iterator[Finding]:
    """Whether networks and decoders are confined on this machine."""
    lacking = confinement.lacking(demand)
    if not lacking:
        yield Finding(
            "confinement", True, "networks, trainings and decoders: no network, no program, no file but their own"
        )
    for part, why in lacking.items():
        wrong = demand is Demand.REQUIRE
        yield Finding("confinement", False if wrong else None, f"networks and decoders can {STILL[part]}: {why}")


def _answering(what: str, targets: Sequence[Target], ae_title: str) -> Iterator[Finding]:
    for target in targets:
        try:
            (stow if target.web else scu).echo(target, ae_title, ECHO_SECONDS)
        except NodeError as error:
            yield Finding(what, False, error.sentence)
        else:
            yield Finding(what, True, f"{target.name} answers {'QIDO-RS' if target.web else 'C-ECHO'}")


def _collector(collector: Collector | None) -> Iterator[Finding]:
    """Whether it can be reached; nothing is sent."""
    if collector is None:
        return
    try:
        Connection(collector).close()
    except NodeError as error:
        yield Finding("audit", False, error.sentence)
    else:
        yield Finding("audit", True, f"{collector.name} can be reached; `planimeter audit test` sends a message")
