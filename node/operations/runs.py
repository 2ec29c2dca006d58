"""Training runs as a person follows them: their state, their curves, and what the gate said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import networks as rows
from db import training_due, training_runs
from db.database import Database, Row

from ..errors import Refused
from ..learning import trainer
from ..learning.report import curves, svg
from ..learning.report.chart import Chart
from .one_network import REPORTS

MOST = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run.

    Attributes:
        row: as the table has it.
        parent, candidate: names of versions; empty where there is none.
        is_open: whether it can be stopped.
        epoch, epochs: the last one that ended, and of how many; 0 where nobody knows.
        loss, dice: the last that were told; None before.
        outcome, reasons: what the gate said.
        reports: the files of its evaluation that are there.
    """

    row: Row
    parent: str
    candidate: str
    is_open: bool
    epoch: int
    epochs: int
    loss: float | None
    dice: float | None
    outcome: str
    reasons: Sequence[str]
    reports: Sequence[str]


def listing(database: Database, home: Path, network: str | None = None) -> list[Run]:
    """The newest runs (of a network), newest first."""
    with database.read() as tx:
        found = training_runs.listing(tx, network)[:MOST]
        judged = {row["training_run_id"]: row for row in training_runs.evaluations(tx, network)}
        return [_run(tx, home, row, judged.get(row["id"])) for row in found]


def find(database: Database, home: Path, run_id: int) -> tuple[Run, list[Mapping[str, Any]]]:
    """A run, and what its training has told so far, epoch by epoch.

    Raises:
        Refused: `no-such-run`.
    """
    with database.read() as tx:
        row = next((one for one in training_runs.listing(tx) if one["id"] == run_id), None)
        if row is None:
            raise Refused("no-such-run", f"there is no training run {run_id}")
        judged = next((one for one in training_runs.evaluations(tx) if one["training_run_id"] == run_id), None)
        return _run(tx, home, row, judged), list(_told(home, row))


def asked_for(database: Database) -> bool:
    """Whether a training was asked for, and has not begun."""
    with database.read() as tx:
        return training_due.asked_for(tx) and training_due.under_way(tx) is None


def charts(told: Sequence[Mapping[str, Any]]) -> list[tuple[Chart, str]]:
    """Loss and Dice by epoch, each with its drawing."""
    return [(one, svg.svg(one)) for one in curves.learning(told)]


def _told(home: Path, row: Row) -> list[dict[str, Any]]:
    return trainer.progress(home / row["folder"]) if row["folder"] else []


def _run(tx: Any, home: Path, row: Row, judged: Row | None) -> Run:
    told = curves.epochs(_told(home, row))
    last = told[-1] if told else {}
    return Run(
        row=row,
        parent=_version(tx, row["parent_id"]),
        candidate=_version(tx, row["candidate_id"]),
        is_open=row["state"] in training_runs.OPEN,
        epoch=int(last.get("epoch", 0)),
        epochs=int(next((one["epochs"] for one in reversed(told) if one.get("epochs")), 0)),
        loss=last.get("loss"),
        dice=next((one["dice"] for one in reversed(told) if one.get("dice") is not None), None),
        outcome=judged["outcome"] if judged is not None else "",
        reasons=judged["verdict"].get("reasons", ()) if judged is not None else (),
        reports=[one for one in REPORTS if row["folder"] and (home / row["folder"] / one).is_file()],
    )


def _version(tx: Any, version_id: int | None) -> str:
    return str(rows.find(tx, version_id)["version"]) if version_id else ""
