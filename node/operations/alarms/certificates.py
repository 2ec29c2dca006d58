"""When a certificate or a list of revoked ones ends, read from its PEM file without a library for the rest of it."""

from __future__ import annotations

import base64
import math
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
LIST = re.compile(r"-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----", re.DOTALL)
INTEGER, UTC_TIME, GENERALIZED_TIME, VERSION = 0x02, 0x17, 0x18, 0xA0
TIMES = {UTC_TIME: "%y%m%d%H%M%SZ", GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}


def ends(file: Path) -> float:
    """When the first certificate of a file to end does so, in seconds since 1970.

    Raises:
        OSError: it cannot be read.
        ValueError: there is no certificate in it.
    """
    return _first_end(file, PEM, "certificate", ssl.PEM_cert_to_DER_cert, _not_after)


def list_ends(file: Path) -> float:
    """When the first list of revoked certificates (CRL) of a file to end does so; one may say no end: infinity.

    Raises:
        OSError: it cannot be read.
        ValueError: there is no list in it.
    """
    return _first_end(file, LIST, "list of revoked certificates", base64.b64decode, _next_update)


def _first_end(
    file: Path, pattern: re.Pattern[str], what: str, der: Callable[[str], bytes], end: Callable[[bytes], float]
) -> float:
    found = pattern.findall(file.read_text(encoding="ascii", errors="replace"))
    if not found:
        raise ValueError(f"there is no {what} in it")
    try:
        return min(end(der(one)) for one in found)
    except IndexError:
        raise ValueError(f"its {what} cannot be read") from None


def _not_after(der: bytes) -> float:
    """RFC 5280 4.1: the second time of the validity, which is the fourth part after an optional version."""
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
    return _time(tag, text)


def _next_update(der: bytes) -> float:
    """RFC 5280 5.1: the fifth part, an optional version counted, which is optional itself."""
    _, revoked, _ = _element(der)
    _, rest, _ = _element(revoked)  # TBSCertList
    tag, _, after = _element(rest)
    if tag == INTEGER:
        rest = after
    for _ in ("signature", "issuer", "thisUpdate"):
        _, _, rest = _element(rest)
    tag, text, _ = _element(rest) if rest else (0, b"", b"")
    return _time(tag, text) if tag in TIMES else math.inf


def _time(tag: int, text: bytes) -> float:
    if tag not in TIMES:
        raise IndexError
    return datetime.strptime(text.decode("ascii"), TIMES[tag]).replace(tzinfo=UTC).timestamp()


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content, and what follows (X.690 8.1)."""
    tag, length, start = der[0], der[1], 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[2 : 2 + size], "big"), 2 + size
    if len(der) < start + length:
        raise IndexError
    return tag, der[start : start + length], der[start + length :]
