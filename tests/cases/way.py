"""The way of a case: a fresh node with the network installed as a person would, images by C-STORE, what came back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from models.card import FILE
from node.demo.toy_pacs import ToyPacs
from tests.cases.case import Case, Place, Returned, Went
from tests.running import RunningNode, planimeter
from tests.waiting import wait_until

QUIET_SECONDS = 2
SETTINGS = """
[receive]
quiet_seconds = {quiet}

[work]
workers = 1

[[peer]]
name = "scanner"
ae_title = "SCANNER"
address = "127.0.0.1"
may_send = true

[[peer]]
name = "pacs"
ae_title = "{ae_title}"
destination = {{ host = "127.0.0.1", port = {port} }}

[[route]]
name = "case"
networks = ["{network}"]
destinations = ["pacs"]
"""
UNDER_WAY = {"arriving", "waiting", "running", "sending"}
LONGEST_SECONDS = 900.0
T = TypeVar("T")


def go(case: Case, place: Place) -> Went:
    """One run: from nothing to what came back, judged.

    Raises:
        AssertionError: a study did not come to its end, or other objects came back than the case says.
    """
    place.work.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    images = _timed(seconds, "images written", lambda: case.images(place))
    brought = _timed(seconds, "network made", lambda: case.network(place))
    assert not (brought.bundle / FILE).exists(), "its card is given at the command"
    with tempfile.TemporaryDirectory(prefix="planimeter-case-") as home, ToyPacs() as pacs:
        returned = _sent_through(Path(home), place, brought.bundle, brought.card, images, pacs, seconds)
    found = {str(ds.Modality) for ds in returned.objects}
    assert found == set(case.objects), f"{sorted(found)} came back, and not {sorted(case.objects)}"
    return Went(place.run, brought, returned, case.judge(place, returned))


def _timed(seconds: dict[str, float], what: str, do: Callable[[], T]) -> T:
    begun = time.monotonic()
    made = do()
    seconds[what] = time.monotonic() - begun
    return made


def _sent_through(
    home: Path, place: Place, bundle: Path, card: Path, images: Path, pacs: ToyPacs, seconds: dict[str, float]
) -> Returned:
    network = next(line.split('"')[1] for line in card.read_text().splitlines() if line.startswith("name ="))
    words = {"quiet": QUIET_SECONDS, "ae_title": pacs.ae_title, "port": pacs.port, "network": network}
    config = place.work / "planimeter.toml"
    config.write_text(SETTINGS.format(**words))
    given = ("--home", str(home), "--config", str(config))
    commands = [("models", "add", str(bundle), "--card", str(card)), ("models", "enable", network)]
    planimeter("upgrade", *given)
    for command in commands:
        _timed(seconds, f"models {command[1]}", lambda command=command: planimeter(*command, *given))
    node = RunningNode(home, ("--config", str(config)), {})
    _timed(seconds, "node started", node.start)
    try:
        to = f"PLANIMETER@127.0.0.1:{node.port}"
        send = ("send", str(images), to, "--ae-title", "SCANNER")
        _timed(seconds, "images sent", lambda: planimeter(*send))
        status = _timed(seconds, "last image to last result", lambda: _ended(node))
    finally:
        node.stop()
    typed = [*commands, ("run", "--config", str(config)), ("send", str(images), "PLANIMETER@127.0.0.1:11112")]
    said = tuple(" ".join(("planimeter", *one)).replace(f"{place.work}/", "") for one in typed)
    return Returned(images, tuple(pacs.received), status, seconds, said)


def _ended(node: RunningNode) -> dict[str, list[dict[str, Any]]]:
    """The status once every study has come to an end; that end has to be a good one."""

    def ended() -> dict[str, list[dict[str, Any]]]:
        status = node.status()
        states = {str(study["state"]) for study in status["studies"]}
        return status if states and not states & UNDER_WAY else {}

    status = wait_until("every study has come to its end", ended, LONGEST_SECONDS, every=1.0)
    reasons = [f"{one['state']}: {one['reason']}" for one in status["studies"] if one["state"] != "done"]
    assert not reasons, "; ".join(reasons) + "\n" + node.log[-3000:]
    return status


def all_runs(case: Case, place: Place) -> list[Went]:
    """Every run of a case, each in a folder of its own."""
    return [go(case, replace(place, run=run, work=place.work / (run or "run"))) for run in case.runs]
