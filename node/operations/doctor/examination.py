"""Everything that is asked of a peer, in order; each part on an association of its own, so none spoils another."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import date

from ...audit.trail import SILENT, Trail
from ...errors import NodeError, Unavailable
from ...outbound.target import Target
from ...tls.calling import Calling
from . import call, custody, line, query, storage
from .call import Call
from .line import Security
from .service import Service
from .storage import Speaker, Taken

#: what a peer that wants TLS does with a plain request
PERHAPS_TLS = frozenset({"closed", "silent", "aborted", "not-dicom", "speaks-tls"})


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        target: the peer, and what it is to get.
        ae_title: as whom we called.
        security: of the TLS line, where there was one.
        problem: code and sentence of what stood in the way; then the rest is empty.
    """

    target: Target
    ae_title: str
    security: Security | None = None
    problem: tuple[str, str] | None = None
    speaker: Speaker | None = None
    taken: tuple[Taken, ...] = ()
    services: tuple[Service, ...] = ()


def examine(
    target: Target, ae_title: str, seconds: float, tls: Calling | None, today: date, trail: Trail = SILENT
) -> Examination:
    """Ask everything.

    Args:
        seconds: how long each answer is waited for.
        tls: speak TLS, in this way; None: in the clear.
        today: see `query.ask`.
        trail: is told of what is asked for.
    """
    found = Examination(target, ae_title)
    asked = Call(target, ae_title, seconds, trail=trail)
    try:
        if tls is not None:
            found = replace(found, security=_secured(asked, tls))
            asked = replace(asked, tls=tls)
        speaker, echo, taken = storage.negotiate(asked)
    except NodeError as error:
        if tls is None and error.code in PERHAPS_TLS:
            return _perhaps_tls(found, asked, error)
        return replace(found, problem=(error.code, error.sentence))
    services = (echo, custody.ask(asked), *query.ask(asked, today))
    return replace(found, speaker=speaker, taken=taken, services=services)


def _secured(asked: Call, tls: Calling) -> Security:
    """Raises:
    Unavailable: `speaks-plain`, or as `line.secure`.
    """
    try:
        return line.secure(asked.target.host, asked.target.port, asked.seconds, tls)
    except Unavailable as error:
        if error.code == "tls-failed" and call.speaks_dicom(asked):
            raise Unavailable(
                "speaks-plain", f"{asked.where} speaks DICOM without TLS: leave --tls out, or turn TLS on there"
            ) from None
        raise


def _perhaps_tls(found: Examination, asked: Call, error: NodeError) -> Examination:
    """A peer that does not understand a plain request may want TLS: then that is the problem."""
    problem = (error.code, error.sentence)
    with contextlib.suppress(NodeError):
        security = line.secure(asked.target.host, asked.target.port, asked.seconds, Calling())
        todo = "try again with --tls, and set `tls = true` where it is configured"
        sentence = f"{asked.where} speaks {security.version} and nothing else: {todo}"
        return replace(found, security=security, problem=("speaks-tls", sentence))
    return replace(found, problem=problem)
