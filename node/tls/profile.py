"""The secure transport connection profiles of PS3.15: which versions, ciphers and extensions of TLS there are."""

from __future__ import annotations

import ssl
from enum import StrEnum


class Profile(StrEnum):
    """Of PS3.15 Annex B, after BCP 195 (RFC 8996, RFC 9325)."""

    BCP195 = "bcp195"
    """B.12"""
    MODIFIED = "bcp195-modified"
    """B.13: elliptic curves alone"""


_CURVES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
#: what TLS 1.2 may use, by the names of OpenSSL; those of TLS 1.3 are all of this kind (RFC 8446 B.4)
#: finite fields (DHE) need parameters that a server has to be given: only what we call can have them
SUITES = {
    Profile.BCP195: (*_CURVES, "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256"),
    Profile.MODIFIED: _CURVES,
}
OLDEST = ssl.TLSVersion.TLSv1_2
#: no compression and no renegotiation (RFC 9325 3.3, 3.5), and no tickets: who calls again proves anew who it is
OPTIONS = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE


def harden(context: ssl.SSLContext, profile: Profile) -> None:
    """Leave of a context what the profile allows."""
    context.minimum_version = OLDEST
    context.set_ciphers(":".join(SUITES[profile]))
    context.options |= OPTIONS
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
