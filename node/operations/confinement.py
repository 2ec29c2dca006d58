"""How far networks, trainings and decoders are confined on this machine, for whoever runs it."""

from __future__ import annotations

from models.confine.process import STILL, Part, lacks
from models.confine.process import sentence as meant
from models.confine.rights import Demand

from ..errors import Refused

NOT_WANTED = "`confine` in [work] is off"


def lacking(demand: Demand) -> dict[Part, str]:
    """What is not taken from them here, and why; empty where they are confined wholly."""
    return dict.fromkeys(Part, NOT_WANTED) if demand is Demand.OFF else lacks()


def sentence(demand: Demand) -> str:
    """What that means; empty where they are confined wholly."""
    return meant(found) if (found := lacking(demand)) else ""


def require(demand: Demand) -> None:
    """Raises:
    Refused: `not-confined`: it is demanded, and the kernel cannot do it.
    """
    if demand is Demand.REQUIRE and (said := sentence(demand)):
        raise Refused("not-confined", f"{said}. `confine` in [work] requires it")


def overview(demand: Demand) -> list[dict[str, str]]:
    """Line by line, for `planimeter status`; the keys are kept from version to version."""
    found = lacking(demand)
    return [
        {
            "part": part,
            "state": "lacking" if part in found else "confined",
            "can": STILL[part],
            "reason": found.get(part, ""),
        }
        for part in Part
    ]
