"""`planimeter routes test`: what the routes say of images, and what would run, before anything is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import time
from itertools import starmap
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from db import arrivals, studies
from db.arrivals import Kind
from db.database import Database
from db.input_sets import Choice

from ..errors import Failed, Refused
from ..inbound.kinds import kind_of
from ..networks import Networks
from ..study import candidates, facts
from ..study.archive import Archive
from ..study.candidates import Candidates
from ..study.decode import Decoders
from ..study.facts import Image, Series, text
from . import routes
from .decide import Decision, decide
from .routes import Judged, Route
from .submit import files_below
from .terminal import new_table, output, plain

#: read of files that nobody has sent yet: what their rows would say
OF_ROWS = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID")
PRIORITIES = {number: name for name, number in routes.PRIORITIES.items()}


def of_path(path: Path, calling_ae_title: str, also: Sequence[str]) -> tuple[dict[str, Candidates], list[str]]:
    """The studies in a file or below a folder, as if they had come by C-STORE; nothing is taken in.

    Args:
        calling_ae_title: whose images they would be.
        also: keywords that routes look at.

    Returns:
        study UID -> its images; and of each file that is none, a sentence.

    Raises:
        Refused: `no-such-file`, `no-images`.
    """
    if not path.exists():
        raise Refused("no-such-file", f"{path}: there is no such file or folder, and no such study")
    images: dict[str, dict[str, list[Image]]] = defaultdict(lambda: defaultdict(list))
    patients: dict[str, set[tuple[str, str]]] = defaultdict(set)
    aside: list[str] = []
    for file in track(list(files_below(path)), "reading", console=Console(stderr=True), transient=True):
        try:
            header = facts.read(file, also=(*OF_ROWS, *also))
        except Refused as refusal:
            aside.append(f"{file}: {refusal.sentence}")
            continue
        if kind_of(text(header, "SOPClassUID")) is not Kind.IMAGE:
            aside.append(f"{file}: this is no image, and starts nothing")
            continue
        sop_uid, study_uid = text(header, "SOPInstanceUID"), text(header, "StudyInstanceUID")
        images[study_uid][text(header, "SeriesInstanceUID")].append(Image(sop_uid, sop_uid, header))
        patients[study_uid].add((text(header, "IssuerOfPatientID"), text(header, "PatientID")))
    if not images:
        raise Refused("no-images", f"{path}: " + ("; ".join(aside[:3]) or "there is no file below it"))
    found = {}
    for study_uid, by_series in images.items():
        series = tuple(
            Series(series_uid, tuple(of_it), {calling_ae_title: len(of_it)})
            for series_uid, of_it in sorted(by_series.items())
        )
        found[study_uid] = Candidates(series, {}, (), frozenset(patients[study_uid]))
    return found, aside


def of_study(
    database: Database, archive: Archive, decoders: Decoders, study_uid: str, also: Sequence[str]
) -> Candidates | None:
    """The images of a study that is here; None where it is not."""
    with database.read() as tx:
        study = studies.find(tx, study_uid)
        rows = arrivals.images(tx, study["id"]) if study is not None else ()
    return candidates.gather(rows, archive, decoders, also) if rows else None


def trial(every: Sequence[Route], networks: Networks, study_uid: str, study: Candidates, at: time) -> dict[str, Any]:
    """What would become of a study; the keys are kept from version to version.

    Args:
        every: the routes.
        at: the time of the day.
    """
    judged = routes.judge(every, study.series, at)
    try:
        decision = decide(judged, networks, study)
    except Failed as failed:
        decision = Decision(refused=(Refused(failed.code, failed.sentence),))
    numbers = {image.sop_uid: one.number() for one in study.series for image in one.images}
    return {
        "study_uid": study_uid,
        "series": [_series(one) for one in judged],
        "networks": [_network(choice, numbers) for choice in decision.choices],
        "refused": [{"code": one.code, "sentence": one.sentence} for one in decision.refused],
    }


def _series(judged: Judged) -> dict[str, Any]:
    series, verdicts = judged
    return {
        "series_uid": series.series_uid,
        "number": series.number(),
        "images": len(series.images),
        "routes": [verdict.record() for verdict in verdicts],
    }


def _network(choice: Choice, numbers: dict[str, str]) -> dict[str, Any]:
    to = {one.destination for one in choice.dispatches if one.destination and one.mode == "live"}
    return {
        "network": choice.network,
        "series": sorted({numbers[member.sop_uid] for member in choice.members}),
        "images": len(choice.members),
        "because": choice.because,
        "priority": PRIORITIES.get(choice.priority, str(choice.priority)),
        "destinations": sorted(to),
    }


def print_trial(tried: Iterable[dict[str, Any]], aside: Sequence[str]) -> None:
    """For people: every condition with the values that decided it."""
    console = output()
    for study in tried:
        console.print(f"[bold]Study {plain(study['study_uid'])}[/]")
        print_series(console, study["series"])
        table = new_table("What would run", ["network", "series", "images", "priority", "results go to", "because"])
        for one in study["networks"]:
            to = ", ".join(one["destinations"]) or "nobody; they are kept"
            row = (one["network"], ", ".join(one["series"]), one["images"], one["priority"], to, one["because"])
            table.add_row(*map(plain, row))
        console.print(table if study["networks"] else "[bold red]no network would run[/]")
        for one in study["refused"]:
            console.print(f"[red]{plain(one['code'])}[/]: {plain(one['sentence'])}")
    for sentence in aside[:5]:
        console.print(f"[dim]{plain(sentence)}[/]")
    if len(aside) > 5:
        console.print(f"[dim]and {len(aside) - 5} more files that are no images[/]")


def print_series(console: Console, listed: Iterable[dict[str, Any]]) -> None:
    """What the routes said of each series."""
    for series in listed:
        images = f", {series['images']} images" if "images" in series else ""
        table = new_table(f"Series {plain(series['number'])}{images}", ["route", "takes it", "condition", "found"])
        for said in series["routes"]:
            rows = list(_conditions(said)) or [("every series", "")]
            for number, (condition, found) in enumerate(rows):
                takes = "[green]yes[/]" if said["takes"] else "[red]no[/]"
                table.add_row(*((plain(said["route"]), takes) if not number else ("", "")), condition, found)
        console.print(table)


def _conditions(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("when", "unless"):
        for one in said[kind]:
            good = one["holds"] is (kind == "when")
            word = "" if kind == "when" else "unless "
            mark = "[green]✓[/]" if good else "[red]✗[/]"
            found = ", ".join(starmap(_times, one["found"].items())) or "nothing"
            more = one["values"] - len(one["found"])
            varies = f" [yellow](varies{f', {more} more values' if more > 0 else ''})[/]" if one["values"] > 1 else ""
            yield f"{mark} {word}{plain(one['condition'])}", f"{found}{varies}"


def _times(value: str, images: int) -> str:
    return f"{plain(value) or '(empty)'}{f' × {images}' if images else ''}"
