"""Which networks stay warm: those that fit into the memory of the device; the least recently used goes first.

Pure sums; who is asked to go, and what happens to a job that has to wait, is the business of `hosts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models import experience

#: what a host holds before it has any weights: Python, torch and MONAI, or a CUDA context
BASE_BYTES = 600_000_000
#: of a network that was never measured: its weights, as often, for windows and what lies between its layers
WEIGHTS_TIMES = 4
#: an idle host that holds so much more than when it was loaded has a leak
GROWN_TIMES, GROWN_BYTES = 2.0, 500_000_000


@dataclass(frozen=True)
class Limits:
    """What the model hosts of this machine may take together.

    Attributes:
        memory_bytes: of the device; 0: what is free.
        warm: networks that stay loaded; 0: as many as fit.
    """

    memory_bytes: int = 0
    warm: int = 0


@dataclass(frozen=True)
class Tenant:
    """A host that is there.

    Attributes:
        held, peak: bytes; the latter what it may come to hold while it works.
        busy: at work, or still starting.
        last: when it was last used.
    """

    card_sha256: str
    held: int
    peak: int
    busy: bool
    last: float


def needed(known: Path | None, weights: Path, limits: Limits) -> int:
    """Bytes that a network will hold at its peak: as in its last run, else by the size of its weights.

    More than everything is no reason to wait for ever: such a network gets the device alone, and climbs down.
    """
    measured = experience.last_peak(known) if known else None
    size = weights.stat().st_size if weights.is_file() else 0
    estimate = BASE_BYTES + WEIGHTS_TIMES * size
    wanted = measured or estimate
    return min(wanted, limits.memory_bytes) if limits.memory_bytes else wanted


def shortage(need: int, free: int | None, tenants: Sequence[Tenant], limits: Limits) -> int:
    """Bytes that lack for one more host; 0 or less: it fits.

    Args:
        free: on the device; None: not known.
    """
    promised = sum(max(0, one.peak - one.held) for one in tenants if one.busy)
    lacks = [0]
    if free is not None:
        lacks.append(need - (free - promised))
    if limits.memory_bytes:
        lacks.append(need - (limits.memory_bytes - promised - sum(one.held for one in tenants)))
    return max(lacks)


def too_many(tenants: Sequence[Tenant], limits: Limits) -> bool:
    """Whether one has to go before another one comes."""
    return bool(limits.warm) and len(tenants) >= limits.warm


def goes_first(tenants: Sequence[Tenant], *, busy: bool = False) -> Tenant | None:
    """The one of the idle ones, or of those at work, that was not used for the longest time."""
    return min((one for one in tenants if one.busy == busy), key=lambda one: one.last, default=None)


def has_grown(held: int, loaded: int, limits: Limits) -> bool:
    """Whether an idle host holds so much more than when it was loaded that it has to start anew.

    Where all hosts together have a limit, one alone may keep no more than half of it while it does nothing.
    """
    if limits.memory_bytes and held > limits.memory_bytes // 2:
        return held > 1.5 * loaded
    return held > GROWN_TIMES * loaded + GROWN_BYTES
