"""Audit messages as XML (PS3.15 A.5.1): the parts that every message has. Every text in it may be hostile."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from .codes import SUCCESS, Code

#: what XML 1.0 has not, not even escaped (section 2.2)
NO_CHARACTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: NetworkAccessPointTypeCode
MACHINE, ADDRESS = "1", "2"


@dataclass(frozen=True, kw_only=True)
class Who:
    """An active participant.

    Attributes:
        ae_title: as AlternativeUserID, in the form that the Standard gives ("AETITLES=...").
        at: a host name or an IP address.
        medium: what objects were read from or written to.
    """

    user: str
    role: Code | None = None
    ae_title: str = ""
    at: str = ""
    asks: bool = False
    medium: Code | None = None


@dataclass(frozen=True, kw_only=True)
class Of:
    """A participant object.

    Attributes:
        kind, role: ParticipantObjectTypeCode and its Role.
        name: empty where it has none: the schema wants a name or a query.
        details: type -> value; written in base64, as the schema wants all of them.
        accession, classes: of a study: its number, and SOP Class UID -> number of instances.
    """

    id: str
    id_type: Code
    kind: str
    role: str
    name: str = ""
    query: bytes | None = None
    life_cycle: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    accession: str = ""
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened.

    Attributes:
        action: "C", "R", "U", "D" or "E".
        said: EventOutcomeDescription; for what did not succeed.
    """

    id: Code
    action: str
    types: Sequence[Code] = ()
    outcome: str = SUCCESS
    said: str = ""


@dataclass(frozen=True)
class Source:
    """Who reports (AuditSourceIdentification); `site` may be empty."""

    id: str
    site: str = ""


def message(event: Event, at: float, who: Iterable[Who], source: Source, of: Iterable[Of] = ()) -> bytes:
    """An audit message, in UTF-8.

    Args:
        at: seconds since 1970 when it happened.
    """
    root = ET.Element("AuditMessage")
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = _under(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=when,
        EventOutcomeIndicator=event.outcome,
    )
    _coded(head, "EventID", event.id)
    for code in event.types:
        _coded(head, "EventTypeCode", code)
    if event.said:
        _under(head, "EventOutcomeDescription").text = _clean(event.said)
    for one in who:
        _participant(root, one)
    named = {"AuditEnterpriseSiteID": source.site, "AuditSourceID": source.id}
    origin = _under(root, "AuditSourceIdentification", **{name: value for name, value in named.items() if value})
    _under(origin, "AuditSourceTypeCode", **{"csd-code": "4"})  # an application server
    for each in of:
        _object(root, each)
    return b'<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, "utf-8", xml_declaration=False)


def _participant(root: ET.Element, who: Who) -> None:
    given = {"UserID": who.user or "unknown"}
    if who.ae_title:
        given["AlternativeUserID"] = f"AETITLES={who.ae_title}"
    given["UserIsRequestor"] = "true" if who.asks else "false"
    if who.at:
        given |= {"NetworkAccessPointID": who.at, "NetworkAccessPointTypeCode": _point(who.at)}
    made = _under(root, "ActiveParticipant", **given)
    if who.role is not None:
        _coded(made, "RoleIDCode", who.role)
    if who.medium is not None:
        _coded(_under(made, "MediaIdentifier"), "MediaType", who.medium)


def _point(at: str) -> str:
    return ADDRESS if ":" in at or re.fullmatch(r"[0-9.]+", at) else MACHINE


def _object(root: ET.Element, of: Of) -> None:
    given = {
        "ParticipantObjectID": of.id or "unknown",
        "ParticipantObjectTypeCode": of.kind,
        "ParticipantObjectTypeCodeRole": of.role,
        "ParticipantObjectDataLifeCycle": of.life_cycle,
    }
    made = _under(root, "ParticipantObjectIdentification", **{name: value for name, value in given.items() if value})
    _coded(made, "ParticipantObjectIDTypeCode", of.id_type)
    if of.query is not None:
        _under(made, "ParticipantObjectQuery").text = base64.b64encode(of.query).decode()
    else:
        _under(made, "ParticipantObjectName").text = _clean(of.name)
    for name, value in of.details.items():
        encoded = base64.b64encode(value.encode("utf-8", "replace")).decode()
        _under(made, "ParticipantObjectDetail", type=name, value=encoded)
    if of.accession or of.classes:
        described = _under(made, "ParticipantObjectDescription")
        if of.accession:
            _under(described, "Accession", Number=of.accession)
        for uid, count in sorted(of.classes.items()):
            _under(described, "SOPClass", UID=uid, NumberOfInstances=str(int(count)))


def _coded(parent: ET.Element, name: str, code: Code) -> None:
    # displayName is for collectors that know RFC 3881 alone
    attributes = {"csd-code": code.code, "codeSystemName": code.system}
    _under(parent, name, **attributes, displayName=code.meaning, originalText=code.meaning)


def _under(parent: ET.Element, name: str, /, **attributes: str) -> ET.Element:
    # an xsd:token has no white space but single blanks
    tokens = {key: " ".join(_clean(value).split()) for key, value in attributes.items()}
    return ET.SubElement(parent, name, tokens)


def _clean(text: str) -> str:
    return NO_CHARACTER.sub("\ufffd", text)
