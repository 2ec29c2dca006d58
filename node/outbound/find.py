"""Ask a destination which objects it has, one by one (PS3.4 C.4.1: C-FIND, Study Root, IMAGE level)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from ..audit import question
from ..audit.trail import SILENT, Trail
from ..errors import Refused, Unavailable
from .scu import associate
from .statuses import named
from .target import Target

SUCCESS = 0x0000
PENDING = (0xFF00, 0xFF01)
OUT_OF_RESOURCES = 0xA700
#: what is proposed: SOP class and transfer syntax
CONTEXTS = tuple(
    (StudyRootQueryRetrieveInformationModelFind, syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
)


@dataclass(frozen=True)
class Wanted:
    """One object, by the unique keys of every level: a server need not know any other."""

    study_uid: str
    series_uid: str
    sop_uid: str


def found(
    target: Target, ae_title: str, wanted: Iterable[Wanted], timeout_seconds: float, trail: Trail = SILENT
) -> set[str]:
    """The SOP Instance UIDs of those that the destination has; the audit trail is told of each question.

    Raises:
        Unavailable: `unreachable`, `rejected`, `query-failed`: it may answer later.
        Refused: `query-refused`: it does not answer such queries.
    """
    assoc = associate(target, ae_title, CONTEXTS, timeout_seconds)
    if not assoc.is_established:
        raise Refused("query-refused", f"{target.name} does not offer C-FIND")
    try:
        return {one.sop_uid for one in wanted if _has(assoc, target, one, trail)}
    finally:
        if assoc.is_established:
            assoc.release()


def tell(trail: Trail, target: Target, query: Dataset) -> None:
    """The audit trail is told of a question of C-FIND."""
    asked = dict(peer=target.name, ae=target.ae_title, address=target.machine)
    question.tell(trail, query, **asked, sop_class=StudyRootQueryRetrieveInformationModelFind)


def _has(assoc: Any, target: Target, one: Wanted, trail: Trail) -> bool:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = one.study_uid, one.series_uid, one.sop_uid
    if not assoc.is_established:
        raise Unavailable("query-failed", f"{target.name} ended the association while it was asked what it has")
    tell(trail, target, query)
    is_there = False
    status = None
    for response, match in assoc.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
        status = response.get("Status")
        # a server that does not know the key answers with the whole series
        if status in PENDING and match is not None and match.get("SOPInstanceUID") == one.sop_uid:
            is_there = True
    if status is None:
        raise Unavailable("query-failed", f"{target.name} did not answer when it was asked what it has")
    if status == OUT_OF_RESOURCES:
        raise Unavailable("query-failed", f"{target.name} could not say what it has: {named(int(status))}")
    if status != SUCCESS:
        raise Refused("query-refused", f"{target.name} does not say what it has: {named(int(status))}")
    return is_there
