"""What the other side of a TLS connection has shown of itself."""

from __future__ import annotations

import hashlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any

SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}


@dataclass(frozen=True)
class Shown:
    """Of a connection over TLS.

    Attributes:
        sha256: of the certificate; empty where it showed none.
        subject: of the certificate, as `CN=ct1, O=Hospital`.
        names: its names, in small letters: every subjectAltName, and the common name.
    """

    version: str
    cipher: str
    sha256: str = ""
    subject: str = ""
    names: frozenset[str] = frozenset()


def of(line: socket.socket | None) -> Shown | None:
    """What was shown; None where the connection is in the clear. Certificates are judged in the handshake."""
    if not isinstance(line, ssl.SSLSocket):
        return None
    cipher = line.cipher()
    der = line.getpeercert(binary_form=True)
    said: dict[str, Any] = dict(line.getpeercert() or {})
    alternative = {str(value).lower() for _, value in said.get("subjectAltName", ()) if isinstance(value, str)}
    common = {value.lower() for part in said.get("subject", ()) for key, value in part if key == "commonName"}
    return Shown(
        line.version() or "",
        cipher[0] if cipher else "",
        hashlib.sha256(der).hexdigest() if der else "",
        distinguished(said.get("subject")),
        frozenset(alternative | common),
    )


def distinguished(parts: Any) -> str:
    """A distinguished name as `CN=pacs, O=Hospital`."""
    return ", ".join(f"{SHORT.get(key, key)}={value}" for part in parts or () for key, value in part)
