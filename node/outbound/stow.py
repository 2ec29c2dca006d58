"""Send stored objects by STOW-RS, and ask for a sign of life by QIDO-RS (PS3.18 10.5 and 10.6).

One request per object: its receipt is its own, and a failure keeps no other back. The body is streamed from the file:
`store_instances` of dicomweb-client would write every data set anew, hold it three times in memory, and drop the
reasons of a 409. Redirects are not followed, and no sentence holds more of the URL than its host: it may hold a secret.
"""

from __future__ import annotations

import contextlib
import secrets
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient

from ..errors import Unavailable
from .scu import Parcel, Receipt
from .statuses import Answer
from .stow_response import not_now, receipt
from .target import Target, Web

CHUNK_BYTES = 1 << 18
LONGEST_ANSWER = 1 << 20
CONNECT_SECONDS = 15.0
ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"
#: no object has it: what is asked for to hear whether somebody answers
NO_STUDY = "2.25.0"


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


class _Session(requests.Session):
    """A session that trusts what the configuration says.

    Without this a certificate bundle that the environment names (REQUESTS_CA_BUNDLE) would take the place of ca_file.
    """

    def __init__(self, target: Target, web: Web, ae_title: str) -> None:
        super().__init__()
        self.auth = _Credentials(target, web)
        self.headers["User-Agent"] = f"planimeter ({ae_title})"
        self._ca_file = str(web.ca_file) if web.ca_file else None

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        return super().merge_environment_settings(url, proxies, stream, self._ca_file or verify, cert)


class _Body:
    """One object as multipart/related, streamed from its file as it is (PS3.18 8.6.1.2).

    It has a length, so that the request is sent with Content-Length: not every server takes chunks.

    Attributes:
        begun: whether any of it was asked for: the server was there.
    """

    def __init__(self, file: Path) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        self._file = file
        self._head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._length = len(self._head) + file.stat().st_size + len(self._tail)
        self.begun = False

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        yield self._head
        with self._file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
        yield self._tail


class WebSender:
    """A session with one origin server; made by `connect`."""

    def __init__(self, target: Target, web: Web, session: requests.Session, timeout_seconds: float) -> None:
        self._target, self._session = target, session
        self._url = f"{web.url.rstrip('/')}/studies"
        self._timeout = (min(timeout_seconds, CONNECT_SECONDS), timeout_seconds)

    def send(self, parcel: Parcel) -> Receipt:
        """Send one object.

        Raises:
            Unavailable: `unreachable`, `not-authorised`, `wrong-url`, `no-credentials`: it says nothing about the
                object; this one and all that follow were not stored.
        """
        try:
            body = _Body(parcel.file)
        except OSError as error:
            return Receipt(Answer.RETRY, None, f"the object was not sent: {error.strerror}")
        try:
            response = self._session.post(
                self._url,
                data=body,
                headers={"Content-Type": body.content_type, "Accept": ACCEPT},
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            with response:
                answer = _whole(response)
        except requests.exceptions.RequestException as error:
            why = _broken(self._target, error)
            if not body.begun or isinstance(error, requests.exceptions.SSLError):
                raise Unavailable("unreachable", why) from None
            return Receipt(Answer.RETRY, None, why)
        except OSError as error:  # the CA file cannot be read
            raise Unavailable("unreachable", f"{self._target.name}: {error}".split("\n")[0]) from None
        return receipt(self._target, response.status_code, response.headers.get("Location", ""), answer)


@contextlib.contextmanager
def connect(target: Target, ae_title: str, parcels: Sequence[Parcel], timeout_seconds: float) -> Iterator[WebSender]:
    """Begin a session; nothing is sent before the first object.

    Args:
        ae_title: as whom we call, for the server's log.
        parcels: as for `scu.connect`; here nothing is negotiated.

    Raises:
        Unavailable: also by what is sent within, see `WebSender.send`.
    """
    assert target.web is not None
    del parcels
    with _Session(target, target.web, ae_title) as session:
        yield WebSender(target, target.web, session, timeout_seconds)


def echo(target: Target, ae_title: str, timeout_seconds: float) -> None:
    """Ask for a study that nobody has: an answer means that the server is there, and takes our credentials.

    Raises:
        Unavailable: with the reason.
    """
    assert target.web is not None
    with _Session(target, target.web, ae_title) as session:
        session.max_redirects = 0
        timeout = (min(timeout_seconds, CONNECT_SECONDS), timeout_seconds)
        client = DICOMwebClient(target.web.url.rstrip("/"), session=session, timeout=timeout)
        client.set_http_retry_params(retry=False)
        try:
            client.search_for_studies(limit=1, search_filters={"StudyInstanceUID": NO_STUDY})
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            said = not_now(target, status)
            raise said or Unavailable("unreachable", f"{target.name} answers a query with HTTP {status}") from None
        except requests.exceptions.RequestException as error:
            raise Unavailable("unreachable", _broken(target, error)) from None
        except OSError as error:
            raise Unavailable("unreachable", f"{target.name}: {error}".split("\n")[0]) from None


def _whole(response: requests.Response) -> bytes:
    """The answer, as far as anybody would read it."""
    answer = b""
    for chunk in response.iter_content(CHUNK_BYTES):
        answer += chunk
        if len(answer) > LONGEST_ANSWER:
            break
    return answer


def _broken(target: Target, error: requests.exceptions.RequestException) -> str:
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
