"""Which networks and versions there are, which is live, since when and by whom, and how each one did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console

from db import networks as rows
from db import shadows, switches, training_runs
from db.database import Row

from ..errors import Failed
from ..networks import Networks
from .terminal import new_table, output, plain

STYLES = {"candidate": "cyan", "rejected": "red", "eligible": "yellow", "shadow": "magenta", "approved": "green"}


def listing(networks: Networks, only: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Networks and their versions, as plain values. The keys are kept from release to release.

    What is installed is taken note of first, as by any job.
    """
    with networks.database.read() as tx:
        names = sorted({*networks.names(), *rows.names(tx)})
    found = [_network(networks, name) for name in names if only in (None, name)]
    return {"networks": [one for one, _ in found], "versions": [each for _, those in found for each in those]}


def _network(networks: Networks, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    fault, begun = None, None
    try:
        version, bundle = networks.known(name)
        begun = bundle.card.start if version is None else None
    except Failed as failed:
        fault = failed.sentence
    with networks.database.read() as tx:
        live = rows.live(tx, name)
        history = rows.releases(tx, name)
        run = training_runs.open_of(tx, name)
        versions = [_version(tx, row, live) for row in rows.versions(tx, name)]
        off = name in switches.switched_off(tx)
    newest = history[-1] if history else None
    new = f"made like {begun.like}, and never live yet" if begun else None
    network = {
        "network": name,
        "live": live["version"] if live else None,
        "on": not off,
        "since": _moment(newest["at"]) if newest else None,
        "by": newest["who"] if newest else None,
        "because": newest["why"] if newest else new,
        "release": newest["what"] if newest else None,
        "training": run["state"] if run else None,
        "fault": None if off else fault,
    }
    return network, versions


def _version(tx: Any, row: Row, live: Row | None) -> dict[str, Any]:
    evaluation = training_runs.evaluation_of(tx, row["id"])
    beside = shadows.summary(tx, row["id"])
    return {
        "network": row["network"],
        "version": row["version"],
        "state": row["state"],
        "live": live is not None and live["id"] == row["id"],
        "created": _moment(row["created"]),
        "parent": rows.find(tx, row["parent"])["version"] if row["parent"] else None,
        "weights_sha256": row["weights_sha256"],
        "card_sha256": row["card_sha256"],
        "device_uid": row["device_uid"],
        "folder": row["folder"] or None,
        "evaluation": _evaluation(tx, evaluation) if evaluation else None,
        "shadow": asdict(beside) if beside else None,
    }


def _evaluation(tx: Any, row: Row) -> dict[str, Any]:
    verdict = row["verdict"]
    return {
        "outcome": row["outcome"],
        "champion": rows.find(tx, row["champion_id"])["version"] if row["champion_id"] else None,
        "look": row["look"],
        "at": _moment(row["at"]),
        "report": row["report"],
        **{name: verdict.get(name) for name in ("patients", "mean_difference", "lower_bound", "p", "reasons")},
    }


def print_tables(everything: Mapping[str, Sequence[Mapping[str, Any]]], console: Console | None = None) -> None:
    """For people; as `listing` gives it."""
    console = console or output()
    networks, versions = everything["networks"], everything["versions"]
    for one in networks:
        if one["fault"]:
            console.print(f"[bold red]{plain(one['network'])}:[/] {plain(one['fault'])}")
    columns = ("network", "live", "on", "since", "by", "because", "training")
    table = new_table(f"networks ({len(networks)})", columns)
    for one in networks:
        shown = {**one, "on": "yes" if one["on"] else "no"}
        table.add_row(*(plain(shown[key]) for key in columns), style=None if one["on"] else "dim")
    console.print(table)
    of_versions = ("network", "version", "state", "weights", "gate", "in the shadow")
    table = new_table(f"versions ({len(versions)})", of_versions)
    for one in versions:
        state = f"{one['state']}, live" if one["live"] else one["state"]
        cells = (one["network"], one["version"], state, one["weights_sha256"][:12], _gate(one), _beside(one))
        table.add_row(*(plain(cell) for cell in cells), style="bold" if one["live"] else STYLES.get(one["state"]))
    console.print(table)


def _gate(version: Mapping[str, Any]) -> str:
    """ "pass against 1.2.0 (look 1, 14 patients, +0.031)"."""
    found = version["evaluation"]
    if found is None:
        return ""
    said = [f"look {found['look']}"]
    if found["patients"] is not None:
        said.append(f"{found['patients']} patients")
    if found["mean_difference"] is not None:
        said.append(f"mean Dice {found['mean_difference']:+.3f}")
    against = f" against {found['champion']}" if found["champion"] else ""
    return f"{found['outcome']}{against} ({', '.join(said)})"


def _beside(version: Mapping[str, Any]) -> str:
    """ "12 studies: class 1 Dice 0.94 (0.71 at least), 1210 ml for 1190 ml"."""
    found = version["shadow"]
    if found is None:
        return ""
    classes = [
        f"class {one['value']} Dice {one['dice']:.2f} ({one['lowest_dice']:.2f} at least), "
        f"{one['candidate_ml']:.0f} ml for {one['champion_ml']:.0f} ml"
        for one in found["classes"]
        if one["dice"] is not None
    ]
    return f"{found['studies']} studies: {'; '.join(classes) or 'nothing in any'}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
