"""A session with a DICOMweb server: what it is told of us, what is trusted, and why there is no answer.

Redirects are not followed, and no sentence holds more of the URL than its host: it may hold a secret.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from ..errors import Refused, Unavailable
from ..tls.files import SYSTEM, Trust, load_trust
from .target import Target, Web

CONNECT_SECONDS = 15.0


class _Credentials(requests.auth.AuthBase):
    """What a destination is told of us: read from the files for every request, so that they can be renewed.

    It also stands where there are none: without it, requests would look for some in ~/.netrc.
    """

    def __init__(self, target: Target, web: Web) -> None:
        self._target, self._web = target, web

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._web.token_file is not None:
            request.headers["Authorization"] = f"Bearer {self._secret(self._web.token_file)}"
        elif self._web.password_file is not None:
            # as bytes: requests would encode text as Latin-1 (RFC 7617: UTF-8 is what servers take)
            password = self._secret(self._web.password_file).encode()
            return requests.auth.HTTPBasicAuth(self._web.user.encode(), password)(request)
        return request

    def _secret(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise Unavailable("no-credentials", f"{file}, for {self._target.name}, cannot be read: {why}") from None


class Session(requests.Session):
    """A session that trusts what the configuration says."""

    def __init__(self, target: Target, web: Web, ae_title: str) -> None:
        super().__init__()
        self.auth = _Credentials(target, web)
        self.headers["User-Agent"] = f"planimeter ({ae_title})"
        self._trust = web.trust
        self._trusts = web.trust == SYSTEM

    def get_adapter(self, url: str | bytes) -> Any:
        if not self._trusts and str(url).lower().startswith("https:"):
            self.mount("https://", _Trusting(self._trust))
            self._trusts = True
        return super().get_adapter(url)


class _Trusting(HTTPAdapter):
    """Verifies by these authorities and what they have revoked, whatever bundles requests and the environment name.

    Raises:
        Unavailable: `tls-files`.
    """

    def __init__(self, trust: Trust) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            load_trust(self._context, trust)
        except Refused as refusal:  # it may be mended: what is to be sent waits
            raise Unavailable(refusal.code, refusal.sentence) from None
        super().__init__()

    def init_poolmanager(self, *size: Any, **options: Any) -> Any:
        return super().init_poolmanager(*size, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        del verify  # the name of a bundle in the environment, perhaps
        return super().build_connection_pool_key_attributes(request, True, cert)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Nothing is added to the context."""
        conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None


def why_broken(target: Target, error: requests.exceptions.RequestException) -> str:
    """Why there is no answer, in words without the URL."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"{target.name} cannot be reached: no connection in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{target.name} cannot be reached: the proxy does not answer"
    if isinstance(error, requests.exceptions.Timeout):
        return f"{target.name} did not answer in time"
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return f"{target.name} redirects to another place; set its url to that"
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{target.name} cannot be trusted: {cause.verify_message}; see ca_file"
    if isinstance(cause, ssl.SSLError):
        return f"{target.name} cannot be reached over TLS: {cause.reason or 'no handshake'}"
    if isinstance(cause, OSError) and cause.strerror:
        return f"{target.name} cannot be reached: {cause.strerror}"
    return f"{target.name} cannot be reached: the connection broke ({type(cause).__name__})"


def _innermost(error: BaseException) -> BaseException:
    """What requests and urllib3 have wrapped, in one of three ways."""
    inner: Any = error
    while True:
        inside = [getattr(inner, "reason", None), *reversed(inner.args), inner.__cause__]
        wrapped = next((one for one in inside if isinstance(one, BaseException)), None)
        if wrapped is None:
            return inner
        inner = wrapped
