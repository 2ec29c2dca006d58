"""Our side of TLS when we call a peer: whom we trust, what we show, and why a connection broke."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from dataclasses import dataclass
from typing import Any

from ..errors import Refused, Unavailable
from . import words
from .files import SYSTEM, Pair, Trust, load_pair, load_trust
from .profile import Profile, harden

ALERT_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Calling:
    """How a peer is called over TLS.

    Attributes:
        pair: what it is shown of us, if it asks.
        name: that its certificate has to have; empty: the host that is called.
        sha256: of certificates: it has to be one of these, and nothing else of it counts; none: it is verified.
    """

    trust: Trust = SYSTEM
    pair: Pair | None = None
    profile: Profile = Profile.BCP195
    name: str = ""
    sha256: frozenset[str] = frozenset()


class Attempt:
    """One call over TLS. Contexts are made for each, so changed files hold for the next one.

    Attributes:
        context: for the connection.
        why: what ended it, as far as that was TLS.

    Args:
        who: is called, for that.
        verify: its certificate; else any will do.

    Raises:
        Unavailable: `tls-files`, `key-readable`.
    """

    def __init__(self, how: Calling, who: str = "the peer", *, verify: bool = True) -> None:
        self.why: Unavailable | None = None
        self.context = _context(how, verify=verify)
        attempt, pinned = self, how.sha256 if verify else frozenset[str]()

        class _Line(ssl.SSLSocket):
            """pynetdicom tells nobody why a connection broke; so it is noted here."""

            def do_handshake(self, block: bool = False) -> None:
                try:
                    super().do_handshake(block)
                    _require_pinned(self, pinned)
                except OSError as error:
                    attempt.note(error, who)
                    raise

            def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
                try:
                    return super().recv(buflen, flags)
                except ssl.SSLError as error:  # TLS 1.3 says only now that it wanted a certificate
                    attempt.note(error, who)
                    raise

            def send(self, data: Any, flags: int = 0) -> int:
                try:
                    return super().send(data, flags)
                except OSError:  # it was reset, and why may still lie here unread
                    self.settimeout(ALERT_SECONDS)
                    with contextlib.suppress(OSError):
                        self.recv(1)
                    raise

            def shutdown(self, how: int) -> None:
                try:
                    super().shutdown(how)
                except OSError:  # the peer was faster: pynetdicom would leave it open
                    self.close()
                    raise

        self.context.sslsocket_class = _Line

    def note(self, error: OSError, who: str) -> None:
        """Keep why it ended, in words; the error itself would keep its connection alive."""
        self.why = Unavailable(*words.of_handshake(error, who, "our certificate"))


class Unpinned(ssl.SSLCertVerificationError):
    """The certificate is another one than the one that was written down."""

    verify_code, verify_message = 0, "it is another one than those in `certificate_sha256`"


def _require_pinned(line: ssl.SSLSocket, pinned: frozenset[str]) -> None:
    der = line.getpeercert(binary_form=True) or b""
    if pinned and hashlib.sha256(der).hexdigest() not in pinned:
        raise Unpinned(1, "other certificate")


def _context(how: Calling, *, verify: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    harden(made, how.profile)
    try:
        if how.pair is not None:
            load_pair(made, how.pair)
        if verify and not how.sha256:
            load_trust(made, how.trust)
            return made
    except Refused as refusal:  # it may be mended: what is to be sent waits
        raise Unavailable(refusal.code, refusal.sentence) from None
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made
