"""Send stored objects by C-STORE, and ask for a sign of life by C-ECHO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom.sop_class import Verification

from ..errors import Unavailable
from ..tls.calling import Attempt
from .association import CONNECT_SECONDS, requested
from .statuses import Answer, meaning
from .target import Target

#: bytes in a second, of the slowest line on which results are to arrive: 4 Mbit/s
SLOWEST = 500_000


@dataclass(frozen=True)
class Parcel:
    """One object to send: its file, and what must be negotiated for it."""

    file: Path
    sop_class: str
    transfer_syntax: UID = ExplicitVRLittleEndian


@dataclass(frozen=True)
class Receipt:
    """What came of one object.

    Attributes:
        status: the C-STORE response's, or None when there was none.
        silent: nobody answered for the object.
        perhaps: it was sent, and nothing says whether it was stored.
        class_refused: no object of its SOP class is taken, whatever the status says.
    """

    answer: Answer
    status: int | None
    sentence: str
    silent: bool = False
    perhaps: bool = False
    class_refused: bool = False


class Unheard(Unavailable):
    """The target was sent an object and does not say whether it has stored it, nor anything else for now."""


class Sender:
    """An association to one target; made by `connect`."""

    def __init__(self, assoc: Any, target: Target) -> None:
        self._assoc, self._target = assoc, target
        self._answer_seconds = float(assoc.dimse_timeout)

    def send(self, parcel: Parcel) -> Receipt:
        """Send one object. A broken association answers RETRY for it, and LATER for all that follow."""
        accepted = {(context.abstract_syntax, context.transfer_syntax[0]) for context in self._assoc.accepted_contexts}
        syntax = next(
            (one for one in can_be_sent_in(parcel.transfer_syntax) if (parcel.sop_class, one) in accepted), None
        )
        if syntax is None:
            name = UID(parcel.sop_class).name
            return Receipt(Answer.DEAD, None, f"{self._target.name} does not accept {name}", class_refused=True)
        if not self._assoc.is_established:
            return Receipt(Answer.LATER, None, "the association had ended before this object", silent=True)
        try:
            what: Any = parcel.file
            size = parcel.file.stat().st_size
            if syntax != parcel.transfer_syntax:
                what, size = _in_syntax(parcel.file, syntax)
            # the time until it answers begins with the first byte that is sent
            self._assoc.dimse_timeout = self._answer_seconds + size / SLOWEST
            response = self._assoc.send_c_store(what)
        except (ValueError, RuntimeError, OSError) as error:
            return Receipt(Answer.RETRY, None, f"the object was not sent: {error}".split("\n")[0])
        if "Status" not in response:
            said = "the destination aborted or did not answer in time"
            return Receipt(Answer.RETRY, None, said, silent=True, perhaps=True)
        answer, sentence = meaning(int(response.Status), parcel.sop_class)
        comment = str(response.get("ErrorComment") or "")
        return Receipt(answer, int(response.Status), ": ".join(part for part in (sentence, comment) if part))


def can_be_sent_in(stored: UID) -> tuple[UID, ...]:
    """What an object can be sent in, as it is stored first; lossless compression can be undone for its destination."""
    if stored == RLELossless:
        return RLELossless, ExplicitVRLittleEndian, ImplicitVRLittleEndian
    if stored == ExplicitVRLittleEndian:
        return ExplicitVRLittleEndian, ImplicitVRLittleEndian
    return (stored,)


def _in_syntax(file: Path, syntax: UID) -> tuple[Dataset, int]:
    """The same data set, uncompressed, and how many bytes it has; in the end in the one transfer syntax that every SCP
    must know (PS3.5 10.1)."""
    ds = dcmread(file)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        ds.decompress(generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    ds.save_as(stream, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    size = stream.tell()
    stream.seek(0)
    return dcmread(stream), size


@contextlib.contextmanager
def connect(target: Target, ae_title: str, parcels: Sequence[Parcel], timeout_seconds: float) -> Iterator[Sender]:
    """Open an association that offers what the parcels need.

    Raises:
        Unavailable: `unreachable`, `rejected`: nothing was sent.
    """
    wanted: set[tuple[str, UID]] = set()
    for parcel in parcels:
        wanted |= {(parcel.sop_class, syntax) for syntax in can_be_sent_in(parcel.transfer_syntax)}
    assoc = associate(target, ae_title, sorted(wanted), timeout_seconds)
    try:
        yield Sender(assoc, target)
    finally:
        if assoc.is_established:
            assoc.release()


def echo(target: Target, ae_title: str, timeout_seconds: float) -> None:
    """C-ECHO.

    Raises:
        Unavailable: with the reason.
    """
    assoc = associate(target, ae_title, [(Verification, ImplicitVRLittleEndian)], timeout_seconds)
    try:
        response = assoc.send_c_echo()
    finally:
        if assoc.is_established:
            assoc.release()
    if response.get("Status") != 0x0000:
        raise Unavailable("unreachable", f"{target.name} did not answer C-ECHO with Success")


def associate(
    target: Target,
    ae_title: str,
    contexts: Sequence[tuple[str, UID | list[UID]]],
    timeout_seconds: float,
    handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
    roles: Sequence[Any] = (),
) -> Any:
    """Open an association.

    Args:
        contexts: SOP class and transfer syntax, or several to choose from, each a presentation context of its own.
        handlers: pynetdicom's events and what is called for them: for what the peer asks of us meanwhile.
        roles: what `build_role` of pynetdicom makes: for what the peer is to send us on this association.

    Returns:
        An association that is established, or one that has ended because no context was accepted.

    Raises:
        Unavailable: `unreachable`, `rejected`, or over TLS a code of `tls.words`, `tls-files`, `key-readable`.
    """
    where = f"{target.ae_title} at {target.host}:{target.port}"
    attempt = Attempt(target.tls, where) if target.tls else None
    try:
        assoc = requested(
            target,
            ae_title,
            contexts,
            answer_seconds=timeout_seconds,
            connect_seconds=min(timeout_seconds, CONNECT_SECONDS),
            tls=attempt.context if attempt else None,
            handlers=handlers,
            roles=roles,
        )
    except OSError as error:  # the name does not resolve
        raise Unavailable("unreachable", f"{where} cannot be found: {error.strerror or error}") from None
    if assoc.is_established or assoc.rejected_contexts:
        # where nothing was accepted pynetdicom ends the association: the peer is there, and said no to every object
        return assoc
    if assoc.is_rejected:
        primitive = assoc.acceptor.primitive
        why = getattr(primitive, "reason_str", "") if primitive else ""
        raise Unavailable("rejected", f"{where} rejected our association: {why or 'no reason given'}")
    if attempt is not None and attempt.why is not None:
        raise attempt.why
    perhaps = " (over TLS: perhaps it wants a certificate of ours)" if target.tls and not target.tls.pair else ""
    raise Unavailable("unreachable", f"{where} cannot be reached, or ended the association{perhaps}")
