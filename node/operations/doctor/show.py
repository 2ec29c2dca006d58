"""An examination and its verdict: tables for people, JSON for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ...objects.written import name_of
from ..terminal import new_list, new_table, plain
from .examination import Examination
from .verdict import Mark, Verdict

MARKS = {Mark.GOOD: "[green]ok[/]", Mark.NOTE: "[yellow]note[/]", Mark.BAD: "[bold red]wrong[/]"}
WORKS = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]?[/]"}


def as_json(found: Examination, verdict: Verdict) -> dict[str, Any]:
    """Everything, under keys that stay."""
    target = found.target
    return {
        "peer": {"name": target.name, "ae_title": target.ae_title, "host": target.host, "port": target.port},
        "our_ae_title": found.ae_title,
        "deliverable": verdict.deliverable,
        "problem": dict(zip(("code", "sentence"), found.problem, strict=True)) if found.problem else None,
        "tls": vars(found.security) if found.security else None,
        "answers_as": vars(found.speaker) if found.speaker else None,
        "objects": [
            {
                "object": one.written.key,
                "sop_class": str(one.written.sop_class),
                "name": one.written.name,
                "offered": [str(syntax) for syntax in one.offered],
                "accepted": [str(syntax) for syntax in one.accepted],
            }
            for one in found.taken
        ],
        "services": [vars(one) for one in found.services],
        "verdict": [{"mark": str(one.mark), "sentence": one.sentence} for one in verdict.sentences],
    }


def tables(console: Console, found: Examination, verdict: Verdict) -> None:
    """For people; what the peer says of itself is shown as text that can do nothing to a terminal."""
    target = found.target
    console.print(
        f"[bold]{plain(target.ae_title)}[/] at {plain(target.host)}:{target.port}, called by {found.ae_title}"
    )
    if found.speaker:
        version = plain(found.speaker.implementation_version) or "no version"
        limit = (
            f"PDUs up to {found.speaker.max_pdu_bytes} bytes" if found.speaker.max_pdu_bytes else "PDUs of any length"
        )
        console.print(f"answers as {version} ({plain(found.speaker.implementation_uid)}), takes {limit}")
    _security(console, found)
    if found.taken:
        console.print(_objects(found))
        console.print(_services(found))
    lines = new_list("mark", "sentence")
    for one in verdict.sentences:
        lines.add_row(MARKS[one.mark], plain(one.sentence))
    console.print(lines)
    if verdict.deliverable:
        console.print("[bold green]Results can be delivered.[/]")
    else:
        console.print("[bold red]Results cannot be delivered as it is.[/]")


def _security(console: Console, found: Examination) -> None:
    security = found.security
    if security is None:
        console.print("without TLS")
        return
    trusted = "trusted" if security.trusted else f"not trusted: {security.why_not}"
    console.print(f"{security.version}, {plain(security.cipher)}; certificate {plain(trusted)}")
    if security.subject:
        who = f"of {security.subject}, by {security.issuer}, until {security.until}"
        console.print(f"certificate {plain(who)}", style="dim")
    console.print(f"sha256 {security.sha256}", style="dim")


def _objects(found: Examination) -> Table:
    table = new_table("What it takes", ["object", "SOP class", "transfer syntaxes"])
    for one in found.taken:
        taken = ", ".join(name_of(syntax) for syntax in one.accepted)
        refused = ", ".join(name_of(syntax) for syntax in one.offered if syntax not in one.accepted)
        shown = [f"[green]{taken}[/]" if taken else "", f"[red]not {refused}[/]" if refused else ""]
        table.add_row(one.written.key, one.written.name, "; ".join(part for part in shown if part))
    return table


def _services(found: Examination) -> Table:
    table = new_table("What it does", ["service", "", "what was tried"])
    for one in found.services:
        table.add_row(one.name, WORKS[one.works], plain(one.said))
    return table
