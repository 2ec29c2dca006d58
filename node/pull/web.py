"""Ask a DICOMweb server by QIDO-RS, and retrieve by WADO-RS (PS3.18 10.6 and 10.4).

Answers are read with a limit, and objects are written to files as they come and taken in as they are: dicomweb-client
would hold an answer of any length in memory, and write every object anew.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any

import requests
from pydicom.dataset import Dataset

from ..errors import Failed, NodeError, Refused, Unavailable
from ..outbound.session import CONNECT_SECONDS, Session, why_broken
from ..outbound.stow_response import not_now
from .answer import data_set, listed
from .door import Door
from .multipart import parts
from .pacs import Limits, Pacs
from .query import Answers, Query
from .retrieved import Progress, Retrieved

CHUNK_BYTES = 1 << 18
LONGEST_ANSWER = 1 << 26
JSON = "application/dicom+json, application/json;q=0.5"
#: as they are stored there: what is compressed stays so
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
DONE, NO_CONTENT, NOT_FOUND = (200, 206), 204, 404


class WebFinder:
    """Asks one question after the other; `close` it in the end."""

    def __init__(self, pacs: Pacs, ae_title: str, limits: Limits) -> None:
        assert pacs.target.web is not None
        self._pacs, self._limits = pacs, limits
        self._session = Session(pacs.target, pacs.target.web, ae_title)

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def ask(self, query: Query) -> Answers:
        """What the server answers, at most `most_matches`.

        Raises:
            Unavailable: `unreachable`, `query-failed`, `not-authorised`, `wrong-url`, `no-credentials`.
            Refused: `query-refused`: it does not answer such a query.
        """
        most = self._limits.most_matches
        found: list[Dataset] = []
        unreadable, more = 0, True
        seen: set[str] = set()
        while more and len(found) + unreadable <= most:
            page, more = self._page(query, most + 1 - len(found), len(found) + unreadable)
            new = [one for one in page if json.dumps(one, sort_keys=True) not in seen]
            more = more and bool(new)  # else it knows no offset, and would say the same for ever
            seen |= {json.dumps(one, sort_keys=True) for one in new}
            read = [data_set(one) for one in new]
            found += [one for one in read if one is not None]
            unreadable += read.count(None)
        return Answers(found[:most], len(found) + unreadable > most, unreadable)

    def _page(self, query: Query, limit: int, offset: int) -> tuple[list[Any], bool]:
        """Some of the matches, and whether there are more."""
        matching = dict(query.matching)
        study_uid = matching.pop("StudyInstanceUID", "")
        where = f"studies/{study_uid}/series" if query.level == "SERIES" else "studies"
        if study_uid and query.level == "STUDY":
            matching["StudyInstanceUID"] = study_uid
        params = [*matching.items(), *(("includefield", one) for one in query.returned if one not in matching)]
        params += [("limit", str(limit)), *([("offset", str(offset))] if offset else [])]
        name = self._pacs.name
        with answered(self._session, self._pacs, where, JSON, self._limits, params) as response:
            if response.status_code == NO_CONTENT:
                return [], False
            if response.status_code not in DONE:
                raise _no_answer(self._pacs, response.status_code)
            body = b"".join(_chunks(response, name, 10 * self._limits.timeout_seconds, LONGEST_ANSWER))
            try:
                matches = listed(body)
            except ValueError:
                raise Unavailable("query-failed", f"{name} answers a query with something that is no JSON") from None
        # a server may cut at a limit of its own, and need not say so: only an empty page is the end of it
        return matches, bool(matches) and not (study_uid and query.level == "STUDY")


def _no_answer(pacs: Pacs, status: int) -> NodeError:
    """Why a query has no answer."""
    if 300 <= status < 400:
        return Unavailable("wrong-url", f"{pacs.name} redirects to another place; set its url to that")
    if (away := not_now(pacs.target, status)) is not None:
        return away
    if status >= 500:
        return Unavailable("query-failed", f"{pacs.name} does not answer now: HTTP {status}")
    return Refused("query-refused", f"{pacs.name} does not answer this query: HTTP {status}")


@contextlib.contextmanager
def answered(
    session: Session, pacs: Pacs, where: str, accept: str, limits: Limits, params: list[tuple[str, str]] | None = None
) -> Iterator[requests.Response]:
    """The answer to a GET, to be read within.

    Raises:
        Unavailable: `unreachable`, `no-credentials`.
        Failed: `fetch-failed`: the connection breaks while the answer is read.
    """
    assert pacs.target.web is not None
    seconds, begun = limits.timeout_seconds, False
    try:
        with session.get(
            f"{pacs.target.web.url.rstrip('/')}/{where}",
            params=params,
            headers={"Accept": accept, "Accept-Encoding": "identity"},
            timeout=(min(seconds, CONNECT_SECONDS), seconds),
            allow_redirects=False,
            stream=True,
        ) as response:
            begun = True
            yield response
    except requests.exceptions.RequestException as error:
        why = why_broken(pacs.target, error)
        raise (Failed("fetch-failed", why) if begun else Unavailable("unreachable", why)) from None
    except OSError as error:
        if begun:
            raise
        raise Unavailable("unreachable", f"{pacs.name}: {error}".split("\n")[0]) from None  # ca_file cannot be read


def _chunks(response: requests.Response, name: str, seconds: float, most_bytes: int | None = None) -> Iterator[bytes]:
    """The body as it comes; not for ever, and not without end."""
    deadline, size = time.monotonic() + seconds, 0
    for chunk in response.iter_content(CHUNK_BYTES):
        size += len(chunk)
        if most_bytes is not None and size > most_bytes:
            raise Unavailable("query-failed", f"{name} gives an answer of more than {most_bytes >> 20} MiB")
        if time.monotonic() > deadline:
            raise Failed("fetch-stalled", f"{name} was not done within {seconds:g} s")
        yield chunk


def retrieve(
    pacs: Pacs,
    ae_title: str,
    which: Mapping[str, str],
    expected: int | None,
    door: Door,
    limits: Limits,
    progress: Progress,
) -> Retrieved:
    """Get a study, or a series of it, by WADO-RS. An object is taken in as soon as it is whole.

    Args:
        which: its StudyInstanceUID, and SeriesInstanceUID where not all of it is wanted.
        expected: how many objects it has, if that is known.

    Raises:
        Unavailable, Failed, Refused: `unreachable`, `fetch-failed`, `fetch-refused`, `fetch-stalled`, `disk-reserve`.
    """
    assert pacs.target.web is not None
    where = f"studies/{which['StudyInstanceUID']}"
    if series_uid := which.get("SeriesInstanceUID", ""):
        where += f"/series/{series_uid}"
    count = 0
    with (
        Session(pacs.target, pacs.target.web, ae_title) as session,
        answered(session, pacs, where, DICOM, limits) as response,
    ):
        if response.status_code in (NO_CONTENT, NOT_FOUND):
            return Retrieved(0)
        if response.status_code not in DONE:
            raise _not_given(pacs, response.status_code)
        chunks = _chunks(response, pacs.name, limits.study_seconds)
        for file in parts(_watched(chunks, door), _boundary(pacs, response), door.inbox.archive.new_spool_file):
            door.take_file(file)
            count += 1
            progress(count, expected)
            if count > limits.most_images:
                raise Refused(
                    "too-many-images", f"{pacs.name} gives more than {limits.most_images} objects of one study"
                )
    # an answer that was cut between two parts looks whole: what the query said is held against it
    return Retrieved(count if expected is None else None)


def _watched(chunks: Iterator[bytes], door: Door) -> Iterator[bytes]:
    """The same, while there is room on the disk: one part could be as long as it likes."""
    for number, chunk in enumerate(chunks):
        if number % 64 == 0:
            door.must_have_room()
        yield chunk


def _boundary(pacs: Pacs, response: requests.Response) -> str:
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/related" or not boundary:
        raise Failed("fetch-failed", f"{pacs.name} answers with {header.get_content_type()}, not with DICOM objects")
    return boundary


def _not_given(pacs: Pacs, status: int) -> NodeError:
    """Why a study is not given."""
    if 300 <= status < 400:
        return Unavailable("wrong-url", f"{pacs.name} redirects to another place; set its url to that")
    if (away := not_now(pacs.target, status)) is not None:
        return away
    if status >= 500:
        return Failed("fetch-failed", f"{pacs.name} could not give it: HTTP {status}")
    return Refused("fetch-refused", f"{pacs.name} does not give it in this way: HTTP {status}")
