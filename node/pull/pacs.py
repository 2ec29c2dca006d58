"""A PACS that can be asked for studies, and how much of it is borne with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Literal

from ..outbound.target import Target

Way = Literal["move", "get", "wado"]


@dataclass(frozen=True)
class Pacs:
    """A PACS.

    Attributes:
        name: of the peer in the configuration.
        target: where its Query/Retrieve SCP or its DICOMweb server is.
        way: how its studies are retrieved.
        counts: whether it is asked how many images a study has before that counts as complete.
        complete_seconds: how long a quiet study waits for images that the PACS says to have.
        teaches: whether outlines among what it gives may become labels.
        priors: whether it is asked for earlier studies, to compare with.
        reconcile: whether it is asked every day what it has that never came.
        modalities: of which; none named: of all.
    """

    name: str
    target: Target
    way: Way
    counts: bool = False
    complete_seconds: float = 1800.0
    teaches: bool = False
    priors: bool = False
    reconcile: bool = False
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is borne with.

    Attributes:
        timeout_seconds: for an answer to a query.
        silent_seconds: that a retrieval may go on without any sign of life, such as while a tape is fetched.
        study_seconds: that one study may take.
        most_matches: answers to one query.
        most_images: of one study.
        reserve_bytes: that stay free on the disk.
    """

    timeout_seconds: float = 60.0
    silent_seconds: float = 300.0
    study_seconds: float = 3600.0
    most_matches: int = 1000
    most_images: int = 20_000
    reserve_bytes: int = 0


@dataclass(frozen=True)
class FetchPolicy:
    """How a node fetches.

    Attributes:
        pacs: the peers that can be asked, by name.
        port: of our receiver, which a PACS has to know.
        wait_seconds: from a time of the day until jobs may fetch.
        prior_seconds: how long a study waits for an earlier one that is fetched.
        reconcile_at: the time of the day when PACS are asked what never came; None: never.
        reconcile_days: so many days are gone through every day.
        reconcile_fetch: whether what never came is fetched then.
    """

    pacs: Mapping[str, Pacs]
    limits: Limits
    port: int
    wait_seconds: Callable[[time], float]
    prior_seconds: float = 600.0
    reconcile_at: time | None = None
    reconcile_days: int = 1
    reconcile_fetch: bool = False

    @property
    def patience(self) -> dict[str, float]:
        """Of the PACS that count: how long a quiet study waits for images that the PACS has."""
        return {name: one.complete_seconds for name, one in self.pacs.items() if one.counts}
