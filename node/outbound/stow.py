"""Send stored objects by STOW-RS, and ask for a sign of life by QIDO-RS (PS3.18 10.5 and 10.6).

One request per object: its receipt is its own, and a failure keeps no other back. The body is streamed from the file:
`store_instances` of dicomweb-client would write every data set anew, hold it three times in memory, and drop the
reasons of a 409. Redirects are not followed, and no sentence holds more of the URL than its host: it may hold a secret.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests
from dicomweb_client import DICOMwebClient

from ..errors import Unavailable
from .scu import Parcel, Receipt, Unheard
from .session import CONNECT_SECONDS, Session, why_broken
from .statuses import Answer
from .stow_response import OF_GATEWAYS, not_now, receipt
from .target import Target, Web

CHUNK_BYTES = 1 << 18
LONGEST_ANSWER = 1 << 20
ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"
#: no object has it: what is asked for to hear whether somebody answers
NO_STUDY = "2.25.0"
#: answers to a query by which a gateway or a proxy says that it cannot ask anybody
NOBODY_THERE = (*OF_GATEWAYS, 407, 429, 503)


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

    def __init__(
        self, target: Target, web: Web, session: requests.Session, ae_title: str, timeout_seconds: float
    ) -> None:
        self._target, self._session, self._ae_title = target, session, ae_title
        self._url = f"{web.url.rstrip('/')}/studies"
        self._timeout = (min(timeout_seconds, CONNECT_SECONDS), timeout_seconds)

    def send(self, parcel: Parcel) -> Receipt:
        """Send one object.

        Raises:
            Unavailable: `unreachable`, `not-authorised`, `wrong-url`, `no-credentials`: it says nothing about the
                object; this one and all that follow were not stored.
            Unheard: a gateway says that nobody behind it answers, to a query either; this one may have been stored.
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
            why = why_broken(self._target, error)
            if not body.begun or isinstance(error, requests.exceptions.SSLError):
                raise Unavailable("unreachable", why) from None
            return Receipt(Answer.RETRY, None, why, silent=True, perhaps=True)
        except OSError as error:  # the CA file cannot be read
            raise Unavailable("unreachable", f"{self._target.name}: {error}".split("\n")[0]) from None
        try:
            location = response.headers.get("Location", "")
            return receipt(self._target, response.status_code, location, answer, parcel.sop_class)
        except Unheard as error:
            if not self._answers():
                raise
            said = f"{error.sentence} with this object, though a query is answered"
            return Receipt(Answer.RETRY, None, said, perhaps=True)

    def _answers(self) -> bool:
        """Whether what is behind the gateway is there: then it is the object that it cannot take, or not in time.

        A server that answers no query, or none of ours, is there all the same.
        """
        try:
            return _queried(self._target, self._ae_title, self._timeout[0]) not in NOBODY_THERE
        except Unavailable:
            return False


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
    with Session(target, target.web, ae_title) as session:
        yield WebSender(target, target.web, session, ae_title, timeout_seconds)


def echo(target: Target, ae_title: str, timeout_seconds: float) -> None:
    """Ask for a study that nobody has: an answer means that the server is there, and takes our credentials.

    Raises:
        Unavailable: with the reason.
    """
    status = _queried(target, ae_title, timeout_seconds)
    if status >= 400:
        said = not_now(target, status)
        raise said or Unavailable("unreachable", f"{target.name} answers a query with HTTP {status}")


def _queried(target: Target, ae_title: str, timeout_seconds: float) -> int:
    """The HTTP status of the answer.

    Raises:
        Unavailable: there is none, or it leads elsewhere.
    """
    assert target.web is not None
    with Session(target, target.web, ae_title) as session:
        session.max_redirects = 0
        timeout = (min(timeout_seconds, CONNECT_SECONDS), timeout_seconds)
        client = DICOMwebClient(target.web.url.rstrip("/"), session=session, timeout=timeout)
        client.set_http_retry_params(retry=False)
        try:
            client.search_for_studies(limit=1, search_filters={"StudyInstanceUID": NO_STUDY})
        except requests.exceptions.HTTPError as error:
            return error.response.status_code
        except requests.exceptions.RequestException as error:
            raise Unavailable("unreachable", why_broken(target, error)) from None
        except OSError as error:
            raise Unavailable("unreachable", f"{target.name}: {error}".split("\n")[0]) from None
    return 200


def _whole(response: requests.Response) -> bytes:
    """The answer, as far as anybody would read it."""
    answer = b""
    for chunk in response.iter_content(CHUNK_BYTES):
        answer += chunk
        if len(answer) > LONGEST_ANSWER:
            break
    return answer
