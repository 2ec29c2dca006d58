"""One study in a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console

from ..route_trial import print_series
from ..status import STYLES
from ..terminal import output, plain, print_table
from .values import ReadingView, StudyView


def as_json(study: StudyView) -> dict[str, Any]:
    """For programs: complete; the keys are kept from version to version."""
    return dataclasses.asdict(study)


def print_study(study: StudyView) -> None:
    """For people: what became of it first, then how."""
    console = output()
    style = STYLES.get(study.state, "bold")
    console.print(f"[bold]Study {plain(study.study_uid)}[/]: [{style}]{plain(study.state)}[/]")
    if study.reason:
        console.print(plain(study.reason))
    console.print(f"{study.images} images, {study.size / 1e6:.1f} MB, arrived {_when(study.arrived)}")
    for network, destination, who in study.asked:
        to = f", results to {plain(destination)}" if destination else ""
        console.print(f"{plain(network)} was asked for by {plain(who)}{to}")
    steps = [
        {
            "at": _when(one.at),
            "what": one.what,
            "said": one.said,
            "seconds": "" if one.seconds is None else f"{one.seconds:.1f}",
            "stages": ", ".join(f"{name} {seconds:g}" for name, seconds in one.stages),
            "state": one.state,
        }
        for one in study.steps
    ]
    # every step: what happened first is what people ask for
    for begin in range(0, len(steps), 30):
        some = steps[begin : begin + 30]
        print_table(console, "what happened", ("at", "what", "said", "seconds", "stages"), some, STYLES)
    print_series(
        console,
        [
            {"number": one.number or f"…{one.series_uid[-8:]}", "images": one.objects, "routes": one.routes}
            for one in study.series
            if one.routes
        ],
    )
    for reading in study.readings:
        _print_reading(console, reading)
    jobs = [dataclasses.asdict(one) for one in study.jobs]
    print_table(console, "jobs", ("id", "kind", "state", "network", "destination", "reason"), jobs, STYLES)


def _print_reading(console: Console, reading: ReadingView) -> None:
    if reading.unread:
        console.print(f"[red]{plain(reading.network)} reads nothing of it[/]: {plain(reading.because)}")
        return
    replaced = " (newer images took its place)" if reading.replaced else ""
    console.print(
        f"[bold]{plain(reading.network)}[/] reads {reading.images} images{replaced}: {plain(reading.because)}"
    )
    for sentence in reading.flags:
        console.print(f"[yellow]{plain(sentence)}[/]")
    numbers = [
        {
            "segment": one.label,
            "ml": _number(one.volume_ml),
            "long axis mm": _number(one.long_axis_mm),
            "more": one.more,
            "since the prior": one.change,
        }
        for one in reading.measured
    ]
    print_table(console, "measured", ("segment", "ml", "long axis mm", "more", "since the prior"), numbers)
    keys = ("result", "state", "kind", "options", "destination", "delivery", "reason")
    print_table(console, "results", keys, list(_objects(reading)), STYLES)


def _objects(reading: ReadingView) -> Iterator[dict[str, Any]]:
    for run in reading.results:
        for one in run.objects:
            about = {"result": one.id, "state": run.state, "kind": one.kind, "options": one.options}
            for sent in one.deliveries:
                yield about | {"destination": sent.destination, "delivery": sent.state, "reason": sent.reason}
            if not one.deliveries:
                yield about | {"destination": "", "delivery": "", "reason": run.reason}


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
