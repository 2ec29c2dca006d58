"""Open associations to a peer, and say why one cannot be opened: in words that tell what to do."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, build_context
from pynetdicom.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.sop_class import Verification

from ...audit.trail import SILENT, Trail
from ...errors import Unavailable
from ...inbound.peers import printable
from ...outbound.association import requested
from ...outbound.target import Target
from ...tls.calling import Attempt, Calling
from . import line
from .service import Service

ACCEPTED, REJECTED, ABORTED = 0x02, 0x03, 0x07
TLS_ALERT = 0x15
#: PS3.8 9.3.4: result, source and reason of a rejection
CALLED_UNKNOWN, CALLING_UNKNOWN = (1, 1, 7), (1, 1, 3)
TRANSIENT = 2
WHO_CLOSES = "it may take only callers that it knows by address, or it is no DICOM port"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
#: PS3.7 D.3.3.1
IMPLICIT = "1.2.840.10008.1.2"


@dataclass(frozen=True)
class Call:
    """Whom to call, and as whom.

    Attributes:
        seconds: how long an answer is waited for.
        tls: speak TLS; its certificate is not judged here (`line.secure` does).
        trail: is told of what is asked for.
    """

    target: Target
    ae_title: str
    seconds: float
    tls: Calling | None = None
    trail: Trail = SILENT

    def context(self) -> ssl.SSLContext | None:
        """For one connection.

        Raises:
            Unavailable: `tls-files`, `key-readable`.
        """
        return Attempt(self.tls, verify=False).context if self.tls else None

    @property
    def who(self) -> str:
        return self.target.ae_title

    @property
    def where(self) -> str:
        return f"{self.target.host}:{self.target.port}"

    def unanswered(self, name: str, began: float) -> Service:
        """A service that was accepted, and asked for without a response.

        Args:
            began: when it was asked for, by the monotonic clock. pynetdicom aborts what times out, so that alone tells
                the peer that ended the association from the one that slept.
        """
        if time.monotonic() - began < self.seconds:
            return Service(name, False, "accepted, but it ends the association when it is asked", dropped=True)
        return Service(name, False, f"accepted, but not answered within {self.seconds:g} s")


@contextlib.contextmanager
def associated(
    call: Call,
    contexts: Sequence[tuple[str, UID]],
    roles: Sequence[Any] = (),
    handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
) -> Iterator[Any]:
    """An association: established, or ended already because the peer accepted no context.

    Args:
        contexts: SOP class and transfer syntax, each a presentation context of its own.
        roles: SCP/SCU role selections (PS3.7 D.3.3.4).

    Raises:
        Unavailable: with a code of `operations.md`, and what to do.
    """
    try:
        assoc = requested(
            call.target,
            call.ae_title,
            contexts,
            answer_seconds=call.seconds,
            connect_seconds=call.seconds,
            tls=call.context(),
            handlers=handlers,
            roles=roles,
        )
    except OSError:  # the name does not resolve
        raise why_silent(call) from None
    if assoc.is_rejected:
        raise _rejected(call, assoc.acceptor.primitive)
    if not (assoc.is_established or assoc.rejected_contexts):
        raise why_silent(call)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def _rejected(call: Call, primitive: Any) -> Unavailable:
    """Also from a bare A-ASSOCIATE-RJ, whose reason may be none of the Standard's."""
    said = (primitive.result, primitive.result_source, primitive.diagnostic) if primitive else (1, 1, 1)
    if said == CALLED_UNKNOWN:
        return Unavailable(
            "called-title-unknown",
            f"somebody at {call.where} does not go by the AE title {call.who}: give the one that it is configured with "
            "(capitals count)",
        )
    if said == CALLING_UNKNOWN:
        return Unavailable(
            "calling-title-unknown",
            f"{call.who} does not know our AE title {call.ae_title}, or not from this machine: add it there, with this "
            "machine's address",
        )
    try:
        why = primitive.reason_str
    except (AttributeError, KeyError):
        why = f"result {said[0]}, source {said[1]}, reason {said[2]}"
    todo = "it is busy, try again later" if said[0] == TRANSIENT else "its log says why"
    return Unavailable("rejected", f"{call.who} at {call.where} rejects our association ({why}): {todo}")


