"""A PACS that misbehaves on demand: a real SCP of C-STORE, storage commitment and C-FIND on a free port."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node.inbound.kinds import LABEL_MAP_SEGMENTATION_STORAGE
from node.outbound.association import stand_aside
from tests.prompt import PromptAE
from tests.waiting import wait_until

__all__ = ["LABEL_MAP_SEGMENTATION_STORAGE", "FakePacs", "Request"]

NO_SUCH_OBJECT = 0x0112


@dataclass(frozen=True)
class Request:
    """A request for storage commitment: its transaction, and the SOP class and instance of each object."""

    transaction_uid: str
    objects: tuple[tuple[str, str], ...]


class FakePacs:
    """Keeps what it is sent. Its knobs may be turned while it runs.

    Attributes:
        statuses: what to answer to the next C-STOREs, in order, None with an A-ABORT; then Success.
        full_for: studies of which it says that it has no room for them.
        abort_next: how many of the next C-STOREs to answer with an A-ABORT.
        mute_next: how many of the next C-STOREs it keeps, and answers with an A-ABORT.
        late_next: how many of the next C-STOREs it keeps, and answers only once `late` is set.
        chokes_on: SOP classes of objects that it answers with an A-ABORT.
        refuse: SOP classes that are not accepted.
        syntaxes: that are accepted.
        calls: SOP Instance UID -> how often it was sent and answered with Success or a warning.
        commits: where it reports on storage commitment: on the "same" association, on a "new" one, "early" on a new one
            before it has answered the request, or "never".
        node_port: where it opens new associations to.
        lost: SOP Instance UIDs that it says it does not have, whatever it was sent.
        action_status: what it answers to N-ACTION; None: an A-ABORT.
        find_status: what it answers to C-FIND.
        requests: the requests for storage commitment.
        reported: what was answered to its reports.
    """

    def __init__(self, ae_title: str = "FAKEPACS", address: str = "127.0.0.1") -> None:
        self.ae_title, self.address = ae_title, address
        self.statuses: list[int | None] = []
        self.full_for: set[str] = set()
        self.comment = ""
        self.abort_next = self.late_next = self.mute_next = 0
        self.late = threading.Event()
        self.reject = False
        self.chokes_on: set[str] = set()
        self.refuse: set[str] = set()
        self.syntaxes: list[UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        self.calls: Counter[str] = Counter()
        self.objects: list[Dataset] = []
        self.commits = "never"
        self.node_port = 0
        self.lost: set[str] = set()
        self.action_status: int | None = 0x0000
        self.find_status = 0x0000
        self.requests: list[Request] = []
        self.reported: list[int | None] = []
        self.port = 0
        self._lock = threading.Lock()
        self._ae: PromptAE | None = None

    def __enter__(self) -> FakePacs:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._ae = PromptAE(self.ae_title)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_DIMSE_SENT, self._sent),
            (evt.EVT_C_FIND, self._find),
        ]
        for sop_class in (Verification, StorageCommitmentPushModel, StudyRootQueryRetrieveInformationModelFind):
            self._ae.add_supported_context(sop_class)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(context.abstract_syntax, self.syntaxes)
        server = self._ae.start_server((self.address, self.port), block=False, evt_handlers=handlers)
        self.port = int(server.server_address[1])

    def stop(self) -> None:
        """Be gone: connections are refused from now on."""
        self.late.set()
        if self._ae is not None:
            self._ae.shutdown()
            self._ae = None

    def _requested(self, event: Any) -> None:
        if self.reject:
            event.assoc.acse.send_reject(1, 1, 7)
            event.assoc.kill()
            return
        contexts = event.assoc.acceptor.supported_contexts
        event.assoc.acceptor.supported_contexts = [
            context for context in contexts if context.abstract_syntax not in self.refuse
        ]

    def _store(self, event: Any) -> int | Dataset:
        with self._lock:  # before anybody can see that it has come
            late = self.late_next > 0
            self.late_next -= late
        status = self._taken(event)
        if late:
            self.late.wait(120)
        if self.mute_next:
            self.mute_next -= 1
            event.assoc.abort()
        if status == 0x0000 or not self.comment:
            return status
        answer = Dataset()
        answer.Status, answer.ErrorComment = status, self.comment
        return answer

    def _taken(self, event: Any) -> int:
        with self._lock:
            if self.abort_next or event.dataset.SOPClassUID in self.chokes_on:
                self.abort_next = max(0, self.abort_next - 1)
                event.assoc.abort()
                return 0xC000
            status = self.statuses.pop(0) if self.statuses else 0x0000
            if event.dataset.StudyInstanceUID in self.full_for:
                status = 0xA700
            if status is None:
                event.assoc.abort()
                return 0xC000
            if status == 0x0000 or status & 0xF000 == 0xB000:
                ds = event.dataset
                ds.file_meta = event.file_meta
                self.calls[ds.SOPInstanceUID] += 1
                self.objects.append(ds)
            return status

    def of_modality(self, modality: str) -> list[Dataset]:
        with self._lock:
            return [ds for ds in self.objects if ds.Modality == modality]

    # ------------------------------------------------ storage commitment

    def has(self, sop_uid: str) -> bool:
        return self.calls[sop_uid] > 0 and sop_uid not in self.lost

    def _action(self, event: Any) -> tuple[int, None]:
        if self.commits == "same":
            stand_aside(event.assoc)  # its own thread takes no answer to the report
        ds = event.action_information
        items = tuple((one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in ds.ReferencedSOPSequence)
        self.requests.append(Request(str(ds.TransactionUID), items))
        if self.commits == "early":
            self.reported.append(self.report(*self.answer(self.requests[-1])))
        if self.action_status is None:
            event.assoc.abort()
        return self.action_status or 0x0000, None

    def _sent(self, event: Any) -> None:
        """The response to an N-ACTION has gone: now the report may follow it."""
        if type(event.message).__name__ == "N_ACTION_RSP" and self.action_status == 0x0000:
            request = self.requests[-1]
            if self.commits == "same":
                self._in_background(lambda: self._tell(event.assoc, *self.answer(request)))
            elif self.commits == "new":
                self._in_background(lambda: self.report(*self.answer(request)))

    def _in_background(self, what: Any) -> None:
        threading.Thread(target=lambda: self.reported.append(what()), daemon=True).start()

    def answer(self, request: Request) -> tuple[Dataset, int]:
        """What it has to say of a request now: event information and event type."""
        lost = [(*one, NO_SUCH_OBJECT) for one in request.objects if not self.has(one[1])]
        kept = [one for one in request.objects if self.has(one[1])]
        return event_information(request.transaction_uid, kept, lost), 2 if lost else 1

    def report(
        self, what: Dataset | bytes, event_type: int = 1, *, ae_title: str = "", role: tuple[bool, bool] | None = None
    ) -> int | None:
        """N-EVENT-REPORT on a new association; the status of the response, None where there was none.

        Args:
            role: SCU and SCP, proposed by role selection; None for none.
        """
        ae = AE(ae_title or self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        ae.add_requested_context(StorageCommitmentPushModel)
        ext_neg = [build_role(StorageCommitmentPushModel, scu_role=role[0], scp_role=role[1])] if role else []
        assoc = stand_aside(ae.associate("127.0.0.1", self.node_port, ext_neg=ext_neg))
        if not assoc.is_established:
            return None
        try:
            if role and not assoc.accepted_contexts[0].as_scp:  # dcm4chee sends nothing in a role that it was not given
                return None
            return self._tell(assoc, what, event_type)
        finally:
            assoc.release()

    def _tell(self, assoc: Any, what: Dataset | bytes, event_type: int) -> int | None:
        if isinstance(what, Dataset):
            status, _ = assoc.send_n_event_report(
                what, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            return None if "Status" not in status else int(status.Status)
        request = N_EVENT_REPORT()
        request.MessageID, request.EventTypeID = 1, event_type
        request.AffectedSOPClassUID = StorageCommitmentPushModel
        request.AffectedSOPInstanceUID = StorageCommitmentPushModelInstance
        request.EventInformation = BytesIO(what) if what else None
        (context,) = assoc.accepted_contexts
        assoc._reactor_checkpoint.clear()  # as pynetdicom's own send_n_event_report does
        wait_until("the reactor pauses", lambda: assoc._is_paused)
        assoc.dimse.send_msg(request, context.context_id)
        _, response = assoc.dimse.get_msg(True)
        assoc._reactor_checkpoint.set()
        return None if response is None else int(response.Status)

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if self.find_status != 0x0000:
            yield self.find_status, None
            return
        query = event.identifier
        for ds in self.objects:
            if ds.SOPInstanceUID == query.SOPInstanceUID and self.has(ds.SOPInstanceUID):
                match = Dataset()
                match.QueryRetrieveLevel = "IMAGE"
                for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                    assert ds[keyword].value == query[keyword].value
                    setattr(match, keyword, ds[keyword].value)
                yield 0xFF00, match


def event_information(
    transaction_uid: str, kept: list[tuple[str, str]], lost: list[tuple[str, str, int]] | None = None
) -> Dataset:
    """The data set of a report: SOP class and instance of what is kept; and, with a failure reason, of what is not."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    if kept:
        ds.ReferencedSOPSequence = [_item(*one) for one in kept]
    if lost:
        ds.FailedSOPSequence = [_item(*one) for one in lost]
    return ds


def _item(sop_class: str, sop_uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    if reason is not None:
        item.FailureReason = reason
    return item
