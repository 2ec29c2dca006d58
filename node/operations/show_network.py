"""A network as a person reads it: its card, and what its bundle would execute."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from models import golden, membership
from models.card import Bundle, Segment
from models.finding_rules import Finding, Result
from models.incoming import program
from models.incoming.program import Program, Said

from .installing import Brought
from .proofs import Proof
from .terminal import new_table, output, plain

#: expressions and files that are listed one by one
MOST = 20


def print_brought(brought: Brought, console: Console | None = None) -> None:
    """What a bundle would run, and what is still to be done."""
    console = console or output()
    print_program(brought.program, console)
    if not brought.questions:
        console.print(f"[bold green]{plain(brought.name)} is installed, and off.[/] Try it, then let it read studies:")
        console.print(
            f"  planimeter models check {brought.name}\n  planimeter models enable {brought.name}", markup=False
        )
        return
    console.print(f"[bold yellow]Not installed yet:[/] {plain(brought.draft)} wants a person in these places:")
    for line in brought.questions[:MOST]:
        console.print(f"  {line}", markup=False)
    if len(brought.questions) > MOST:
        console.print(f"  and {len(brought.questions) - MOST} more", markup=False)
    console.print(
        "Codes that it has already are proposals: look at each. Then the same command again with "
        f"--card {plain(brought.draft)}"
    )


def print_program(found: Program, console: Console) -> None:
    """What would be executed."""
    scripts = sum(lines for _, lines in found.scripts)
    console.print(
        f"[bold]It would run[/] {found.expressions} expressions of its configs and {scripts} lines of its own Python "
        f"in {len(found.scripts)} files"
    )
    _listed(console, "[bold red]expressions that reach out[/]", found.reaching)
    _listed(console, "imports", found.imports)
    _listed(console, "classes and functions that are neither MONAI's nor PyTorch's", found.targets)
    for name, lines in found.networks:
        console.print(
            f"{plain(name)} is a [bold]program[/]: a network in TorchScript, {lines} lines, with no other sandbox than "
            "the process of its model host"
        )
    _listed(console, "[bold red]lines of it that reach out[/]", found.outside)
    for name, lines in found.scripts[:MOST]:
        console.print(f"  {plain(name)}: {lines} lines")
    if found.pickles:
        console.print(f"[yellow]files that may hold programs:[/] {plain(', '.join(found.pickles[:MOST]))}")


def _listed(console: Console, title: str, said: tuple[Said, ...]) -> None:
    if said:
        console.print(f"{title} ({len(said)}):")
        for one in said[:MOST]:
            console.print(f"  {plain(one.file)} {plain(one.place)}: {plain(one.words)}")


def _proven(bundle: Bundle, proof: Proof | None) -> str:
    if not golden.are_in(bundle):
        return "none"
    return proof.sentence if proof else "not run before a study yet"


def shown(bundle: Bundle, proof: Proof | None) -> dict[str, Any]:
    """The same for programs: the card, where it lies, its hashes, and how its golden cases did last."""
    return {
        "golden": {"at": proof.at, "environment": dict(proof.environment), "faults": proof.faults} if proof else None,
        "card": bundle.card.model_dump(mode="json"),
        "folder": str(bundle.folder),
        "card_sha256": bundle.card_sha256,
        "weights_sha256": bundle.weights_sha256,
    }


def print_network(bundle: Bundle, proof: Proof | None, console: Console | None = None) -> None:
    """The card, and what the bundle runs."""
    console = console or output()
    its = bundle.card
    console.print(f"[bold]{plain(its.name)} {plain(its.version)}[/]: {plain(its.title)}")
    console.print(plain(its.intended_use))
    rows = {
        "made by": its.manufacturer,
        "Device UID": its.device_uid,
        "licence": f"{its.licence}; of the weights: {its.weights_licence}",
        "weights": f"{its.weights}, SHA-256 {bundle.weights_sha256}",
        "lies in": bundle.folder,
        "golden cases": _proven(bundle, proof),
    }
    for name, value in rows.items():
        console.print(f"  {name}: {plain(value)}")
    table = new_table("reads", ("channel", "modality", "kind", "values"))
    for one in its.input:
        table.add_row(*map(plain, (one.channel, one.source, one.kind, one.values)))
    console.print(table)
    unions = membership.has_unions(its)
    table = new_table(f"gives {its.result}", ("value", "label", "type", "side", *(["label values"] if unions else [])))
    meanings: tuple[Segment | Finding, ...] = (*its.segment, *its.finding)
    for segment in meanings:
        side = segment.laterality[2] if segment.laterality else ""
        of_it = [", ".join(map(str, segment.values))] if unions and isinstance(segment, Segment) else []
        table.add_row(*map(plain, (segment.value, segment.label, " ".join(segment.type), side, *of_it)))
    console.print(table)
    if membership.overlap(its):
        console.print("  Its segments may overlap: binary segmentations only, no Label Map Segmentation.")
    if its.result is not Result.SEGMENTS:
        console.print("Its results are reports (SR) alone: destinations that want other objects get none of them.")
    print_program(program.program(bundle.folder), console)
