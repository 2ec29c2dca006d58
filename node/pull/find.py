"""Ask a PACS by C-FIND (PS3.4 C.4.1, Study Root Query/Retrieve Information Model)."""

from __future__ import annotations

from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt, sop_class

from ..errors import NodeError, Refused, Unavailable
from ..inbound.peers import printable
from ..outbound.scu import associate
from .pacs import Limits, Pacs
from .query import Answers, Query
from .watch import Watch

FIND = sop_class.StudyRootQueryRetrieveInformationModelFind
SUCCESS, CANCELLED, OUT_OF_RESOURCES = 0x0000, 0xFE00, 0xA700
PENDING = (0xFF00, 0xFF01)
CONTEXTS = [(FIND, syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
#: answers of sane length have a few hundred bytes; this is for all that come between two others
LONGEST_ANSWER = 1 << 24
#: answers that are still under way when a query is cancelled
AFTER_CANCEL = 1000
MESSAGE = 1


class Finder:
    """Asks one question after the other, on one association; `close` it in the end."""

    def __init__(self, pacs: Pacs, ae_title: str, limits: Limits) -> None:
        self._pacs, self._ae_title, self._limits = pacs, ae_title, limits
        self._assoc: Any = None
        self._unread = 0

    def close(self) -> None:
        """End the association, if there is one."""
        if self._assoc is not None and self._assoc.is_established:
            self._assoc.release()
        self._assoc = None

    def ask(self, query: Query) -> Answers:
        """What the PACS answers, at most `most_matches`; then the query is cancelled.

        Raises:
            Unavailable: `unreachable`, `rejected`, `query-failed`, `fetch-stalled`: it may answer later.
            Refused: `query-refused`: it does not answer such a query.
        """
        assoc, most = self._associated(), self._limits.most_matches
        found: list[Any] = []
        unreadable = late = self._unread = 0
        with Watch(assoc, self._pacs.name, total_seconds=10 * self._limits.timeout_seconds, sign=self._sane) as watch:
            for status, match in assoc.send_c_find(query.identifier(), FIND, MESSAGE):
                self._unread = 0
                more = len(found) + unreadable > most
                code = int(status.Status) if "Status" in status else None
                if code not in PENDING:
                    self._must_be_the_end(watch, code, str(status.get("ErrorComment") or ""), cancelled=more)
                    break
                if more:  # cancelled; some are still under way
                    late += 1
                    if late > AFTER_CANCEL:
                        assoc.abort()
                        break
                    continue
                if match is None:
                    unreadable += 1
                else:
                    found.append(match)
                if len(found) + unreadable > most:
                    assoc.send_c_cancel(MESSAGE, query_model=FIND)
        return Answers(found[:most], len(found) + unreadable > most, unreadable)

    def _associated(self) -> Any:
        if self._assoc is not None and self._assoc.is_established:
            return self._assoc
        handlers = [(evt.EVT_DATA_RECV, self._received)]
        assoc = associate(self._pacs.target, self._ae_title, CONTEXTS, self._limits.timeout_seconds, handlers)
        if not assoc.is_established:
            raise Refused("query-refused", f"{self._pacs.name} does not offer C-FIND")
        self._assoc = assoc
        return assoc

    def _received(self, event: Any) -> None:
        self._unread += len(event.data)

    def _sane(self) -> object:
        if self._unread > LONGEST_ANSWER:
            said = f"{self._pacs.name} gives an answer of more than {LONGEST_ANSWER >> 20} MiB"
            raise Unavailable("query-failed", said)
        return None

    def _must_be_the_end(self, watch: Watch, code: int | None, comment: str, *, cancelled: bool) -> None:
        """The last response: raise what it says, if that is no success."""
        name = self._pacs.name
        if code == SUCCESS or (code == CANCELLED and cancelled):
            return
        said = f": {printable(comment)}" if comment else ""
        error: NodeError
        if code is None:
            error = watch.why or Unavailable("query-failed", f"{name} ended the association, or did not answer in time")
        elif code in (OUT_OF_RESOURCES, CANCELLED) or code < 0x0100:
            error = Unavailable("query-failed", f"{name} does not answer now: status 0x{code:04X}{said}")
        else:
            error = Refused("query-refused", f"{name} does not answer this query: status 0x{code:04X}{said}")
        raise error
