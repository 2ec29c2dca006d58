"""Storage commitment (PS3.4 Annex J): whether a peer can be asked to take responsibility for what it was sent."""

from __future__ import annotations

import threading
import time
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage, generate_uid
from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from ...errors import NodeError
from ...outbound.commitment import CONTEXTS, REQUEST_STORAGE_COMMITMENT
from ...outbound.statuses import named
from .call import Call, associated
from .service import Service

NAME = "storage commitment"
SUCCESS = 0x0000
#: what may be meant of the instance that nobody has, and not of the service
OF_THE_INSTANCE = frozenset({0x0110, 0x0112, 0x0115})
#: how long a report on the same association is waited for
HERE_SECONDS = 1.0


def ask(call: Call) -> Service:
    """Negotiate, and ask about one instance that nobody has: it can only be answered with a failure, so nothing is
    committed. A report on a new association goes to the node's receiver, which knows no such transaction.
    """
    heard, answered = threading.Event(), threading.Event()

    def report(_: evt.Event) -> tuple[int, None]:
        heard.set()
        return SUCCESS, None

    def sent(event: evt.Event) -> None:
        if heard.is_set() and isinstance(event.pdu, P_DATA_TF):
            answered.set()

    handlers = [(evt.EVT_N_EVENT_REPORT, report), (evt.EVT_PDU_SENT, sent)]
    try:
        with associated(call, CONTEXTS, handlers=handlers) as assoc:
            if not assoc.is_established:
                return Service(NAME, False, "not offered")
            return _asked(call, assoc, answered)
    except NodeError as error:
        return Service(NAME, None, error.sentence)


def _asked(call: Call, assoc: Any, answered: threading.Event) -> Service:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SegmentationStorage, generate_uid(prefix=None)
    asked = Dataset()
    asked.TransactionUID = generate_uid(prefix=None)
    asked.ReferencedSOPSequence = [item]
    began = time.monotonic()
    response, _ = assoc.send_n_action(
        asked, REQUEST_STORAGE_COMMITMENT, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    status = response.get("Status")
    if status is None:
        return call.unanswered(NAME, began)
    if status in OF_THE_INSTANCE:
        said = f"N-ACTION about an instance that nobody has is answered {named(int(status))}: of its own it may say yes"
        return Service(NAME, None, said, int(status))
    if status != SUCCESS and not 0xB000 <= status <= 0xBFFF:
        return Service(NAME, False, f"accepted, but N-ACTION is refused: {named(int(status))}", int(status))
    here = answered.wait(min(HERE_SECONDS, call.seconds))
    where = "reports on the same association" if here else "reports later or on an association of its own"
    return Service(NAME, True, f"N-ACTION about an instance that nobody has is taken; it {where}", int(status))
