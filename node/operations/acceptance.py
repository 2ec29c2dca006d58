"""A network on cases of one's own whose truth is known: how good it is here, case by case, as a report for the files.

Cases are pairs of NIfTI files as `planimeter labels export` writes them: NAME_image.nii.gz (of further channels
NAME_CHANNEL_image.nii.gz) and NAME_mask.nii.gz with the label values of the card. A class of the card that a mask does
not have counts as absent there.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from db import events
from db.database import Database
from models import client, membership, nifti
from models.card import Bundle
from models.confine.rights import Demand
from models.finding_rules import Result
from models.scores import summary
from models.scores.case import score
from models.scores.values import CaseScores
from models.wire import SharedArray

from ..errors import Refused
from ..hosts import Hosts
from ..learning import durable, sides
from ..learning.report import words
from ..learning.report.blocks import DOUBT, Block, Callout, Cell, Column, Heading, Says, Table, row
from ..learning.report.document import document
from ..learning.report.page import page
from ..learning.report.words import METRICS, NONE
from ..nursery import Nursery
from . import acceptance_of_findings
from .terminal import new_table, output, plain

MASK, IMAGE = "_mask.nii.gz", "_image.nii.gz"
LIMIT_SECONDS = 3600.0
ACCEPTED = "network tried on local cases"


def accept(
    bundle: Bundle,
    folder: Path,
    to: Path,
    device: str,
    database: Database,
    who: str,
    console: Console | None = None,
    confine: Demand = Demand.BEST,
    nursery: Nursery | None = None,
) -> str:
    """Run it on all cases, and write acceptance.html and .pdf; a sentence.

    Args:
        folder: with the cases.
        to: for the report; made where it is not there.
        nursery: that forks the model host, where somebody has one.

    Raises:
        Refused: `no-cases`; `bad-case`; `case-failed`: the network did not do one.
        Failed: `network-unusable`, `host-not-started`.
    """
    console = console or output()
    if bundle.card.result is not Result.SEGMENTS:
        return acceptance_of_findings.accept(bundle, folder, to, device, database, who, console, confine, nursery)
    cases = found(bundle, folder)
    with tempfile.TemporaryDirectory(prefix="planimeter-") as private:
        hosts = Hosts(Path(private), device, confine=confine, nursery=nursery)
        try:
            with Progress(console=console, transient=not console.is_terminal) as bar:
                todo = bar.track(cases.items(), description=f"trying {bundle.card.name}")
                scores = [_scored(hosts, bundle, name, files) for name, files in todo]
        finally:
            hosts.stop()
    blocks = story(bundle, scores, who)
    heading, below = f"{bundle.card.title}: acceptance", f"{bundle.card.name} {bundle.card.version} · {_now()}"
    durable.put(to / "acceptance.html", page(heading, below, blocks).encode())
    durable.put(to / "acceptance.pdf", document(heading, below, blocks))
    _print(bundle, scores, console)
    dices = summary.mean_dice(scores, _values(bundle))
    mean = round(sum(dices.values()) / len(dices), 4) if dices else None
    with database.write() as tx:
        details = {"cases": len(scores), "mean_dice": mean, "card_sha256": bundle.card_sha256}
        events.append(tx, who, ACCEPTED, bundle.card.name, details)
    return f"{len(scores)} cases; the report is {to / 'acceptance.html'}"


def found(bundle: Bundle, folder: Path) -> dict[str, list[Path]]:
    """Name of each case -> its files: the mask, then a file per channel.

    Raises:
        Refused: `no-cases`; `bad-case`: a channel lacks.
    """
    cases = {}
    for mask in sorted(folder.glob(f"*{MASK}")):
        name = mask.name.removesuffix(MASK)
        channels = [f"{name}_{rule.channel}" if n else name for n, rule in enumerate(bundle.card.input)]
        files = [folder / f"{one}{IMAGE}" for one in channels]
        if missing := [file.name for file in files if not file.is_file()]:
            raise Refused("bad-case", f"{mask.name} has no {', '.join(missing)} beside it")
        cases[name] = [mask, *files]
    if not cases:
        raise Refused("no-cases", f"{folder} has no pairs NAME{IMAGE} and NAME{MASK}")
    return cases


def _scored(hosts: Hosts, bundle: Bundle, name: str, files: Sequence[Path]) -> CaseScores:
    try:
        truth, *channels = (nifti.read(file) for file in files)
    except nifti.NoImage as error:
        raise Refused("bad-case", str(error)) from None
    for file, volume in zip(files[1:], channels, strict=True):
        if not nifti.same_grid(volume, truth):
            raise Refused("bad-case", f"{file.name} is not on the grid of {files[0].name}")
    mask, affine = truth
    values = _values(bundle)
    if strange := sorted(set(np.unique(mask).tolist()) - {0, *membership.known(bundle.card)}):
        raise Refused("bad-case", f"{files[0].name} has values that the card does not know: {strange}")
    address = hosts.address(str(bundle.folder), bundle.card_sha256)
    arrays = [SharedArray.of(np.asarray(array, np.float32)) for array, _ in channels]
    exchange = sides.for_passes(bundle.card)
    begun = time.monotonic()
    try:
        answer = client.segment(address, arrays, affine, limit_seconds=LIMIT_SECONDS, exchange=exchange)
    except (client.HostRefused, client.HostFailed, client.HostGone, client.HostBusy) as error:
        raise Refused("case-failed", f"{name}: {error}") from None
    finally:
        for one in arrays:
            one.close()
    seconds = time.monotonic() - begun
    lesions = [segment.value for segment in bundle.card.segment if segment.lesions]
    tolerance_mm = bundle.card.gate.tolerance_mm
    label = np.ascontiguousarray(mask, np.uint8)
    parts = membership.parts(bundle.card)
    classes = score(label, answer.labels, affine, values, lesions=lesions, tolerance_mm=tolerance_mm, parts=parts)
    return CaseScores(case=name, patient=name, classes=classes, seconds=seconds)


def _values(bundle: Bundle) -> list[int]:
    return [segment.value for segment in bundle.card.segment]


def story(bundle: Bundle, scores: Sequence[CaseScores], who: str) -> list[Block]:
    """The report: the spread of every number by class, then every case."""
    blocks: list[Block] = [
        Callout(DOUBT, f"{len(scores)} cases of this site", (bundle.card.intended_use, words.RESEARCH)),
        Says(f"Run by {who} with card {bundle.card_sha256} and weights {bundle.weights_sha256}."),
    ]
    for segment in bundle.card.segment:
        its = summary.summarise(scores, segment.value)
        rows = [
            row(metric.title, words.spread(its.spreads[metric.name], metric.digits, its.patients))
            for metric in METRICS
            if its.spreads.get(metric.name) is not None
        ]
        table = Table("Mean over the cases (95 %)", (Column("", 2), Column("", 2, number=True)), tuple(rows))
        blocks += [
            Heading(segment.label, f"class-{segment.value}"),
            table if rows else Says("No case has it, and the network found it in none."),
        ]
    columns = (
        Column("Case", 3),
        *(Column(f"Dice, {segment.label}", 1, number=True) for segment in bundle.card.segment),
        Column("Seconds", 1, number=True),
    )
    return [*blocks, Heading("Every case", "cases"), Table("", columns, tuple(_row(one) for one in _worst(scores)))]


def _worst(scores: Sequence[CaseScores]) -> list[CaseScores]:
    """The worst first; those that have nothing to be found last."""
    dices = {one.case: one.mean_dice([of.value for of in one.classes]) for one in scores}
    return sorted(scores, key=lambda one: (dices[one.case] is None, dices[one.case] or 0.0))


def _row(one: CaseScores) -> tuple[Cell, ...]:
    dices = (words.number(of.dice, 3) if of.dice is not None else NONE for of in one.classes)
    return row(one.case, *dices, words.number(one.seconds, 1))


def _now() -> str:
    return datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _print(bundle: Bundle, scores: Sequence[CaseScores], console: Console) -> None:
    table = new_table(
        f"{bundle.card.name} {bundle.card.version}: Dice",
        ("case", *(segment.label for segment in bundle.card.segment), "seconds"),
    )
    for one in _worst(scores):
        dices = (f"{of.dice:.3f}" if of.dice is not None else "" for of in one.classes)
        table.add_row(*map(plain, (one.case, *dices, f"{one.seconds:.1f}")))
    console.print(table)
