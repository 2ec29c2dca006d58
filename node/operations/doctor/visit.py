"""`planimeter doctor`: examine a peer, and say what to do."""

from __future__ import annotations

from datetime import date

from rich.console import Console

from ...audit.trail import SILENT, Trail
from ...errors import NodeError
from ...outbound import stow
from ...outbound.target import Target
from ...tls.calling import Calling
from ..terminal import output, plain, print_json
from . import show
from .examination import examine
from .verdict import judge


def visit(
    target: Target, ae_title: str, seconds: float, tls: Calling | None, trail: Trail = SILENT, *, as_json: bool
) -> int:
    """Print what was found; the exit status: 0 when results could be delivered."""
    console = output()
    if target.web is not None:
        return _ask_web(console, target, ae_title, seconds, as_json=as_json)
    with Console(stderr=True).status(f"asking {plain(target.ae_title)}"):
        found = examine(target, ae_title, seconds, tls, date.today(), trail)  # noqa: DTZ011 - studies are dated in local time
    verdict = judge(found)
    if as_json:
        print_json(show.as_json(found, verdict))
    else:
        show.tables(console, found, verdict)
    return 0 if verdict.deliverable else 1


def _ask_web(console: Console, target: Target, ae_title: str, seconds: float, *, as_json: bool) -> int:
    """DICOMweb negotiates nothing: what a server takes shows when it is sent."""
    problem = None
    said = f"{target.name} answers QIDO-RS and takes our credentials; STOW-RS says only when it is sent what it takes"
    try:
        stow.echo(target, ae_title, seconds)
    except NodeError as error:
        problem, said = {"code": error.code, "sentence": error.sentence}, error.sentence
    if as_json:
        peer = {"name": target.name, "url": target.web.url if target.web else ""}
        print_json({"peer": peer, "our_ae_title": ae_title, "deliverable": problem is None, "problem": problem})
    else:
        console.print(("[bold red]wrong[/] " if problem else "[green]ok[/] ") + plain(said))
    return 1 if problem else 0
