"""What a caller says and shows of itself, beside its address: the AE titles, and the certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..tls.shown import Shown

Reject = tuple[int, int, int]

#: PS3.8 9.3.4: rejected-permanent, by the service user
CALLING_UNKNOWN: Reject = (1, 1, 3)
CALLED_UNKNOWN: Reject = (1, 1, 7)


class Asks(Protocol):
    """What a peer has to say and show."""

    @property
    def name(self) -> str: ...
    @property
    def called_ae(self) -> str: ...
    @property
    def needs_tls(self) -> bool: ...
    @property
    def sha256(self) -> frozenset[str]: ...
    @property
    def names(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class Objection:
    """Why a caller is not who it says, or does not mean us."""

    reject: Reject
    code: str
    sentence: str


def objection(peer: Asks, called: str | None, everybody: str, line: Shown | None) -> Objection | None:
    """What speaks against a caller being this peer, whose AE title and address are right.

    Args:
        called: the AE title that it calls; None: not asked.
        everybody: what everybody has to call us; empty: anything.
        line: what it showed over TLS; None: it calls in the clear.
    """
    if peer.needs_tls and line is None:
        said = f"peer {peer.name} has to call over TLS, on the port in [tls]; it called in the clear"
        return Objection(CALLING_UNKNOWN, "tls-required", said)
    if (peer.sha256 or peer.names) and line is not None and not _is_shown(peer, line):
        return Objection(CALLING_UNKNOWN, "certificate-unknown", _other_certificate(peer, line))
    return wrongly_called(peer.called_ae or everybody, called)


def wrongly_called(ours: str, called: str | None) -> Objection | None:
    """Where a caller means another AE title than ours; an empty one of ours is any."""
    if not ours or called is None or called == ours:
        return None
    near = alike(ours, called)
    said = differs(ours, called) if near else f"it calls {shown(called)}, and has to call {ours}"
    return Objection(CALLED_UNKNOWN, "called-ae-unknown", said)


def alike(known: str, said: str) -> bool:
    """Whether two AE titles differ only in capitals and padding."""
    return known != said and _folded(known) == _folded(said)


def differs(known: str, said: str) -> str:
    """The same, in words."""
    return (
        f"{known} was probably meant: it came as {shown(said)}, and AE titles are compared letter by letter: capitals "
        "count, and only spaces at the ends do not (PS3.5 6.2)"
    )


def shown(ae_title: str) -> str:
    """An AE title between quotes, safe to show; what nobody could see in it is spelt out."""
    plain = "".join(c if c.isprintable() and c not in "'\"\\" else f"<{ord(c):02X}>" for c in ae_title)
    return f"'{plain[:64]}'"


def _folded(ae_title: str) -> str:
    return "".join(c for c in ae_title.casefold() if c.isprintable() and not c.isspace())


def _is_shown(peer: Asks, line: Shown) -> bool:
    return line.sha256 in peer.sha256 or bool(line.names & peer.names)


def _other_certificate(peer: Asks, line: Shown) -> str:
    if not line.sha256:
        return f"peer {peer.name} has to show its certificate, and showed none"
    who = "".join(c for c in line.subject or "nobody" if c.isprintable())[:100]
    return f"peer {peer.name} showed another certificate than it is configured with: of {who}, sha256 {line.sha256}"
