"""What we ask a PACS or another peer (PS3.15 A.5.3.10, Query)."""

from __future__ import annotations

import base64
import hashlib

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from .codes import What
from .trail import Trail

#: the same question is told of once in so long: some are asked every few seconds
AGAIN_SECONDS = 600.0


def tell(trail: Trail, identifier: Dataset, *, peer: str, ae: str, address: str, sop_class: str) -> None:
    """The audit trail is told of a question, with its identifier as it is sent, in Implicit VR Little Endian."""
    asked = encode(identifier, is_implicit_vr=True, is_little_endian=True) or b""
    facts = {"peer": peer, "ae": ae, "address": address, "sop_class": sop_class}
    facts |= {"query": base64.b64encode(asked).decode()}
    trail.note_once(AGAIN_SECONDS, (peer, hashlib.sha256(asked).hexdigest()), What.QUERY, **facts)
