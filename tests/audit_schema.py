"""Whether an audit message is one: our own reading of the schema and of the tables of PS3.15 A.5.

First the grammar of A.5.1 (elements, their order and number, attributes, what values they may have), then what A.5.3
asks of each kind: action, participants with their roles, objects.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from tests.fake_collector import code_of

Values = Callable[[str], bool]


def _one_of(*words: str) -> Values:
    return lambda text: text in words


def _numbers(first: int, last: int) -> Values:
    return _one_of(*map(str, range(first, last + 1)))


def _like(pattern: str) -> Values:
    return lambda text: re.fullmatch(pattern, text) is not None


def _base64(text: str) -> bool:
    return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text


anything, token = _like(r"(?s).*"), _like(r"\S(.*\S)?|")
TIME = _like(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
BOOLEAN = _one_of("true", "false", "0", "1")


@dataclass(frozen=True)
class Element:
    """What may be in one.

    Attributes:
        must, may: attribute -> its values.
        inside: (names of which one stands here, how many at least, at most), in this order.
        text: of the element itself; None: it has none.
    """

    must: dict[str, Values] = field(default_factory=dict)
    may: dict[str, Values] = field(default_factory=dict)
    inside: tuple[tuple[tuple[str, ...], int, float], ...] = ()
    text: Values | None = None


MANY = float("inf")
CODED = Element({"csd-code": token, "codeSystemName": token, "originalText": token}, {"displayName": token})
ELEMENTS = {
    "AuditMessage": Element(
        inside=(
            (("EventIdentification",), 1, 1),
            (("ActiveParticipant",), 1, MANY),
            (("AuditSourceIdentification",), 1, 1),
            (("ParticipantObjectIdentification",), 0, MANY),
        )
    ),
    "EventIdentification": Element(
        {"EventDateTime": TIME, "EventOutcomeIndicator": _one_of("0", "4", "8", "12")},
        {"EventActionCode": _one_of(*"CRUDE")},
        ((("EventID",), 1, 1), (("EventTypeCode",), 0, MANY), (("EventOutcomeDescription",), 0, 1)),
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "RoleIDCode": CODED,
    "MediaType": CODED,
    "ParticipantObjectIDTypeCode": CODED,
    "EventOutcomeDescription": Element(text=anything),
    "ActiveParticipant": Element(
        {"UserID": _like(r"(?s).+"), "UserIsRequestor": BOOLEAN},
        {
            "AlternativeUserID": anything,
            "UserName": anything,
            "NetworkAccessPointID": token,
            "NetworkAccessPointTypeCode": _numbers(1, 5),
        },
        ((("RoleIDCode",), 0, MANY), (("MediaIdentifier",), 0, 1)),
    ),
    "MediaIdentifier": Element(inside=((("MediaType",), 1, 1),)),
    "AuditSourceIdentification": Element(
        {"AuditSourceID": token}, {"AuditEnterpriseSiteID": token}, ((("AuditSourceTypeCode",), 0, MANY),)
    ),
    "AuditSourceTypeCode": Element({"csd-code": _numbers(1, 9)}),
    "ParticipantObjectIdentification": Element(
        {"ParticipantObjectID": _like(r"\S(.*\S)?")},
        {
            "ParticipantObjectTypeCode": _numbers(1, 4),
            "ParticipantObjectTypeCodeRole": _numbers(1, 26),
            "ParticipantObjectDataLifeCycle": _numbers(1, 15),
            "ParticipantObjectSensitivity": token,
        },
        (
            (("ParticipantObjectIDTypeCode",), 1, 1),
            (("ParticipantObjectName", "ParticipantObjectQuery"), 1, 1),
            (("ParticipantObjectDetail",), 0, MANY),
            (("ParticipantObjectDescription",), 0, MANY),
        ),
    ),
    "ParticipantObjectName": Element(text=token),
    "ParticipantObjectQuery": Element(text=_base64),
    "ParticipantObjectDetail": Element({"type": token, "value": _base64}),
    "ParticipantObjectDescription": Element(
        inside=(
            (("MPPS",), 0, MANY),
            (("Accession",), 0, MANY),
            (("SOPClass",), 0, MANY),
            (("ParticipantObjectContainsStudy",), 0, 1),
            (("Encrypted",), 0, 1),
            (("Anonymized",), 0, 1),
        )
    ),
    "Accession": Element({"Number": token}),
    "SOPClass": Element({"NumberOfInstances": _like(r"\d+")}, {"UID": _like(r"[0-9.]{1,64}")}),
}

STUDY, PATIENT, CLASS, NODE = "110180", "2", "110181", "110182"
#: code of the event -> its actions, roles that take part, and how often each type of object may be there
KINDS: dict[str, tuple[str, set[str], dict[str, tuple[float, float]]]] = {
    "110100": ("E", {"110150", "110151"}, {}),
    "110102": ("E", {"110153", "110152"}, {STUDY: (1, MANY), PATIENT: (1, 1)}),
    "110103": ("CRUD", set(), {STUDY: (1, MANY), PATIENT: (1, 1)}),
    "110104": ("CRU", {"110153", "110152"}, {STUDY: (1, MANY), PATIENT: (1, 1)}),
    "110105": ("D", set(), {STUDY: (1, MANY), PATIENT: (1, 1)}),
    "110106": ("R", {"110153", "110154"}, {STUDY: (1, MANY), PATIENT: (1, MANY)}),
    "110107": ("C", {"110152", "110155"}, {STUDY: (1, MANY), PATIENT: (1, MANY)}),
    "110108": ("E", set(), {}),
    "110112": ("E", {"110153", "110152"}, {CLASS: (1, 1)}),
    "110113": ("E", set(), {NODE: (1, MANY)}),
    "110114": ("E", set(), {}),
}
#: events that say by a type what they are
TYPED = {
    "110100": {"110120", "110121"},
    "110108": {"110124", "110125"},
    "110113": {str(code) for code in range(110126, 110138)},
    "110114": {"110122", "110123"},
}


def faults(root: ET.Element) -> list[str]:
    """What is wrong with a message; nothing: it is one."""
    found = [] if root.tag == "AuditMessage" else [f"it begins with {root.tag}"]
    found += _grammar(root)
    return found or _table(root)


def _grammar(at: ET.Element) -> list[str]:
    known = ELEMENTS.get(at.tag)
    if known is None:
        return [f"there is no element {at.tag}"]
    return [*_of_itself(at, known), *_inside(at, known), *(fault for one in at for fault in _grammar(one))]


def _of_itself(at: ET.Element, known: Element) -> list[str]:
    found = [f"{at.tag} lacks {name}" for name in known.must if name not in at.attrib]
    for name, value in at.attrib.items():
        allowed = (known.must | known.may).get(name)
        if allowed is None:
            found.append(f"{at.tag} has no attribute {name}")
        elif not allowed(value):
            found.append(f"{at.tag}: {name} is {value!r}")
    text = at.text or ""
    if text.strip() and known.text is None:
        found.append(f"{at.tag} has text")
    elif known.text is not None and not known.text(text):
        found.append(f"{at.tag} is {text!r}")
    return found


def _inside(at: ET.Element, known: Element) -> list[str]:
    found = []
    names = [one.tag for one in at]
    for choice, least, most in known.inside:
        count = 0
        while names and names[0] in choice:
            names.pop(0)
            count += 1
        if not least <= count <= most:
            found.append(f"{at.tag} has {count} {' or '.join(choice)}")
    if names:
        found.append(f"{at.tag}: {names[0]} is not expected there")
    return found


def _table(root: ET.Element) -> list[str]:
    event = root.find("EventIdentification")
    assert event is not None
    code, *types = code_of(root).split("/")
    if code not in KINDS:
        return [f"there is no event {code}"]
    actions, roles, objects = KINDS[code]
    found = []
    if event.get("EventActionCode") not in actions:
        found.append(f"{code} has action {event.get('EventActionCode')}")
    if code in TYPED and (len(types) != 1 or types[0] not in TYPED[code]):
        found.append(f"{code} has types {types}")
    there = {one.get("csd-code") for one in root.iter("RoleIDCode")}
    if roles - there:
        found.append(f"{code} lacks the roles {roles - there}")
    ids = [one.get("csd-code") for one in root.iter("ParticipantObjectIDTypeCode")]
    counts = Counter(ids)
    for kind, (least, most) in objects.items():
        if not least <= counts[kind] <= most:
            found.append(f"{code} has {counts[kind]} objects of type {kind}")
    if strange := set(ids) - set(objects):
        found.append(f"{code} has objects of type {strange}")
    return found
