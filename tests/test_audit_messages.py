"""Audit messages: each kind is what PS3.15 A.5 asks for, whatever a peer or a person calls itself."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from node.audit import codes, messages
from node.audit.codes import What
from node.audit.messages import Us, written
from node.audit.syslog import framed, line
from node.audit.xml import Source
from tests.audit_schema import ELEMENTS, faults
from tests.fake_collector import code_of, parts

HOSTILE = 'A"<x>&]]>\x00\x0b\x1b[31m\ud800\n<!ENTITY e SYSTEM "file:///">\u202eÜ'
US = Us("PLANIMETER", "gpu1.example", Source("PLANIMETER", "Hospital"))
STUDY = {"study_uid": "1.2.3.4", "patient_id": HOSTILE, "issuer": "HOSP", "accession": "A1"}
AT = {"ae": "CT_1", "address": "10.20.30.7"}
CLASSES = {"classes": {"1.2.840.10008.5.1.4.1.1.2": 120}}
ASKED = {"peer": "pacs", "sop_class": "1.2.840.10008.5.1.4.1.2.2.1", "query": base64.b64encode(b"\0\x08").decode()}
RECORD = {"number": 7, "who": HOSTILE, "subject": "pages", "details": {"from": "10.0.0.1"}}

FACTS: dict[What, dict[str, Any]] = {
    What.STARTED: {"who": "root"},
    What.STOPPED: {"who": "root"},
    What.ATTACHED: {},
    What.DETACHED: {},
    What.TRANSFER_IN: STUDY | AT | CLASSES,
    What.SENDING: STUDY | AT | CLASSES | {"destination": "pacs"},
    What.TRANSFER_OUT: STUDY | AT | CLASSES | {"destination": "pacs", "failed": 2},
    What.SHOWN: STUDY | {"who": HOSTILE, "address": "10.20.30.8"},
    What.DELETED: STUDY | {"who": "root", "said": "erased"},
    What.IMPORTED: STUDY | CLASSES | {"who": "anna", "address": ""},
    What.EXPORTED: STUDY | {"who": "anna"},
    What.QUERY: AT | ASKED,
    What.TURNED_AWAY: {"ae": HOSTILE, "address": "10.9.9.9", "code": "unknown-caller", "times": 3},
    What.TRAIL_STARTED: {},
    What.TEST: {"said": "a test"},
    What.RECORD: RECORD | {"what": "sign-in-failed"},
}
EXPECTED = {
    What.STARTED: "110100/110120",
    What.STOPPED: "110100/110121",
    What.ATTACHED: "110108/110124",
    What.DETACHED: "110108/110125",
    What.TRANSFER_IN: "110104",
    What.SENDING: "110102",
    What.TRANSFER_OUT: "110104",
    What.SHOWN: "110103",
    What.DELETED: "110105",
    What.IMPORTED: "110107",
    What.EXPORTED: "110106",
    What.QUERY: "110112",
    What.TURNED_AWAY: "110113/110126",
    What.TRAIL_STARTED: "110113/110134",
    What.TEST: "110113/110134",
    What.RECORD: "110114/110122",
}


def message(what: What, /, **changes: Any) -> ET.Element:
    # what waits has been through the database as JSON
    facts = json.loads(json.dumps(FACTS[what] | changes))
    return ET.fromstring(written(what, 1790000000.5, facts, US))


@pytest.mark.parametrize("what", list(What))
def test_every_kind_is_a_message_of_the_standard(what: What) -> None:
    root = message(what)
    assert faults(root) == []
    assert code_of(root) == EXPECTED[what]
    assert root.find("EventIdentification").get("EventDateTime") == "2026-09-21T14:13:20.500Z"  # type: ignore[union-attr]
    source = root.find("AuditSourceIdentification")
    assert source is not None
    assert (source.get("AuditSourceID"), source.get("AuditEnterpriseSiteID")) == ("PLANIMETER", "Hospital")


@pytest.mark.parametrize("what", ["sign-in", "sign-out", "account-added", "account-role", "patients-shown", "backup"])
def test_what_the_record_has_of_persons_is_told(what: str) -> None:
    root = message(What.RECORD, what=what)
    assert faults(root) == []
    event = root.find("EventIdentification")
    assert event is not None
    assert event.get("EventOutcomeIndicator") == "0"
    assert codes.told(what)
    assert not codes.told("label-mapped")


def test_a_failed_sign_in_says_that_it_failed_and_from_where() -> None:
    root = message(What.RECORD, what="sign-in-failed")
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "4"  # type: ignore[union-attr]
    assert root.find("ActiveParticipant").get("NetworkAccessPointID") == "10.0.0.1"  # type: ignore[union-attr]


def test_a_transfer_names_the_study_its_patient_and_how_many_of_each_class() -> None:
    root = message(What.TRANSFER_IN, patient_id="4711")
    study, patient = root.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3.4"
    assert study.find("ParticipantObjectDescription/Accession").get("Number") == "A1"  # type: ignore[union-attr]
    described = study.find("ParticipantObjectDescription/SOPClass")
    assert described is not None
    assert described.attrib == {"UID": "1.2.840.10008.5.1.4.1.1.2", "NumberOfInstances": "120"}
    assert patient.get("ParticipantObjectID") == "4711^^^HOSP"
    source, destination = root.findall("ActiveParticipant")
    assert (source.get("UserIsRequestor"), destination.get("UserIsRequestor")) == ("true", "false")
    assert source.get("AlternativeUserID") == "AETITLES=CT_1"
    fetched = message(What.TRANSFER_IN, asked=True).findall("ActiveParticipant")
    assert [one.get("UserIsRequestor") for one in fetched] == ["false", "true"]


def test_what_was_cut_off_is_a_minor_failure() -> None:
    root = message(What.TRANSFER_IN, cut=True, classes={})
    assert faults(root) == []
    assert root.find("EventIdentification").get("EventOutcomeIndicator") == "4"  # type: ignore[union-attr]
    assert "before the association" in str(root.findtext("EventIdentification/EventOutcomeDescription"))


def test_hostile_text_stays_text() -> None:
    """It is one attribute's value: no element of its own, no entity, nothing that XML has not."""
    root = message(What.SHOWN)
    person = root.find("ActiveParticipant")
    assert person is not None
    said = str(person.get("UserID"))
    assert said.startswith('A"<x>&]]>')
    assert said.endswith("Ü")
    assert not set("\0\x0b\x1b\ud800") & set(said)
    assert {one.tag for one in root.iter()} <= set(ELEMENTS)


