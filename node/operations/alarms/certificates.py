"""When a certificate ends, read from its PEM file (RFC 5280 4.1.2.5) without a library for the rest of it."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
SEQUENCE, UTC_TIME, GENERALIZED_TIME, VERSION = 0x30, 0x17, 0x18, 0xA0


def ends(file: Path) -> float:
    """When the first certificate of a file to end does so, in seconds since 1970.

    Raises:
        OSError: it cannot be read.
        ValueError: there is no certificate in it.
    """
    found = PEM.findall(file.read_text(encoding="ascii", errors="replace"))
    if not found:
        raise ValueError("there is no certificate in it")
    return min(_not_after(ssl.PEM_cert_to_DER_cert(one)) for one in found)


def _not_after(der: bytes) -> float:
    try:
        _, certificate, _ = _element(der)
        _, rest, _ = _element(certificate)  # TBSCertificate
        tag, _, after = _element(rest)
        if tag == VERSION:
            rest = after
        for _ in ("serialNumber", "signature", "issuer"):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        _, _, rest = _element(validity)
        tag, text, _ = _element(rest)
    except IndexError:
        raise ValueError("its certificate cannot be read") from None
    form = {UTC_TIME: "%y%m%d%H%M%SZ", GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(tag)
    if form is None:
        raise ValueError("its certificate cannot be read")
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content, and what follows (X.690 8.1)."""
    tag, length, start = der[0], der[1], 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[2 : 2 + size], "big"), 2 + size
    if len(der) < start + length:
        raise IndexError
    return tag, der[start : start + length], der[start + length :]
