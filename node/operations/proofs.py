"""Where the golden cases of a version held last, and where they did not: events of the record, looked up again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db import events, switches
from models.card import Bundle

HELD, LOST = "golden cases held", "golden cases lost"
NODE = "planimeter"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What became of a version's golden cases in one environment.

    Attributes:
        environment: as the model host describes it.
        faults: of the cases that did not hold; none: all held.
        at: seconds since 1970.
    """

    environment: Mapping[str, str]
    faults: tuple[str, ...]
    at: float

    @property
    def sentence(self) -> str:
        """For people."""
        when = datetime.fromtimestamp(self.at).astimezone().strftime("%Y-%m-%d %H:%M")
        where = f"with torch {self.environment.get('torch')} on {self.environment.get('device')}"
        return f"{when} {where}: {'; '.join(self.faults) or 'all held'}"


def last(tx: Any, bundle: Bundle, environment: Mapping[str, str] | None = None) -> Proof | None:
    """The newest of a version, in one environment or in any; None where they were never run there."""
    for row in events.listing(tx, bundle.card.name):
        if row["what"] not in (HELD, LOST):
            continue
        said = json.loads(row["details"])
        if said["card_sha256"] == bundle.card_sha256 and environment in (None, said["environment"]):
            faults = tuple(said.get("faults", ()))
            return Proof(environment=said["environment"], faults=faults, at=float(row["at"]))
    return None


def note(tx: Any, bundle: Bundle, environment: Mapping[str, str], faults: Sequence[str]) -> None:
    """Remember how they did; a network that lost one is switched off in the same transaction."""
    said = {"version": bundle.card.version, "card_sha256": bundle.card_sha256, "environment": dict(environment)}
    if not faults:
        events.append(tx, NODE, HELD, bundle.card.name, said)
        return
    switches.switch_off(tx, bundle.card.name, NODE)
    events.append(tx, NODE, LOST, bundle.card.name, said | {"faults": list(faults), "on": False})


def set_aside(tx: Any) -> list[dict[str, str]]:
    """The networks that are off because they lost a golden case, and why."""
    found = []
    for name in sorted(switches.switched_off_by(tx, NODE)):
        lost = next((row for row in events.listing(tx, name) if row["what"] == LOST), None)
        if lost is not None:
            faults = "; ".join(json.loads(lost["details"])["faults"])
            found.append({"network": name, "reason": f"golden-lost: {faults}"})
    return found
