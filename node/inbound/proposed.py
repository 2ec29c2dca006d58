"""What a caller proposes, before anything is negotiated."""

from __future__ import annotations

from typing import Any

from . import syntaxes


def only_reports(assoc: Any) -> bool:
    """Whether a caller proposes to report on storage commitment, and nothing that makes work."""
    return _classes(assoc) - syntaxes.uids(syntaxes.verification()) == syntaxes.uids(syntaxes.commitment())


def would_send(assoc: Any) -> bool:
    """Whether a caller proposes anything but C-ECHO and reports on storage commitment, which need no room."""
    return bool(_classes(assoc) - syntaxes.uids(syntaxes.verification()) - syntaxes.uids(syntaxes.commitment()))


def _classes(assoc: Any) -> set[Any]:
    return {context.abstract_syntax for context in assoc.requestor.primitive.presentation_context_definition_list}
