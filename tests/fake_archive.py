"""A PACS that is asked, and misbehaves on demand: a real SCP of C-FIND, C-MOVE and C-GET on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt, sop_class
from pynetdicom.status import code_to_category

from tests.prompt import PromptAE
from tests.waiting import wait_until

FIND = sop_class.StudyRootQueryRetrieveInformationModelFind
MOVE = sop_class.StudyRootQueryRetrieveInformationModelMove
GET = sop_class.StudyRootQueryRetrieveInformationModelGet
PENDING = 0xFF00
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def is_sent(assoc: Any) -> bool:
    """Whether nothing is left to be sent on an association, or nobody is there for it any more.

    Before that pynetdicom reads nothing, so no C-CANCEL either.
    """
    return bool(assoc.dul.to_provider_queue.empty()) or not assoc.dul.is_alive()


class FakeArchive:
    """Has `objects`. Its knobs may be turned while it runs.

    Attributes:
        knows: AE title -> port on this machine that it sends to.
        refuse: SOP classes of its own services that are not accepted.
        never_says: keywords that its answers lack.
        deaf: it answers queries with all that it has.
        find_status: the last status of a query; `find_comment` goes with it.
        endless: it answers a query without end.
        silent, stalls: it takes a query, or the request for a retrieval, and says nothing more.
        status: the last status of a retrieval, before anything was sent.
        abort_after: objects that are sent before it aborts; None: it does not.
        fails: SOP Instance UIDs that it cannot send.
        charset: of its answers.
        bloat: bytes by which each answer is longer than it need be.
        asked: the identifiers of the queries.
        cancelled: queries that were cancelled.
        retrievals: how often something was retrieved.
    """

    def __init__(self, objects: Sequence[Dataset] = (), ae_title: str = "ARCHIVE") -> None:
        self.ae_title = ae_title
        self.port = 0
        self._ae: PromptAE | None = None
        self.reset(objects)

    def reset(self, objects: Sequence[Dataset]) -> None:
        """As new, with these objects."""
        self.objects = list(objects)
        self.knows: dict[str, int] = {}
        self.refuse: set[str] = set()
        self.never_says: set[str] = set()
        self.deaf = self.endless = self.silent = self.stalls = False
        self.find_status, self.find_comment = 0x0000, ""
        self.status: int | None = None
        self.abort_after: int | None = None
        self.fails: set[str] = set()
        self.charset = ""
        self.asked: list[Dataset] = []
        self.cancelled = self.retrievals = 0
        self.bloat = 0
        self.over = threading.Event()

    def __enter__(self) -> FakeArchive:
        self._ae = PromptAE(self.ae_title)
        for uid in (FIND, MOVE, GET):
            self._ae.add_supported_context(uid)
        for uid in (CTImageStorage, Comprehensive3DSRStorage):
            self._ae.add_supported_context(uid, SYNTAXES, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_MOVE, self._move),
            (evt.EVT_C_GET, self._get),
        ]
        server = self._ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = int(server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        assert self._ae is not None
        self._ae.shutdown()

    def _requested(self, event: Any) -> None:
        acceptor = event.assoc.acceptor
        acceptor.supported_contexts = [
            context for context in acceptor.supported_contexts if context.abstract_syntax not in self.refuse
        ]

    # ---------------------------------------------------------------- queries

    def _find(self, event: Any) -> Iterator[tuple[Any, Dataset | None]]:
        asked = event.identifier
        self.asked.append(asked)
        if self.silent:
            self.over.wait(60)
            return
        matches = list(self._matches(asked))
        while True:
            for match in matches:
                if event.is_cancelled:
                    self.cancelled += 1
                    yield 0xFE00, None
                    return
                wait_until("the one before is sent", lambda: is_sent(event.assoc), every=0.001)
                yield PENDING, match
            if not self.endless or not event.assoc.is_established:
                break
        last = Dataset()
        last.Status = self.find_status
        if self.find_comment:
            last.ErrorComment = self.find_comment
        if code_to_category(self.find_status) != "Success":
            yield last, None

    def _matches(self, asked: Dataset) -> Iterator[Dataset]:
        level = asked.QueryRetrieveLevel
        unique = "StudyInstanceUID" if level == "STUDY" else "SeriesInstanceUID"
        groups: dict[str, list[Dataset]] = {}
        for ds in self.objects:
            if self.deaf or self._fits(ds, asked):
                groups.setdefault(str(ds[unique].value), []).append(ds)
        for group in groups.values():
            yield self._answer(asked, group)

    def _fits(self, ds: Dataset, asked: Dataset) -> bool:
        for element in asked:
            wanted, keyword = str(element.value or ""), element.keyword
            if not wanted or keyword in ("QueryRetrieveLevel", "SpecificCharacterSet"):
                continue
            has = str(ds.get("Modality" if keyword == "ModalitiesInStudy" else keyword, ""))
            if keyword == "StudyDate" and "-" in wanted:
                first, last = wanted.split("-")
                if not first <= has <= (last or "9"):
                    return False
            elif has != wanted:
                return False
        return True

    def _answer(self, asked: Dataset, group: list[Dataset]) -> Dataset:
        answer = Dataset()
        if self.charset:
            answer.SpecificCharacterSet = self.charset
        answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
        counted = {
            "NumberOfStudyRelatedInstances": len(group),
            "NumberOfSeriesRelatedInstances": len(group),
            "ModalitiesInStudy": sorted({str(ds.Modality) for ds in group}),
            "SOPClassesInStudy": sorted({str(ds.SOPClassUID) for ds in group}),
        }
        for element in asked:
            keyword = element.keyword
            if keyword in self.never_says or keyword in answer:
                continue
            setattr(answer, keyword, counted.get(keyword, group[0].get(keyword, "")))
        if self.bloat:
            answer.add_new("PixelData", "OB", b"\0" * self.bloat)
        return answer

    # ------------------------------------------------------------- retrievals

    def _wanted(self, asked: Dataset) -> list[Dataset]:
        keys = [key for key in ("StudyInstanceUID", "SeriesInstanceUID") if asked.get(key)]
        return [ds for ds in self.objects if all(ds[key].value == asked[key].value for key in keys)]

    def _move(self, event: Any) -> Iterator[Any]:
        port = self.knows.get(str(event.move_destination).strip())
        if port is None:
            yield None, None
            return
        kinds = sorted({str(ds.SOPClassUID) for ds in self.objects})
        yield "127.0.0.1", port, {"contexts": [build_context(uid, SYNTAXES) for uid in kinds], "ae_title": "PLANIMETER"}
        yield from self._send(event)

    def _get(self, event: Any) -> Iterator[Any]:
        yield from self._send(event)

    def _send(self, event: Any) -> Iterator[Any]:
        self.retrievals += 1
        wanted = self._wanted(event.identifier)
        if self.stalls:
            yield len(wanted)
            self.over.wait(60)
            return
        yield len(wanted)
        if self.status is not None:
            yield self.status, None
            return
        for number, ds in enumerate(wanted):
            if self.abort_after is not None and number >= self.abort_after:
                event.assoc.abort()
                return
            if ds.SOPInstanceUID in self.fails:
                broken = Dataset()
                broken.SOPInstanceUID = ds.SOPInstanceUID
                broken.SOPClassUID = "1.2.3.4.5"  # nobody accepts it
                broken.file_meta = ds.file_meta
                yield PENDING, broken
                continue
            yield PENDING, ds
