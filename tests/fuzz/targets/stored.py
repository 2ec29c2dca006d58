"""What a DICOMweb server answers to STOW-RS, in JSON or XML (PS3.18 10.5.3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from node.errors import Unavailable
from node.outbound.scu import Receipt
from node.outbound.statuses import Answer
from node.outbound.stow_response import receipt
from node.outbound.target import Target as Destination
from node.outbound.target import Web
from tests.fuzz.target import Reader, Target

PACS = Destination("pacs", "PACS", "pacs", 104, Web("http://pacs/dicom-web"))
STATUSES = (200, 202, 409, 301, 400, 401, 503, 500)


def check(read: Reader, data: bytes) -> bool:
    """The first byte says with which status of HTTP the others come."""
    status = STATUSES[data[0] % len(STATUSES) if data else 0]
    try:
        found: Receipt = read(PACS, status, data[1:99].decode("latin-1"), data[1:])
    except Unavailable as error:
        assert error.code in ("unreachable", "not-authorised", "wrong-url")
        assert status not in (200, 202, 409)
        return False
    assert found.answer in Answer
    assert found.status is None or 0 <= found.status <= 0xFFFF, "a status that no row takes"
    assert found.sentence.isprintable() and len(found.sentence) < 300
    assert status != 409 or found.answer is not Answer.DELIVERED or found.status, "409 is no success"
    return found.status not in (None, 0)


def wide(pacs: Destination, status: int, location: str, answer: bytes) -> Receipt:
    """Takes a reason for what it is, however large."""
    found = receipt(pacs, status, location, answer)
    return replace(found, status=found.status << 60) if found.status else found


def seeds() -> Iterable[bytes]:
    item = {"00081150": {"vr": "UI", "Value": ["1.2"]}, "00081155": {"vr": "UI", "Value": ["1.2.3"]}}
    for sequence, reason in (("00081198", "00081197"), ("00081199", "00081196")):
        one = {sequence: {"vr": "SQ", "Value": [{**item, reason: {"vr": "US", "Value": [0xA700]}}]}}
        yield b"\0" + json.dumps(one).encode()
    yield b"\1" + json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()
    attribute = '<DicomAttribute tag="{}" vr="US"><{}>{}</{}></DicomAttribute>'
    inner = attribute.format("00081197", 'Value number="1"', 272, "Value")
    outer = attribute.format("00081198", 'Item number="1"', inner, "Item").replace('vr="US"', 'vr="SQ"', 1)
    yield b"\2" + f"<NativeDicomModel>{outer}</NativeDicomModel>".encode()
    yield b"\0" + b'{"00081198": {"vr": "SQ", "Value": [' * 9
    yield b"\2<html></html>"


TARGET = Target(
    read=receipt,
    check=check,
    seeds=seeds,
    faults={"takes any number": wide},
    words=[b'"Value": [', b'"vr": "US"', b"1e999", b"NaN", b"[[[[[[[[[[[[[[[[", b"-1", b"<Item>", b"00081197", b"null"],
)
