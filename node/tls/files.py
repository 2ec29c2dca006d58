"""The files of certificates and keys: judged before they are used. What is in a key leaves this process nowhere."""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused

#: of the certificates in a folder
SUFFIXES = frozenset({".pem", ".crt", ".cer"})

Stamp = tuple[tuple[str, int, int, int], ...]
"""what tells whether files were changed: name, inode, size and time of each"""


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key: PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Trust:
    """Whose certificates are good.

    Attributes:
        ca: authorities: a PEM file, or a folder of such; None: those of the system.
        crl: what they have revoked: a PEM file.
    """

    ca: Path | None = None
    crl: Path | None = None


#: the authorities of the system
SYSTEM = Trust()


def load_pair(context: ssl.SSLContext, pair: Pair) -> None:
    """Show this certificate.

    Raises:
        Refused: `tls-files`: it cannot be read, the two do not belong together; `key-readable`.
    """
    require_private(pair.key)
    try:
        if b"ENCRYPTED" in pair.key.read_bytes():
            said = f"{pair.key} has a password: take it off (`openssl pkey -in KEY -out NEW`, then chmod 600 NEW)"
            raise Refused("tls-files", said)
        context.load_cert_chain(pair.certificate, pair.key)
    except (OSError, ValueError) as error:
        raise _unusable((pair.certificate, pair.key), error) from None


def load_trust(context: ssl.SSLContext, trust: Trust) -> None:
    """Trust these authorities.

    Raises:
        Refused: `tls-files`.
    """
    if trust.ca is None:
        context.load_default_certs()
    else:
        for file in _certificates(trust.ca):
            _load(context, file)
        if not context.cert_store_stats()["x509"]:
            raise Refused("tls-files", f"{trust.ca}: no certificate is in it")
    if trust.crl is not None:
        _load(context, trust.crl)
        if not context.cert_store_stats()["crl"]:
            raise Refused("tls-files", f"{trust.crl}: no list of revoked certificates is in it (PEM: X509 CRL)")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def require_private(key: Path) -> None:
    """As PostgreSQL has it: a key of ours is for us alone, one of root's perhaps for our group.

    Raises:
        Refused: `key-readable`, `tls-files`.
    """
    try:
        found = key.stat()
    except OSError as error:
        raise _unusable((key,), error) from None
    theirs = stat.S_IRWXO | (stat.S_IWGRP | stat.S_IXGRP if found.st_uid == 0 and os.geteuid() else stat.S_IRWXG)
    if found.st_mode & theirs:
        raise Refused("key-readable", f"{key} can be read by others: chmod 600 it; if they did, make another key")


def stamp(paths: Iterable[Path | None]) -> Stamp:
    """As the files are now; of a folder, those in it. One that is not there has a stamp too."""
    return tuple(_stamp(file) for path in paths if path is not None for file in _certificates(path))


def _stamp(file: Path) -> tuple[str, int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), found.st_ino, found.st_size, found.st_mtime_ns


def _certificates(path: Path) -> Iterator[Path]:
    found = [path]
    with contextlib.suppress(OSError):  # also where nobody may look: it is told when it is loaded
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    yield from found


def _load(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=str(file))
    except (OSError, ValueError) as error:
        raise _unusable((file,), error) from None


def _unusable(files: Iterable[Path], error: Exception) -> Refused:
    named = " and ".join(str(file) for file in files)
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return Refused("tls-files", f"{named} do not belong together: this is not the key of this certificate")
    if isinstance(error, ssl.SSLError):
        why = (reason or error.strerror or str(error)).replace("_", " ").lower()
        return Refused("tls-files", f"{named}: no PEM that can be read ({why})")
    return Refused("tls-files", f"{named}: {getattr(error, 'strerror', None) or error}")
