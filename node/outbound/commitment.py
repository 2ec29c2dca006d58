"""Ask a destination for storage commitment, and read what it reports (PS3.4 Annex J, Push Model).

The report comes as an N-EVENT-REPORT on the association of the request, or on a new one to any receiver of the node.
Only a row that was written before the request connects the two.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from db import commitments
from db.database import Database, DatabaseUnreachable

from ..errors import Refused, Unavailable
from ..uids import UID_PATTERN
from .scu import associate
from .statuses import named
from .target import Target

logger = logging.getLogger(__name__)

REQUEST_STORAGE_COMMITMENT = 1
#: everything is kept; something is not
EVENT_TYPES = (1, 2)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT = 0x0115
#: what is proposed: SOP class and transfer syntax
CONTEXTS = tuple((StorageCommitmentPushModel, syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian))
#: of a report. It is about the results of one network on one study, of which there are a few; an item of a report has
#: some 120 bytes, and takes 16 microseconds and more to be decoded
LONGEST, MOST_ITEMS = 1 << 20, 10_000
#: how an item begins (PS3.5 7.5), by whether that is Little Endian
ITEM = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}
#: of an N-ACTION response: the same request may be accepted later
PASSING = frozenset({0x0110, 0x0131, 0x0213})


@dataclass(frozen=True)
class Report:
    """What a destination says of one transaction: SOP Instance UIDs that it keeps, and the others with the reason."""

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class Taken:
    """What came of a report: the status of the response, and what is to be told where it is not Success."""

    status: int
    code: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Notice:
    """An N-EVENT-REPORT, as it came.

    Attributes:
        information: the event information, encoded.
    """

    sop_instance: str
    event_type: int | None
    information: bytes
    transfer_syntax: UID

    @classmethod
    def of(cls, event: evt.Event) -> Notice:
        """That of an EVT_N_EVENT_REPORT."""
        asked = event.request
        information = asked.EventInformation.getvalue() if asked.EventInformation else b""
        return cls(str(asked.AffectedSOPInstanceUID), event.event_type, information, event.context.transfer_syntax)


def take(database: Database, notice: Notice, of: Collection[str]) -> Taken:
    """Take in an N-EVENT-REPORT: Success means that it is committed to the database.

    Args:
        of: the destinations that the caller may speak for.
    """
    if notice.sop_instance != StorageCommitmentPushModelInstance:
        sentence = "the report is not about the Storage Commitment Push Model's one instance"
        return Taken(NO_SUCH_INSTANCE, "commitment-unreadable", sentence)
    if notice.event_type not in EVENT_TYPES:
        sentence = f"event type {notice.event_type} is none of storage commitment"
        return Taken(NO_SUCH_EVENT_TYPE, "commitment-unreadable", sentence)
    try:
        report = reported(notice.information, notice.transfer_syntax)
    except Refused as refusal:
        return Taken(INVALID_ARGUMENT, refusal.code, refusal.sentence)
    try:
        with database.write() as tx:
            known = commitments.settle(tx, report.transaction_uid, of, report.committed, report.failed)
    except DatabaseUnreachable as error:
        return Taken(PROCESSING_FAILURE, "not-stored", str(error))
    if not known:
        sentence = "the report is about a storage commitment that was not asked of this peer"
        return Taken(NO_SUCH_INSTANCE, "unknown-transaction", sentence)
    logger.info("storage commitment: %s kept, %s not", len(report.committed - set(report.failed)), len(report.failed))
    return Taken(SUCCESS)


def reported(information: bytes, syntax: UID) -> Report:
    """Read the event information of an N-EVENT-REPORT.

    Raises:
        Refused: `commitment-unreadable`, also of one that is longer than any answer to us.
    """
    if len(information) > LONGEST or information.count(ITEM[syntax.is_little_endian]) > MOST_ITEMS:
        sentence = f"the report on a storage commitment has more than {LONGEST} bytes or {MOST_ITEMS} items"
        raise Refused("commitment-unreadable", sentence)
    try:
        return _read(decode(BytesIO(information), syntax.is_implicit_VR, syntax.is_little_endian))
    except Exception as error:  # the edge of a handler: pydicom raises whatever garbage leads it to
        sentence = f"the report on a storage commitment cannot be read ({type(error).__name__})"
        raise Refused("commitment-unreadable", sentence) from error


def _read(ds: Dataset) -> Report:
    """PS3.4 table J.3-2. What the event type says is not relied on: the lists are. Items that name nothing are passed
    over."""
    transaction_uid = str(ds.get("TransactionUID") or "")
    if not UID_PATTERN.fullmatch(transaction_uid):
        raise ValueError("no Transaction UID")
    failed = {}
    for sop_uid, item in _items(ds, "FailedSOPSequence"):
        reason = item.get("FailureReason")
        why = named(int(reason)) if reason is not None else "it gives no reason"
        failed[sop_uid] = f"not committed: {why}"
    return Report(transaction_uid, frozenset(uid for uid, _ in _items(ds, "ReferencedSOPSequence")), failed)


def _items(ds: Dataset, keyword: str) -> Iterator[tuple[str, Dataset]]:
    """The items of a sequence that name an instance."""
    for item in ds.get(keyword) or ():
        sop_uid = str(item.get("ReferencedSOPInstanceUID", ""))
        if UID_PATTERN.fullmatch(sop_uid):
            yield sop_uid, item


@contextlib.contextmanager
def connect(target: Target, ae_title: str, database: Database, timeout_seconds: float) -> Iterator[Requester]:
    """Open an association to ask for storage commitment; a report that comes on it is taken in meanwhile.

    Raises:
        Unavailable: `unreachable`, `rejected`.
        Refused: `commitment-refused`: the destination does not accept the SOP class.
    """

    def reported(event: evt.Event) -> tuple[int, None]:
        taken = take(database, Notice.of(event), (target.name,))
        if taken.code:
            logger.warning("storage commitment: %s: %s: %s", target.name, taken.code, taken.sentence)
        return taken.status, None

    handlers = [(evt.EVT_N_EVENT_REPORT, reported)]
    assoc = associate(target, ae_title, CONTEXTS, timeout_seconds, handlers)
    if not assoc.is_established:
        raise Refused("commitment-refused", f"{target.name} does not offer storage commitment")
    try:
        yield Requester(assoc, target)
    finally:
        if assoc.is_established:
            assoc.release()


class Requester:
    """An association to one destination that takes requests for storage commitment; made by `connect`."""

    def __init__(self, assoc: Any, target: Target) -> None:
        self._assoc, self._target = assoc, target

    @property
    def is_there(self) -> bool:
        """Whether a report can still come on this association."""
        return bool(self._assoc.is_established)

    def ask(self, transaction_uid: str, objects: Sequence[tuple[str, str]]) -> bool:
        """N-ACTION. Without a response it may have been heard all the same: then a report may come.

        Args:
            objects: SOP Class and SOP Instance UIDs.

        Returns:
            Whether it was answered.

        Raises:
            Refused: `commitment-refused`: it is not done here.
            Unavailable: `commitment-refused-now`: it may be done later.
        """
        ds = Dataset()
        ds.TransactionUID = transaction_uid
        ds.ReferencedSOPSequence = [_reference(*one) for one in objects]
        try:
            response, _ = self._assoc.send_n_action(
                ds, REQUEST_STORAGE_COMMITMENT, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except RuntimeError as error:  # the association ended before
            raise Unavailable("unreachable", f"{self._target.name} ended the association") from error
        if "Status" not in response:
            return False
        status = int(response.Status)
        if status == SUCCESS or 0xB000 <= status <= 0xBFFF:
            return True
        sentence = f"{self._target.name} refused to be asked for storage commitment: {named(status)}"
        if status in PASSING:
            raise Unavailable("commitment-refused-now", sentence)
        raise Refused("commitment-refused", sentence)


def _reference(sop_class: str, sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    return item
