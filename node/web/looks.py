"""Who looked at what: the audit trail is told."""

from __future__ import annotations

from starlette.requests import Request

from ..audit.codes import What
from .page import node_of, user_of

#: that the same person looks at the same study again within this is one look
ONE_LOOK_SECONDS = 600.0


def looked_at(request: Request, study_uid: str) -> None:
    """Somebody sees a study."""
    who, address = user_of(request).name, request.client.host if request.client else ""
    key, trail = (who, address, study_uid), node_of(request).trail
    trail.note_once(ONE_LOOK_SECONDS, key, What.SHOWN, study_uid, who=who, address=address)
