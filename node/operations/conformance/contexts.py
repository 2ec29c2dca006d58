"""What each application entity offers and takes, from the code's own presentation contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from db.arrivals import Kind

from ...inbound import syntaxes
from ...inbound.kinds import kind_of
from ...objects.written import REFUSALS, REJECTION_NOTES, WRITTEN, Written, name_of
from ...outbound import commitment, find, scu
from ...pull import find as pull_find
from ...pull import get, move
from ..doctor import query
from .tables import table

#: what becomes of an object that is received
BECOMES = {
    Kind.IMAGE: "image: may be segmented",
    Kind.LABEL: "label: may be a correction",
    Kind.OTHER: "kept, starts nothing",
}
ASKED_BY = {REFUSALS: "`refusals = true`", REJECTION_NOTES: "`rejection_notes = true`, and every withdrawal"}


@dataclass(frozen=True)
class Offer:
    """A SOP class with the transfer syntaxes in which it is proposed, each in a presentation context of its own.

    Attributes:
        when: what has it proposed.
    """

    sop_class: UID
    transfer_syntaxes: tuple[UID, ...]
    when: str


def received() -> dict[UID, tuple[UID, ...]]:
    """What the receiver accepts from a sender: SOP class -> transfer syntaxes, the preferred first."""
    return {
        UID(one.abstract_syntax or ""): tuple(map(UID, one.transfer_syntax or ()))
        for one in (*syntaxes.verification(), *syntaxes.storage(), *syntaxes.commitment())
    }


def others() -> dict[UID, tuple[UID, ...]]:
    """The same without the storage classes."""
    return {uid: taken for uid, taken in received().items() if taken != syntaxes.ACCEPTED}


def sent() -> list[Offer]:
    """What results are sent in."""
    return [Offer(one.sop_class, scu.can_be_sent_in(one.transfer_syntax), _when(one)) for one in WRITTEN]


def asked() -> list[Offer]:
    """What else the node proposes as an SCU."""
    return [
        Offer(Verification, (ImplicitVRLittleEndian,), "`planimeter check`, `planimeter doctor`"),
        *_grouped(commitment.CONTEXTS, "a destination with `commitment = true`, `planimeter doctor`"),
        *_grouped(
            (*find.CONTEXTS, *pull_find.CONTEXTS),
            "where storage commitment is not answered, a peer with `query`, `planimeter doctor`",
        ),
        *_grouped((*query.MOVES, *move.CONTEXTS), '`retrieve = "move"`; `planimeter doctor`: a study that nobody has'),
        *_grouped((*query.GETS, *get.CONTEXTS), '`retrieve = "get"`; `planimeter doctor`: negotiated, never used'),
    ]


def _when(one: Written) -> str:
    if one.key in ASKED_BY:
        return ASKED_BY[one.key]
    if one.instead_of and one.key == "SEG":
        return f'"{one.key}" in `objects`; also where {name_of(one.instead_of)} is refused'
    if one.instead_of:
        return f"where {name_of(one.instead_of)} is refused"
    more = " and `label_map = true`" if one.key == "SEG" else ""
    return f'"{one.key}" in `objects`{more}'


def _grouped(contexts: Iterable[tuple[str, UID]], when: str) -> Iterator[Offer]:
    by_class: dict[str, dict[UID, None]] = {}
    for sop_class, syntax in contexts:
        by_class.setdefault(sop_class, {})[syntax] = None
    for sop_class, those in by_class.items():
        yield Offer(UID(sop_class), tuple(those), when)


# -------------------------------------------------------------------- as tables


def offers(those: Iterable[Offer]) -> str:
    """SCU: a row per SOP class."""
    rows = [
        (name_of(one.sop_class), f"`{one.sop_class}`", ", ".join(map(name_of, one.transfer_syntaxes)), one.when)
        for one in those
    ]
    return table(["SOP class", "UID", "transfer syntaxes proposed", "when"], rows)


def storage_classes() -> str:
    """SCP: a row per storage SOP class, all of which are taken in the same transfer syntaxes."""
    classes = sorted(
        (uid for uid, taken in received().items() if taken == syntaxes.ACCEPTED), key=lambda uid: uid.split(".")
    )
    return table(
        ["SOP class", "UID", "what becomes of it"], [(name_of(u), f"`{u}`", BECOMES[kind_of(u)]) for u in classes]
    )


def storage_syntaxes() -> str:
    """SCP: the transfer syntaxes, the preferred first."""
    return table(["transfer syntax", "UID"], [(name_of(one), f"`{one}`") for one in syntaxes.ACCEPTED])


def other_classes() -> str:
    """SCP: everything that is no storage."""
    rows = [(name_of(uid), f"`{uid}`", ", ".join(map(name_of, taken))) for uid, taken in others().items()]
    return table(["SOP class", "UID", "transfer syntaxes"], rows)
