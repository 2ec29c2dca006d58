"""Both loops answer an association request alike: what is accepted is pynetdicom's to say, whoever reads on."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.dsutils import create_file_meta

from node.inbound import syntaxes
from node.inbound.association import request
from node.inbound.association.data_set import file_meta
from node.inbound.association.negotiation import negotiate
from node.inbound.association.serving import COMMITMENT, VERIFICATION
from node.inbound.peers import KnownPeer
from tests import wire
from tests.doors import trying

OFFERED = [
    wire.CT,
    "1.2.840.10008.5.1.4.1.1.4",
    wire.VERIFICATION,
    wire.COMMITMENT,
    "1.2.840.10008.5.1.4.1.2.2.1",
    "1.2.3.4",
]
SYNTAXES = [
    wire.IMPLICIT,
    wire.EXPLICIT,
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.90",
    "1.2",
]
PORTS = SimpleNamespace(own=0, pynetdicom=0)


@pytest.fixture(scope="module", autouse=True)
def _both(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[None]:
    """A receiver for each loop, which know a PACS that sends and reports, and a viewer that may do nothing but ask."""
    here = ipaddress.ip_network("127.0.0.0/8")
    peers = (
        KnownPeer("pacs", "PACS", here, may_send=True, may_send_labels=False, commitment_host="127.0.0.1"),
        KnownPeer("viewer", "VIEWER", here, may_send=False, may_send_labels=False),
        KnownPeer("ct", "CT1", here, may_send=True, may_send_labels=False),
    )
    folders = [tmp_path_factory.mktemp(loop) for loop in ("own", "stock")]
    with trying(folders[0], migrated, peers) as own, trying(folders[1], migrated, peers, loop="pynetdicom") as stock:
        PORTS.own, PORTS.pynetdicom = own.port, stock.port
        yield


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Association requests that are well-formed."""
    numbers = draw(st.lists(st.integers(0, 127), max_size=6, unique=True))
    contexts = [
        wire.context(
            2 * number + 1,
            draw(st.sampled_from(OFFERED)),
            tuple(draw(st.lists(st.sampled_from(SYNTAXES), min_size=1, max_size=4))),
        )
        for number in numbers
    ]
    roles = [
        wire.item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((draw(st.booleans()), draw(st.booleans()))))
        for uid in draw(st.lists(st.sampled_from(OFFERED), max_size=3, unique=True))
    ]
    more = draw(
        st.lists(
            st.sampled_from(
                [
                    wire.item(0x53, b"\0\5\0\5"),
                    wire.item(0x53, b"\0\0\0\0"),
                    wire.item(0x55, b"NAME"),
                    wire.item(0x56, b"\0\x05" + b"1.2.3" + b"\1\1"),
                    wire.item(0x58, b"\1\1\0\4name\0\0"),
                    wire.item(0x58, b"\2\1\0\4name\0\6secret"),
                    wire.item(0x58, b"\3\1\0\3key\0\0"),
                ]
            ),
            max_size=3,
            unique_by=lambda one: one[0],
        )
    )
    user = wire.user_information(*roles, *more, longest=draw(st.sampled_from([0, 7, 16384, 1 << 31])))
    calling = draw(st.sampled_from([b"PACS", b" PACS", b"VIEWER", b"CT1", b"NOBODY"]))
    called = draw(st.sampled_from([b"PLANIMETER", b"OTHER", b"  x y "]))
    application = draw(st.sampled_from([*5 * [wire.APPLICATION[4:]], b"1.2.3.4", wire.APPLICATION[4:] + b"\0"]))
    parts = [wire.item(0x10, application), *draw(st.permutations(contexts)), user]
    head = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + b"\0" * 32
    return wire.pdu(1, head + b"".join(draw(st.permutations(parts))))


def answered(port: int, asked: bytes) -> bytes:
    with wire.connected(port) as caller:
        caller.say(asked)
        answer = caller.pdu()
        caller.say(wire.pdu(7, b"\0\0\0\0"))
        return answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=requests())
def test_both_loops_answer_the_same_bytes(asked: bytes) -> None:
    ours, theirs = answered(PORTS.own, asked), answered(PORTS.pynetdicom, asked)
    assert wire.said(ours).split()[0] in ("accept", "reject")
    assert ours == theirs


def test_what_is_made_without_threads_is_what_pynetdicom_promises() -> None:
    """The pieces that negotiation stands on; a pynetdicom that changes them is noticed here, not by a scanner."""
    ae = AE("PLANIMETER")
    ae.maximum_pdu_size = 65536
    asked = request.parse(wire.request())
    agreed = negotiate(ae, asked, syntaxes.storage())
    assert wire.said(agreed.answer) == "accept"
    assert wire.results_of(agreed.answer) == {wire.STORING: 0, wire.ECHOING: 0}
    assert struct.pack(">L", 65536) in agreed.answer
    assert {number: (one.abstract_syntax, one.transfer_syntax) for number, one in agreed.contexts.items()} == {
        wire.STORING: (wire.CT, wire.EXPLICIT),
        wire.ECHOING: (wire.VERIFICATION, wire.IMPLICIT),
    }
    assert (agreed.longest, list(agreed.declined)) == (16384, [])
    assert {VERIFICATION, COMMITMENT} == syntaxes.uids([*syntaxes.verification(), *syntaxes.commitment()])


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "1." + "2" * 62])
def test_the_file_meta_information_is_what_pynetdicom_writes(uid: str) -> None:
    stream = BytesIO()
    meta = create_file_meta(sop_class_uid=UID(wire.CT), sop_instance_uid=UID(uid), transfer_syntax=UID(wire.EXPLICIT))
    write_file_meta_info(stream, meta)
    assert file_meta(wire.CT, uid, wire.EXPLICIT) == b"\0" * 128 + b"DICM" + stream.getvalue()
