"""The default of every key, by its dotted name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from .peers import Destination, Peer, Query
from .settings import Settings


def defaults() -> dict[str, Any]:
    """`section.key` -> its default, None where there is none; of a peer `peer.key`, `peer.query.key` and so on."""
    parts = {name: field.annotation for name, field in Settings.model_fields.items()}
    parts |= {"peer": Peer, "peer.destination": Destination, "peer.query": Query}
    return dict(_keys(parts))


def _keys(parts: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, part in parts.items():
        if isinstance(part, type) and issubclass(part, BaseModel):
            for key, field in part.model_fields.items():
                yield f"{name}.{key}", None if field.is_required() else field.default
