"""What a site decides about its pages, as values."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from ..addresses import plain
from ..inbound.guests import Limits
from ..operations.passwords import Passwords

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long browsers are waited for.

    Attributes:
        handshake_seconds: until TLS is agreed upon.
        head_seconds: for the whole head of a request, since the connection or the end of the answer before.
        body_seconds: for what follows the head; and a second more for each `body_bytes` that have come.
        unread_seconds: until a browser takes more of its answer.
    """

    handshake_seconds: float = 10
    head_seconds: float = 15
    body_seconds: float = 30
    body_bytes: int = 4096
    unread_seconds: float = 60


ROOM = Limits(per_address=100, waiting=200, associations=200)


@dataclass(frozen=True, kw_only=True)
class WebPolicy:
    """The keys of `[web]`.

    Attributes:
        hosts: names that browsers may call the node by, in lower case, without a port.
        proxies: who is believed about who called; None: nobody stands in front.
        viewer_link: with {study_uid}; empty: none.
        room: connections of one address, those that wait for a request, and requests that are being answered.
    """

    address: str = "127.0.0.1"
    port: int = 0
    hosts: frozenset[str] = frozenset()
    certificate: Path | None = None
    key: Path | None = None
    proxies: tuple[IPNetwork, ...] | None = None
    session_hours: float = 10
    idle_minutes: float = 30
    viewer_link: str = ""
    passwords: Passwords = field(default_factory=Passwords)
    patience: Patience = Patience()
    room: Limits = ROOM

    @property
    def secure(self) -> bool:
        """Whether browsers speak TLS: cookies are theirs alone then."""
        return self.certificate is not None or self.proxies is not None

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; with the prefix a browser takes it from this very host by TLS alone."""
        return "__Host-planimeter" if self.secure else "planimeter"

    def knows(self, host: str) -> bool:
        """Whether a Host header names this node."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return name.strip("[]").lower() in self.hosts | {"localhost", "127.0.0.1", "::1", self.address}

    def is_proxy(self, address: str) -> bool:
        """Whether a caller is one of the proxies."""
        try:
            there = plain(address)
        except ValueError:
            return False
        return any(there in network for network in self.proxies or ())
