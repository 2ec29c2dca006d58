"""Who may read the metrics: whoever knows the token, or calls from a known place; without either, nobody."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ..addresses import plain

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
BEARER = "bearer "


@dataclass(frozen=True)
class Readers:
    """The keys of `[metrics]`."""

    token_file: Path | None = None
    allow: tuple[IPNetwork, ...] = ()

    @property
    def any(self) -> bool:
        """Whether somebody may."""
        return self.token_file is not None or bool(self.allow)

    def may(self, address: str, authorization: str) -> bool:
        """Whether a caller may.

        Args:
            authorization: the header (RFC 6750 2.1); empty where there is none.
        """
        return self._is_near(address) or self._knows_the_token(authorization)

    def _is_near(self, address: str) -> bool:
        try:
            there = plain(address)
        except ValueError:
            return False
        return any(there in network for network in self.allow)

    def _knows_the_token(self, authorization: str) -> bool:
        if self.token_file is None or not authorization.lower().startswith(BEARER):
            return False
        try:
            token = self.token_file.read_bytes().strip()  # read each time: it may be renewed at any time
        except OSError:
            return False
        return bool(token) and hmac.compare_digest(authorization[len(BEARER) :].strip().encode(), token)
