"""What came of asking for one service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """One service of the peer.

    Attributes:
        works: None where nobody knows.
        said: what was tried, and what came of it.
        status: of the last response, where there was one.
        dropped: the peer ended the association when it was asked.
    """

    name: str
    works: bool | None
    said: str
    status: int | None = None
    dropped: bool = False
