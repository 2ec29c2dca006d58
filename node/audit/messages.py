"""What a row of the spool says as an audit message: participants and objects after PS3.15 A.5.3."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import codes
from .codes import Code, What
from .xml import Event, Of, Source, Who, message

Facts = Mapping[str, Any]

#: ParticipantObjectTypeCode and its Role
PERSON, SYSTEM = "1", "2"
PATIENT, REPORT, SECURITY_RESOURCE = "1", "3", "13"
#: ParticipantObjectDataLifeCycle: permanent erasure
ERASED = "15"
IMPLICIT = "1.2.840.10008.1.2"


@dataclass(frozen=True)
class Us:
    """The node, as it is named in its messages.

    Attributes:
        host: the name of this machine.
    """

    ae_title: str
    host: str
    source: Source

    def who(self, role: Code | None = None, *, asks: bool = False) -> Who:
        """The node as a participant."""
        return Who(user=self.source.id, role=role, ae_title=self.ae_title, at=self.host, asks=asks)


def written(what: str, at: float, facts: Facts, us: Us) -> bytes:
    """The message.

    Raises:
        KeyError, ValueError, TypeError: the row says nothing that there is a message for.
    """
    return WRITERS[What(what)](at, facts, us)


def _activity(kind: Code) -> Callable[[float, Facts, Us], bytes]:
    def made(at: float, facts: Facts, us: Us) -> bytes:
        who = [us.who(codes.APPLICATION), Who(user=facts["who"], role=codes.LAUNCHER, at=us.host, asks=True)]
        return message(Event(id=codes.APPLICATION_ACTIVITY, action="E", types=[kind]), at, who, us.source)

    return made


def _network(kind: Code) -> Callable[[float, Facts, Us], bytes]:
    def made(at: float, _facts: Facts, us: Us) -> bytes:
        return message(Event(id=codes.NETWORK_ENTRY, action="E", types=[kind]), at, [us.who()], us.source)

    return made


def _objects(facts: Facts, life_cycle: str = "") -> list[Of]:
    """The study, and its patient where that is known."""
    study = Of(
        id=facts["study_uid"],
        id_type=codes.STUDY_UID,
        kind=SYSTEM,
        role=REPORT,
        life_cycle=life_cycle,
        accession=facts.get("accession", ""),
        classes=facts.get("classes", {}),
    )
    number, issuer = facts.get("patient_id", ""), facts.get("issuer", "")
    # as HL7 writes it (CX): number^^^issuer
    named = f"{number}^^^{issuer}" if issuer else number
    return [study, Of(id=named, id_type=codes.PATIENT_NUMBER, kind=PERSON, role=PATIENT)]


def _moved(kind: Code, action: str, facts: Facts) -> Event:
    """Instances went from one place to another, and how that ended."""
    if facts.get("cut"):
        said = "the process ended before the association did"
    else:
        said = f"{failed} instances were not transferred" if (failed := facts.get("failed", 0)) else ""
    return Event(id=kind, action=action, outcome=codes.MINOR_FAILURE if said else codes.SUCCESS, said=said)


def _transfer_in(at: float, facts: Facts, us: Us) -> bytes:
    asked = bool(facts.get("asked"))
    source = Who(
        user=facts["address"] or facts["ae"],
        role=codes.SOURCE,
        ae_title=facts["ae"],
        at=facts["address"],
        asks=not asked,
    )
    who = [source, us.who(codes.DESTINATION, asks=asked)]
    return message(_moved(codes.TRANSFERRED, "C", facts), at, who, us.source, _objects(facts))


def _out(event: Code, action: str) -> Callable[[float, Facts, Us], bytes]:
    def made(at: float, facts: Facts, us: Us) -> bytes:
        to = Who(user=facts["destination"], role=codes.DESTINATION, ae_title=facts["ae"], at=facts["address"])
        who = [us.who(codes.SOURCE, asks=True), to]
        return message(_moved(event, action, facts), at, who, us.source, _objects(facts))

    return made


def _person(facts: Facts, role: Code | None = None) -> Who:
    return Who(user=facts["who"], role=role, at=facts.get("address", ""), asks=True)


def _shown(at: float, facts: Facts, us: Us) -> bytes:
    who = [_person(facts), us.who()]
    return message(Event(id=codes.ACCESSED, action="R"), at, who, us.source, _objects(facts))


def _deleted(at: float, facts: Facts, us: Us) -> bytes:
    event = Event(id=codes.STUDY_DELETED, action="D", said=facts.get("said", ""))
    return message(event, at, [_person(facts), us.who()], us.source, _objects(facts, ERASED))


def _imported(at: float, facts: Facts, us: Us) -> bytes:
    medium = Who(user=f"file://{us.host}", role=codes.SOURCE_MEDIA, medium=codes.MEDIUM)
    who = [_person(facts, codes.DESTINATION), medium]
    return message(_moved(codes.IMPORT, "C", facts), at, who, us.source, _objects(facts))


def _exported(at: float, facts: Facts, us: Us) -> bytes:
    medium = Who(user=f"file://{us.host}", role=codes.DESTINATION_MEDIA, medium=codes.MEDIUM)
    who = [_person(facts, codes.SOURCE), medium]
    return message(Event(id=codes.EXPORT, action="R"), at, who, us.source, _objects(facts))


def _query(at: float, facts: Facts, us: Us) -> bytes:
    to = Who(user=facts["peer"], role=codes.DESTINATION, ae_title=facts["ae"], at=facts["address"])
    asked = Of(
        id=facts["sop_class"],
        id_type=codes.SOP_CLASS_UID,
        kind=SYSTEM,
        role=REPORT,
        query=base64.b64decode(facts["query"]),
        details={"TransferSyntax": IMPLICIT},
    )
    who = [us.who(codes.SOURCE, asks=True), to]
    return message(Event(id=codes.QUERY, action="E"), at, who, us.source, [asked])


def _alert(
    at: float, us: Us, kind: Code, who: list[Who], subject: str, details: Mapping[str, str], outcome: str
) -> bytes:
    of = Of(id=subject, id_type=codes.NODE_ID, kind=SYSTEM, role=SECURITY_RESOURCE, details=details)
    event = Event(id=codes.SECURITY_ALERT, action="E", types=[kind], outcome=outcome)
    return message(event, at, [us.who(), *who], us.source, [of])


def _turned_away(at: float, facts: Facts, us: Us) -> bytes:
    caller = Who(user=facts["address"], ae_title=facts["ae"], at=facts["address"], asks=True)
    details = {"Alert Description": f"{facts['code']}, {facts['times']} times"}
    return _alert(at, us, codes.NODE_AUTHENTICATION, [caller], facts["address"], details, codes.MINOR_FAILURE)


def _trail_started(at: float, facts: Facts, us: Us) -> bytes:
    details = {"Alert Description": facts.get("said", "messages are sent to this collector from now on")}
    return _alert(at, us, codes.RECORDING_STARTED, [], us.source.id, details, codes.SUCCESS)


def _record(at: float, facts: Facts, us: Us) -> bytes:
    """Of an event of the record, which names no patient."""
    what, details = facts["what"], facts["details"]
    if what in codes.SIGNING:
        kind, outcome = codes.SIGNING[what]
        event = Event(id=codes.USER_AUTHENTICATION, action="E", types=[kind], outcome=outcome)
        person = Who(user=facts["who"], at=str(details.get("from", "")), asks=True)
        return message(event, at, [person, us.who()], us.source)
    kind_of = codes.of_record(what)
    if kind_of is None:
        raise ValueError(f"nobody is told of {what}")
    person = Who(user=facts["who"], at=us.host, asks=True)
    said = {"Alert Description": f"{what}: {facts['subject']}", "Record": str(facts["number"])}
    return _alert(at, us, kind_of, [person], facts["subject"], said, codes.SUCCESS)


WRITERS: dict[What, Callable[[float, Facts, Us], bytes]] = {
    What.STARTED: _activity(codes.APPLICATION_START),
    What.STOPPED: _activity(codes.APPLICATION_STOP),
    What.ATTACHED: _network(codes.ATTACH),
    What.DETACHED: _network(codes.DETACH),
    What.TRANSFER_IN: _transfer_in,
    What.SENDING: _out(codes.BEGIN_TRANSFERRING, "E"),
    What.TRANSFER_OUT: _out(codes.TRANSFERRED, "C"),
    What.SHOWN: _shown,
    What.DELETED: _deleted,
    What.IMPORTED: _imported,
    What.EXPORTED: _exported,
    What.QUERY: _query,
    What.TURNED_AWAY: _turned_away,
    What.TRAIL_STARTED: _trail_started,
    What.TEST: _trail_started,
    What.RECORD: _record,
}
