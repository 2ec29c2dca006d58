"""How a receiver listens."""

from __future__ import annotations

from dataclasses import dataclass

from .association.connection import PATIENCE, Patience


@dataclass(frozen=True, kw_only=True)
class Door:
    """The ports of a receiver and what it bears.

    Attributes:
        port: in the clear; None: there is none.
        tls_port: over TLS, where the receiver is given an `Acceptor`.
        associations: at a time.
        connections_per_address: at a time, associations and others.
        waiting_connections: at a time, that have no association yet.
        idle_seconds: an association on which nothing comes for so long is aborted.
        max_pdu_bytes: P-DATA-TF that is offered to be taken.
        largest_bytes: of an object.
        loop: "own" or "pynetdicom".
    """

    ae_title: str
    address: str
    port: int | None
    associations: int
    idle_seconds: float
    max_pdu_bytes: int
    reserve_bytes: int
    refuse_bytes: int = 0
    connections_per_address: int = 100
    waiting_connections: int = 200
    largest_bytes: int = 8_000_000_000
    loop: str = "own"
    tls_port: int = 0
    patience: Patience = PATIENCE