@pytest.mark.parametrize("facts", [{}, {"study_uid": 7, "ae": None, "address": None}])
def test_a_row_that_says_nothing_is_said_to_be_none(facts: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        written("transfer-in", 0, facts, US)
    with pytest.raises(ValueError):
        written("something else", 0, facts, US)


def test_the_syslog_message_has_the_header_that_the_standard_asks_for() -> None:
    xml = written(What.STARTED, 0, {"who": "root"}, US)
    priority, when, host, name, process, kind, body = parts(line(xml, 1790000000.25, 10, "gpu 1\x00.example"))
    assert priority == b"85"  # security and authorization, notice
    assert when == b"2026-09-21T14:13:20.250Z"
    assert host == b"gpu-1-.example"
    assert (name, kind) == (b"Planimeter", b"DICOM+RFC3881")
    assert process.isdigit()
    assert ET.fromstring(body).tag == "AuditMessage"
    assert framed(b"abc") == b"3 abc"


def spoilt(root: ET.Element) -> dict[str, Callable[[], object]]:
    """What can be wrong with a transfer, and how it comes about."""
    event, people, of = root[0], root.findall("ActiveParticipant"), root.findall("ParticipantObjectIdentification")
    return {
        "no person": lambda: [root.remove(one) for one in people],
        "order": lambda: (root.remove(event), root.append(event)),
        "action": lambda: event.set("EventActionCode", "D"),
        "time": lambda: event.set("EventDateTime", "today"),
        "no meaning": lambda: event[0].attrib.pop("originalText"),
        "role": lambda: people[0].remove(people[0][0]),
        "patient": lambda: root.remove(of[1]),
        "two names": lambda: of[0].insert(1, copy.deepcopy(of[0][1])),
        "attribute": lambda: of[0].set("PatientName", "x"),
        "count": lambda: next(root.iter("SOPClass")).attrib.pop("NumberOfInstances"),
    }


@pytest.mark.parametrize("how", list(spoilt(message(What.TRANSFER_IN))))
def test_the_schema_sees_what_is_wrong(how: str) -> None:
    root = message(What.TRANSFER_IN)
    assert faults(root) == []
    spoilt(root)[how]()
    assert faults(root)


def test_every_kind_has_a_writer() -> None:
    assert set(messages.WRITERS) == set(What)
