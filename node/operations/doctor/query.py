"""C-FIND, C-MOVE and C-GET (PS3.4 Annex C, Study Root): what can be asked of a peer, and fetched from it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import build_role
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from ...errors import NodeError
from ...outbound import find
from .call import Call, associated
from .service import Service

FIND, FIND_IMAGE, MOVE, GET = "C-FIND of studies", "C-FIND of one object", "C-MOVE", "C-GET"
SUCCESS, CANCELLED = 0x0000, 0xFE00
MOVE_DESTINATION_UNKNOWN = 0xA801
#: identifiers after which the query is cancelled, and after which a peer that goes on is left
FEW, TOO_MANY = 3, 100
#: what was under way when the query was cancelled has come by then
HEED_SECONDS = 2.0
MESSAGE_ID = 1

_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MOVES = [(StudyRootQueryRetrieveInformationModelMove, syntax) for syntax in _SYNTAXES]
GETS = [(StudyRootQueryRetrieveInformationModelGet, syntax) for syntax in _SYNTAXES]


def ask(call: Call, today: date) -> list[Service]:
    """C-FIND at two levels, C-MOVE of a study that nobody has, and the negotiation of C-GET.

    Each has an association of its own: some peers end it at what they do not allow.

    Args:
        today: studies of this day are asked for, of which only the first few are waited for.
    """
    return [
        _service(call, FIND, find.CONTEXTS, lambda assoc: _studies(call, assoc, today)),
        _service(call, FIND_IMAGE, find.CONTEXTS, lambda assoc: _one_object(call, assoc)),
        _service(call, MOVE, MOVES, lambda assoc: _move(call, assoc)),
        # images come on the same association, so we would be the SCP of their storage
        _service(
            call,
            GET,
            [*GETS, (CTImageStorage, ExplicitVRLittleEndian)],
            _get,
            [build_role(CTImageStorage, scp_role=True)],
        ),
    ]


def _service(
    call: Call,
    name: str,
    contexts: Sequence[tuple[str, UID]],
    tried: Callable[[Any], Service],
    roles: Sequence[Any] = (),
) -> Service:
    try:
        with associated(call, contexts, roles) as assoc:
            if not any(one.abstract_syntax == contexts[0][0] for one in assoc.accepted_contexts):
                return Service(name, False, "not offered")
            return tried(assoc)
    except NodeError as error:
        return Service(name, None, error.sentence)


def _studies(call: Call, assoc: Any, today: date) -> Service:
    """Studies of today; cancelled after the first few (PS3.4 C.4.1.3)."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyDate = today.strftime("%Y%m%d")
    query.StudyInstanceUID = ""
    began = time.monotonic()
    status, came = _find(call, assoc, query)
    if came > TOO_MANY and status in find.PENDING:
        said = f"answers, and goes on {HEED_SECONDS:.0f} s after C-CANCEL: left after {came} identifiers"
        return Service(FIND, True, said, status)
    many = f"{came} studies" if came < FEW else f"at least {FEW} studies, then cancelled"
    return call.unanswered(FIND, began) if status is None else _of_find(FIND, status, f"answers: {many} of today")


def _one_object(call: Call, assoc: Any) -> Service:
    """As the node asks when storage commitment is not answered: one object by the keys of every level."""
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = (
        generate_uid(prefix=None) for _ in range(3)
    )
    began = time.monotonic()
    status, came = _find(call, assoc, query)
    said = "answers: no such object, as it should" if not came else f"names {came} objects that were not asked for"
    return call.unanswered(FIND_IMAGE, began) if status is None else _of_find(FIND_IMAGE, status, said)


def _find(call: Call, assoc: Any, query: Dataset) -> tuple[int | None, int]:
    """The last status (None: no answer), and how many identifiers came."""
    came, status, cancelled = 0, None, 0.0
    model = StudyRootQueryRetrieveInformationModelFind
    find.tell(call.trail, call.target, query)
    for response, _ in assoc.send_c_find(query, model, msg_id=MESSAGE_ID):
        status = response.get("Status")
        if status not in find.PENDING:
            continue
        came += 1
        if came == FEW:
            assoc.send_c_cancel(MESSAGE_ID, query_model=model)
            cancelled = time.monotonic()
        if came > TOO_MANY and time.monotonic() - cancelled > HEED_SECONDS:
            assoc.abort()
            break
    return None if status is None else int(status), came


def _of_find(name: str, status: int, said: str) -> Service:
    if status not in (SUCCESS, CANCELLED):
        return Service(name, False, f"refused: 0x{status:04X}", status)
    return Service(name, True, said, status)


def _move(call: Call, assoc: Any) -> Service:
    """C-MOVE of a study that nobody has, so nothing moves: to us, and to a title that nobody has, for comparison."""
    began = time.monotonic()
    status = _moved(assoc, call.ae_title)
    if status is None:
        return call.unanswered(MOVE, began)
    if status == MOVE_DESTINATION_UNKNOWN:
        return Service(MOVE, False, f"it does not know {call.ae_title} as a move destination (0xA801)", status)
    stranger = _moved(assoc, f"NOBODY{secrets.token_hex(4).upper()}") if assoc.is_established else None
    if stranger == MOVE_DESTINATION_UNKNOWN:
        said = f"it knows {call.ae_title} as a move destination, and not an AE title that nobody has (0xA801)"
        return Service(MOVE, True, said, status)
    said = (
        f"it answers 0x{status:04X} to a move of a study that nobody has, to {call.ae_title} and to an AE title that "
        f"nobody has: whether it knows {call.ae_title} shows only when a real study is moved"
    )
    return Service(MOVE, None, said, status)


def _moved(assoc: Any, destination: str) -> int | None:
    """The last status; None without an answer."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "STUDY"
    wanted.StudyInstanceUID = generate_uid(prefix=None)
    status = None
    for response, _ in assoc.send_c_move(wanted, destination, StudyRootQueryRetrieveInformationModelMove):
        status = response.get("Status")
    return None if status is None else int(status)


def _get(assoc: Any) -> Service:
    stores = any(one.abstract_syntax == CTImageStorage and one.as_scp for one in assoc.accepted_contexts)
    said = "negotiated, images may come on the same association" if stores else "negotiated, but we may not receive"
    return Service(GET, stores, f"{said}; nothing was asked for")
