"""UIDs that follow from what they name: the same result has the same UID, whoever computes it again."""

from __future__ import annotations

import hashlib
import uuid


def derive(root: str, *parts: str) -> str:
    """A UID from everything that decides the object's bytes.

    Args:
        root: the organisation's UID root; empty for a UUID-derived UID under 2.25 (PS3.5 B.2).
        parts: in a fixed order.
    """
    digest = hashlib.sha256("\n".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
    if not root:
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
    number = str(int.from_bytes(digest[:16], "big"))
    return f"{root}.{number}"[:64].rstrip(".")
