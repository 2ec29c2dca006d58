"""A detector or a classifier on cases of one's own whose truth is known, as a report for the files.

NAME_image.nii.gz (of further channels NAME_CHANNEL_image.nii.gz), and of a detector NAME_boxes.csv with a line
`finding,x,y,z,width,height,depth` for each lesion: centre and sizes along the patient's axes, mm LPS; a case without a
lesion has the head alone. Of a classifier one findings.csv, `case` and a column of yes or no for each finding.
"""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from db import events
from db.database import Database
from models import client, nifti
from models.card import Bundle
from models.confine.rights import Demand
from models.finding_rules import Finding, Result
from models.found import Found
from models.scores.detection import Candidate, Froc, Lesion, Roc, matched
from models.wire import SharedArray

from ..errors import Refused
from ..hosts import Hosts
from ..learning import durable
from ..learning.report.document import document
from ..learning.report.page import page
from ..measurements.findings import findings
from ..nursery import Nursery
from ..study.geometry import Geometry
from . import report_of_findings
from .terminal import new_table, plain

IMAGE, BOXES, TABLE = "_image.nii.gz", "_boxes.csv", "findings.csv"
HEAD = ("finding", "x", "y", "z", "width", "height", "depth")
YES, NO = ("yes", "1", "true"), ("no", "0", "false")
LIMIT_SECONDS = 3600.0
ACCEPTED = "network tried on local cases"


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        images: a file for each channel.
        lesions: of a detector: of each finding.
        present: of a classifier: of each finding.
    """

    name: str
    images: tuple[Path, ...]
    lesions: dict[int, tuple[Lesion, ...]]
    present: dict[int, bool]


@dataclass(frozen=True)
class Tried:
    """What the network made of all cases.

    Attributes:
        names: of the cases.
        froc, roc: of each finding, by its value; a classifier has no FROC.
        scores: of each finding: one of each case, and whether it is there.
    """

    names: tuple[str, ...]
    froc: dict[int, Froc]
    roc: dict[int, Roc]
    scores: dict[int, tuple[tuple[float, bool], ...]]


def accept(
    bundle: Bundle,
    folder: Path,
    to: Path,
    device: str,
    database: Database,
    who: str,
    console: Console,
    confine: Demand,
    nursery: Nursery | None,
) -> str:
    """Run it on all cases, and write acceptance.html and .pdf; a sentence.

    Args:
        to: for the report; made where it is not there.
        nursery: that forks the model host, where somebody has one.

    Raises:
        Refused: `no-cases`; `bad-case`; `case-failed`: the network did not do one.
        Failed: `network-unusable`, `host-not-started`.
    """
    cases = list(_cases(bundle, folder))
    with tempfile.TemporaryDirectory(prefix="planimeter-") as private:
        hosts = Hosts(Path(private), device, confine=confine, nursery=nursery)
        try:
            with Progress(console=console, transient=not console.is_terminal) as bar:
                found = [_run(hosts, bundle, one) for one in bar.track(cases, description=f"trying {bundle.card.name}")]
        finally:
            hosts.stop()
    tried = compared(bundle, cases, found)
    heading, below, blocks = report_of_findings.story(bundle, tried.names, tried.froc, tried.roc, tried.scores, who)
    durable.put(to / "acceptance.html", page(heading, below, blocks).encode())
    durable.put(to / "acceptance.pdf", document(heading, below, blocks))
    _print(bundle, tried, console)
    with database.write() as tx:
        areas = {str(value): area for value, roc in tried.roc.items() if (area := roc.auc()) is not None}
        details = {"cases": len(cases), "roc_auc": areas, "card_sha256": bundle.card_sha256}
        events.append(tx, who, ACCEPTED, bundle.card.name, details)
    return f"{len(cases)} cases; the report is {to / 'acceptance.html'}"


# -------------------------------------------------------------------------------------------------------- cases


def _cases(bundle: Bundle, folder: Path) -> Iterator[Case]:
    if bundle.card.result is Result.BOXES:
        files = sorted(folder.glob(f"*{BOXES}"))
        if not files:
            raise Refused("no-cases", f"{folder} has no pairs NAME{IMAGE} and NAME{BOXES}")
        for file in files:
            name = file.name.removesuffix(BOXES)
            yield Case(name, _images(bundle, folder, name), _lesions(bundle, file), {})
        return
    rows = _rows(folder / TABLE, ("case", *(one.label for one in bundle.card.finding)))
    if not rows:
        raise Refused("no-cases", f"{folder / TABLE} has no lines")
    if len({row["case"] for row in rows}) < len(rows):
        raise Refused("bad-case", f"{TABLE} has a case twice")
    for row in rows:
        present = {one.value: _yes(row[one.label], row["case"]) for one in bundle.card.finding}
        yield Case(row["case"], _images(bundle, folder, row["case"]), {}, present)


def _images(bundle: Bundle, folder: Path, name: str) -> tuple[Path, ...]:
    channels = [f"{name}_{rule.channel}" if n else name for n, rule in enumerate(bundle.card.input)]
    files = tuple(folder / f"{one}{IMAGE}" for one in channels)
    if missing := [file.name for file in files if not file.is_file()]:
        raise Refused("bad-case", f"case {name} lacks {', '.join(missing)}")
    return files


def _rows(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = list(reader)
            named = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused("bad-case", f"{file}: cannot be read: {error}") from None
    if lacking := [one for one in columns if one not in named]:
        raise Refused("bad-case", f"{file.name} has no column {', '.join(lacking)}")
    if any(row.get(one) is None for row in rows for one in columns):
        raise Refused("bad-case", f"{file.name} has a line that is too short")
    return rows


def _yes(said: str, name: str) -> bool:
    if said.strip().lower() not in (*YES, *NO):
        raise Refused("bad-case", f"case {name} has {said!r} where yes or no should stand")
    return said.strip().lower() in YES


def _lesions(bundle: Bundle, file: Path) -> dict[int, tuple[Lesion, ...]]:
    known = {one.label: one.value for one in bundle.card.finding}
    found: dict[int, list[Lesion]] = {one.value: [] for one in bundle.card.finding}
    for row in _rows(file, HEAD):
        if row["finding"] not in known:
            raise Refused("bad-case", f"{file.name}: the card has no finding {row['finding']!r}")
        try:
            x, y, z, width, height, depth = (float(row[one]) for one in HEAD[1:])
        except ValueError:
            raise Refused("bad-case", f"{file.name} has something that is no number") from None
        if not all(math.isfinite(one) for one in (x, y, z)) or not all(0 < one < 1e5 for one in (width, height, depth)):
            raise Refused("bad-case", f"{file.name} has a box without a place or a size")
        found[known[row["finding"]]].append(Lesion((x, y, z), (width, height, depth)))
    return {value: tuple(lesions) for value, lesions in found.items()}


# --------------------------------------------------------------------------------------------------------- runs


def _run(hosts: Hosts, bundle: Bundle, case: Case) -> tuple[Found, Geometry]:
    try:
        volumes = [nifti.read(file) for file in case.images]
    except nifti.NoImage as error:
        raise Refused("bad-case", str(error)) from None
    if not all(nifti.same_grid(volume, volumes[0]) for volume in volumes):
        raise Refused("bad-case", f"the images of {case.name} are on different grids")
    address = hosts.address(str(bundle.folder), bundle.card_sha256)
    arrays = [SharedArray.of(np.asarray(array, np.float32)) for array, _ in volumes]
    affine = volumes[0][1]
    try:
        answer = client.segment(address, arrays, affine, limit_seconds=LIMIT_SECONDS)
    except (client.HostRefused, client.HostFailed, client.HostGone, client.HostBusy) as error:
        raise Refused("case-failed", f"{case.name}: {error}") from None
    finally:
        for one in arrays:
            one.close()
    assert answer.found is not None
    slices, rows, columns = arrays[0].array.shape[:3]
    return answer.found, Geometry(affine, (slices, rows, columns))


def compared(bundle: Bundle, cases: Sequence[Case], found: Sequence[tuple[Found, Geometry]]) -> Tried:
    """What was found against the truth, finding by finding."""
    read = [findings(one, bundle.card, geometry) for one, geometry in found]
    froc, roc, scores = {}, {}, {}
    for finding in bundle.card.finding:
        value = finding.value
        if bundle.card.result is Result.BOXES:
            boxes = [
                [Candidate(box.score, box.centre_mm) for box in one.boxes if box.finding.value == value] for one in read
            ]
            studies = [matched(case.lesions[value], some) for case, some in zip(cases, boxes, strict=True)]
            froc[value] = Froc(tuple(studies))
            pairs = [(one.score, one.lesions > 0) for one in studies]
        else:
            judged = [next(one for one in each.judged if one.finding.value == value) for each in read]
            pairs = [(one.probability, case.present[value]) for case, one in zip(cases, judged, strict=True)]
        positive = tuple(score for score, there in pairs if there)
        roc[value] = Roc(positive, tuple(score for score, there in pairs if not there))
        scores[value] = tuple(pairs)
    return Tried(tuple(case.name for case in cases), froc, roc, scores)


def _print(bundle: Bundle, tried: Tried, console: Console) -> None:
    columns = ("finding", "ROC AUC (95 %)", "sensitivity (95 %)", "false positives per study")
    table = new_table(f"{bundle.card.name} {bundle.card.version}, {len(tried.names)} cases", columns)
    for one in bundle.card.finding:
        table.add_row(*map(plain, (one.label, *_figures(bundle, tried, one))))
    console.print(table)


def _figures(bundle: Bundle, tried: Tried, one: Finding) -> tuple[str, str, str]:
    at = report_of_findings.operating(bundle, tried.froc.get(one.value), tried.roc[one.value], one)
    area, interval = tried.roc[one.value].auc(), tried.roc[one.value].interval()
    said = report_of_findings.with_interval
    return said(area, interval), said(at.sensitivity, at.interval), f"{at.false_per_study:.2f}"