def why_silent(call: Call) -> Unavailable:
    """Why there was neither yes nor no to an association: asked once more, by hand, from the host name on."""
    try:
        answer = line.exchange(call.target.host, call.target.port, call.seconds, _request(call), call.context())
    except Unavailable as error:
        return error
    except TimeoutError:
        said = f"{call.where} takes the connection and then says nothing for {call.seconds:g} s"
        return Unavailable("silent", f"{said}: it hangs, or it is no DICOM port")
    except ssl.SSLError as error:
        return _alerted(call, error)
    except OSError as error:
        return Unavailable("closed", f"{call.where} ends the connection ({error.strerror}): {WHO_CLOSES}")
    return _of_answer(call, answer)


def _of_answer(call: Call, answer: bytes) -> Unavailable:
    if not answer:
        return Unavailable("closed", f"{call.where} ends the connection without an answer: {WHO_CLOSES}")
    if answer[0] == ABORTED and answer[1:2] == b"\0":
        said = f"{call.who} at {call.where} aborts our association without a reason"
        return Unavailable("aborted", f"{said}: its log may say why; it may not know our AE title {call.ae_title}")
    if answer[0] == REJECTED and answer[1:6] == b"\0\0\0\0\4" and len(answer) == line.SHORTEST_ANSWER:
        return _rejected(call, _rejection(answer))
    if answer[0] in (ACCEPTED, REJECTED) and answer[1:2] == b"\0":
        said = f"{call.who} at {call.where} answers one time and not another, or with an answer that cannot be read"
        return Unavailable("unreadable-answer", f"{said}: try again, and see its log")
    if answer[0] == TLS_ALERT:
        return Unavailable("speaks-tls", f"{call.where} wants TLS: try again with --tls")
    shown = printable(answer[:24].decode("ascii", "replace"))
    hint = ": that is a web server; the DICOM port is another" if answer.startswith(b"HTTP/") else ""
    return Unavailable("not-dicom", f"{call.where} does not speak DICOM: it answered {shown!r}{hint}")


def _rejection(answer: bytes) -> Any:
    """None where its result, source and reason are none of the Standard's (PS3.8 9.3.4)."""
    pdu = A_ASSOCIATE_RJ()
    pdu.decode(bytearray(answer))
    try:
        return pdu.to_primitive()
    except ValueError:
        return None


def _alerted(call: Call, error: ssl.SSLError) -> Unavailable:
    """TLS 1.3 says only after the handshake that it wanted a certificate."""
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "certificate required" in reason or "handshake failure" in reason:
        return Unavailable(
            "certificate-wanted",
            f"{call.where} wants a certificate of ours that it knows ({reason}): give --certificate and --key",
        )
    return Unavailable("tls-failed", f"{call.where} ends the TLS line: {reason}")


def _request(call: Call) -> bytes:
    """An A-ASSOCIATE-RQ that offers C-ECHO (PS3.8 9.3.2)."""
    asked = A_ASSOCIATE()
    asked.application_context_name = UID(APPLICATION_CONTEXT)
    asked.calling_ae_title, asked.called_ae_title = call.ae_title, call.who
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    asked.user_information = [length, implementation]
    context = build_context(Verification, UID(IMPLICIT))
    context.context_id = 1
    asked.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(asked)
    return bytes(pdu.encode())


def speaks_dicom(call: Call) -> bool:
    """Whether a request in the clear is answered in DICOM, with yes or no."""
    try:
        answer = line.exchange(call.target.host, call.target.port, call.seconds, _request(call), None)
    except (Unavailable, OSError):
        return False
    return answer[:1] in (bytes([ACCEPTED]), bytes([REJECTED]), bytes([ABORTED])) and answer[1:2] == b"\0"
