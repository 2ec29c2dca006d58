"""`planimeter routes show`: what the routes said of a study, each time it was chosen from, and by which values."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Any

from db import route_decisions, studies
from db.database import Database

from ..errors import Refused
from .route_trial import print_series
from .terminal import output, plain


def of_study(database: Database, study_uid: str) -> list[dict[str, Any]]:
    """The decisions, the newest first; the keys are kept from version to version.

    Raises:
        Refused: `no-such-study`.
    """
    with database.read() as tx:
        study = studies.find(tx, study_uid)
        if study is None:
            raise Refused("no-such-study", f"there is no study {study_uid} here")
        rows = route_decisions.of_study(tx, study["id"])
    return [
        {
            "generation": row["generation"],
            "decided": datetime.fromtimestamp(row["decided"]).astimezone().isoformat(timespec="seconds"),
            "config_version": row["config_version"],
            "series_uid": row["series_uid"],
            "number": f"…{row['series_uid'][-8:]}",
            "routes": row["said"],
        }
        for row in rows
    ]


def print_decisions(said: list[dict[str, Any]]) -> None:
    """For people."""
    console = output()
    if not said:
        console.print("[dim]it was not chosen from yet[/]")
    for generation, of_it in groupby(said, key=lambda one: one["generation"]):
        listed = list(of_it)
        version = listed[0]["config_version"]
        under = f", under configuration {version}" if version is not None else ""
        console.print(f"[bold]Choice {generation}[/], {plain(listed[0]['decided'])}{under}")
        print_series(console, listed)
