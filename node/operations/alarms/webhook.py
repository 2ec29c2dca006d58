"""Send a message to a webhook: JSON by HTTP POST, signed where a secret was agreed on.

`X-Planimeter-Signature: sha256=HEX` is HMAC-SHA-256 (RFC 2104) of `X-Planimeter-Timestamp`, a full stop and the body,
with the secret as key; who compares it knows that the message is ours, and by the time that it is not an old one.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import requests

from ...errors import Failed
from .rules import Recipient
from .texts import Text

TIMEOUT_SECONDS = 15.0


def send(recipient: Recipient, text: Text, number: int, now: float, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Post one message; any 2xx is an acceptance.

    Args:
        number: of the message: the same when it is tried again.
        now: seconds since 1970.

    Raises:
        Failed: `webhook-not-taken`.
    """
    body = json.dumps({"message": number, **text.values}, sort_keys=True).encode()
    headers = {"Content-Type": "application/json", "X-Planimeter-Timestamp": str(int(now))}
    try:
        if recipient.secret_file is not None:
            headers["X-Planimeter-Signature"] = signature(_secret(recipient), int(now), body)
        answer = requests.post(
            recipient.webhook,
            data=body,
            headers=headers,
            timeout=timeout_seconds,
            allow_redirects=False,  # whoever redirects might send it anywhere
            stream=True,
            verify=str(recipient.ca_file) if recipient.ca_file else True,
        )
        answer.close()
    except (requests.RequestException, ValueError) as error:
        raise Failed("webhook-not-taken", f"the webhook of {recipient.name}: {_kind(error)}") from None
    if 300 <= answer.status_code < 400:
        said = f"it redirects ({answer.status_code}): write down the address that it leads to"
        raise Failed("webhook-not-taken", f"the webhook of {recipient.name}: {said}")
    if not 200 <= answer.status_code < 300:
        raise Failed("webhook-not-taken", f"the webhook of {recipient.name} answers {answer.status_code}")


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """What the header says."""
    return "sha256=" + hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def _secret(recipient: Recipient) -> bytes:
    assert recipient.secret_file is not None
    try:
        return recipient.secret_file.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"the file of the secret cannot be read: {error.strerror}") from None


def _kind(error: Exception) -> str:
    """A sentence without the address, which may hold a token."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    return (
        str(error)
        if isinstance(error, ValueError) and not isinstance(error, requests.RequestException)
        else type(error).__name__
    )
