"""What went wrong with a handshake, as a code and a sentence that a person can act on."""

from __future__ import annotations

import ssl

#: what OpenSSL says of a certificate that it does not take (X509_verify_cert_error_string(3)) -> code and words
UNTRUSTED = {
    9: ("certificate-expired", "is not valid yet; look at the clocks"),
    10: ("certificate-expired", "has expired: it needs a new one"),
    18: ("certificate-untrusted", "signs itself, and is not among those that are trusted (`ca_file`)"),
    19: ("certificate-untrusted", "is by an authority that is not among those that are trusted (`ca_file`)"),
    20: ("certificate-untrusted", "is by an authority that is not among those that are trusted (`ca_file`)"),
    21: ("certificate-untrusted", "comes without the certificates between it and an authority in `ca_file`"),
    23: ("certificate-revoked", "was revoked by its authority"),
    26: ("certificate-untrusted", "is not made for this use (its extended key usage)"),
    62: ("certificate-name", "is of another name than the one that was called: see `tls_name`"),
    64: ("certificate-name", "is of another address than the one that was called: see `tls_name`"),
    79: ("certificate-untrusted", "is by what is no authority"),
}
#: what keeps us from judging any certificate: the list of revoked ones
LISTS = {
    3: "`crl_file` has no list of its authority",
    8: "the list of its authority in `crl_file` was not made by that authority",
    11: "the list of its authority in `crl_file` is not valid yet",
    12: "the list of its authority in `crl_file` has expired: put a new one there",
}
#: words of OpenSSL for a peer that has no version in common with us
TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW", "WRONG_SSL_VERSION"})
NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"})
#: alerts that are about a certificate of ours (RFC 8446 6.2)
DISTRUSTS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED")
WANTED = "CERTIFICATE_REQUIRED"


def of_handshake(error: OSError, who: str, whose: str) -> tuple[str, str]:
    """Code and sentence.

    Args:
        who: the other side, such as "the caller".
        whose: what our certificate is to it, such as "ours".
    """
    if isinstance(error, TimeoutError):
        return "tls-stalled", f"{who} did not end the TLS handshake in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_certificate(error, who)
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "certificate-missing", f"{who} shows no certificate, and has to"
    if reason in TOO_OLD or "ALERT_PROTOCOL_VERSION" in reason:
        return "tls-too-old", f"{who} has neither TLS 1.2 nor 1.3 ({shown(error)})"
    if reason == "NO_SHARED_CIPHER" or "ALERT_HANDSHAKE_FAILURE" in reason:
        said = "has no cipher suite that our profile allows, or wants a certificate that it is not shown"
        return "tls-no-cipher", f"{who} {said} ({shown(error)})"
    if WANTED in reason:
        return "certificate-wanted", f"{who} wants a certificate of ours, and is shown none"
    if any(word in reason for word in DISTRUSTS):
        return "tls-distrusted", f"{who} does not trust {whose} ({shown(error)})"
    if reason in NOT_TLS:
        return "not-tls", f"{who} does not speak TLS ({shown(error)})"
    if isinstance(error, ConnectionError | ssl.SSLEOFError):
        return "tls-failed", f"{who} ended the connection in the TLS handshake: perhaps it speaks no TLS there"
    return "tls-failed", f"{who} broke off the TLS handshake ({shown(error)})"


def _of_certificate(error: ssl.SSLCertVerificationError, who: str) -> tuple[str, str]:
    if error.verify_code in LISTS:
        return "crl-unusable", f"the certificate of {who} cannot be judged: {LISTS[error.verify_code]}"
    known = UNTRUSTED.get(error.verify_code, ("certificate-untrusted", f"is not trusted: {error.verify_message}"))
    return known[0], f"the certificate of {who} {known[1]}"


def shown(error: OSError) -> str:
    """The short form of an error, in small letters."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error) or type(error).__name__
