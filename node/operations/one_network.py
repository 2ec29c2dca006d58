"""One network as a person looks at it before deciding: its card, versions, releases, golden cases, and what is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import events, reviews, training_runs
from db import networks as rows
from db.database import Row
from models.card import Card
from models.incoming import program
from models.incoming.program import Program

from ..errors import Failed, Refused
from ..networks import Networks
from . import catalogue, proofs

#: the files of an evaluation that are shown, and what they are
REPORTS = {
    "report.html": "text/html; charset=utf-8",
    "report.pdf": "application/pdf",
    "model-card.html": "text/html; charset=utf-8",
}
DECISIONS = 50


@dataclass(frozen=True, kw_only=True)
class OneNetwork:
    """What there is of one network.

    Attributes:
        network, versions: as `catalogue.listing` has them; the versions newest first.
        reports: version -> the run that made it, and the files of its evaluation that are there.
        card, program: of the live version; None where it cannot be used.
        golden: how its golden cases did last, in a sentence.
        releases, decisions: newest first.
        review: the open one, or None.
    """

    network: Mapping[str, Any]
    versions: Sequence[Mapping[str, Any]]
    reports: Mapping[str, tuple[int, Sequence[str]]]
    card: Card | None
    program: Program | None
    golden: str
    releases: Sequence[Row]
    decisions: Sequence[Row]
    review: Row | None


def one_network(networks: Networks, name: str) -> OneNetwork:
    """
    Raises:
        Refused: `no-such-network`.
    """
    found = catalogue.listing(networks, name)
    if not found["networks"]:
        raise Refused("no-such-network", f"there is no network called {name}; `planimeter models list` lists them")
    (network,) = found["networks"]
    card, executed, golden = None, None, ""
    try:
        _, bundle = networks.known(name)
        card, executed = bundle.card, program.program(bundle.folder)
    except Failed:
        bundle = None  # `network["fault"]` says why
    with networks.database.read() as tx:
        if bundle is not None and (proof := proofs.last(tx, bundle)) is not None:
            golden = proof.sentence
        releases = list(rows.releases(tx, name))[::-1]
        decisions = events.listing(tx, name, DECISIONS)
        review = next((one for one in reviews.open_reviews(tx) if one["network"] == name), None)
        made_by = {row["id"]: training_runs.of_candidate(tx, row["id"]) for row in rows.versions(tx, name)}
        named = {row["id"]: row["version"] for row in rows.versions(tx, name)}
    reports = {
        named[key]: (int(run["id"]), there)
        for key, run in made_by.items()
        if run is not None and (there := [one for one in REPORTS if (networks.home / run["folder"] / one).is_file()])
    }
    return OneNetwork(
        network=network,
        versions=found["versions"][::-1],
        reports=reports,
        card=card,
        program=executed,
        golden=golden,
        releases=releases,
        decisions=decisions,
        review=review,
    )


def report_file(networks: Networks, run_id: int, name: str) -> tuple[Path, str]:
    """A file of a run's evaluation, and its media type. Only names that are known lead anywhere.

    Raises:
        Refused: `no-such-report`.
    """
    missing = Refused("no-such-report", f"training run {run_id} has no {name}")
    if name not in REPORTS:
        raise missing
    with networks.database.read() as tx:
        run = next((one for one in training_runs.listing(tx) if one["id"] == run_id), None)
    if run is None or not run["folder"]:
        raise missing
    file = (networks.home / run["folder"] / name).resolve()
    if not file.is_relative_to(networks.home.resolve()) or not file.is_file():
        raise missing
    return file, REPORTS[name]
