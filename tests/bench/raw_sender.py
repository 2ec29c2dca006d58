"""A sender that costs next to nothing: it plays objects that were encoded beforehand, and reads the answers.

    python -P -m tests.bench.raw_sender HOST PORT CALLED COUNT NUMBER

One association. It says "ready" when that stands, begins when it is sent a line, and ends with the monotonic times of
its first byte and of its last answer. So the time of a receiver is measured, and not that of a scanner.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from struct import pack, unpack_from

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from node.demo.study import ct_series

LONGEST_PDU = 131072
#: (0000,0900) in a command set
STATUS_SUCCESS = b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"
SIZE = 512
#: UIDs of the template are replaced by others of the same length
LENGTH = 40


def numbered(root: str, *numbers: int) -> bytes:
    """A UID of a fixed length."""
    return (".".join([root, *map(str, numbers)]) + ".").encode().ljust(LENGTH, b"1")


def template() -> tuple[bytes, dict[str, bytes]]:
    """A data set of half a megabyte, and the UIDs in it."""
    hu = np.random.default_rng(7).integers(-1000, 1000, (SIZE, SIZE, 1)).astype(np.float32)
    (ds,) = ct_series(hu, (0.7, 0.7, 1.0))
    uids = {}
    for number, keyword in enumerate(("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")):
        uids[keyword] = numbered("2.25.1", 9, number)
        setattr(ds, keyword, uids[keyword].decode())
    return encode(ds, False, True) or b"", uids


def messages(count: int, number: int) -> list[tuple[bytes, bytes]]:
    """SOP Instance UID and data set of as many objects, of a study of their own."""
    data, uids = template()
    run = time.time_ns() // 1000
    data = data.replace(uids["StudyInstanceUID"], numbered("2.25.2", run, number))
    data = data.replace(uids["SeriesInstanceUID"], numbered("2.25.3", run, number))
    made = []
    for one in range(count):
        uid = numbered("2.25.4", run, number, one + 1)
        mine = bytearray(data.replace(uids["SOPInstanceUID"], uid))
        mine[-4096:] = os.urandom(4096)
        made.append((uid, bytes(mine)))
    return made


def request(called: str) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) for CT in Explicit VR Little Endian."""

    def item(kind: int, body: bytes) -> bytes:
        return pack(">BBH", kind, 0, len(body)) + body

    context = pack(">BBBB", 1, 0, 0, 0) + item(0x30, CTImageStorage.encode())
    context += item(0x40, ExplicitVRLittleEndian.encode())
    user = item(0x51, pack(">L", LONGEST_PDU)) + item(0x52, b"2.25.5")
    body = pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), b"BENCH".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    return pack(">BBL", 1, 0, len(body)) + body


def encoded(uid: bytes, data: bytes, longest: int, message: int) -> bytes:
    """A C-STORE-RQ with its data set as P-DATA-TF (PS3.7 9.3.1, PS3.8 9.3.5)."""
    ds = Dataset()
    ds.AffectedSOPClassUID, ds.AffectedSOPInstanceUID = CTImageStorage, uid.decode()
    ds.CommandField, ds.MessageID, ds.Priority, ds.CommandDataSetType = 0x0001, message & 0xFFFF, 0, 0x0001
    command = encode(ds, True, True) or b""
    command = pack("<HHLL", 0, 0, 4, len(command)) + command
    parts = [pack(">BBLLBB", 4, 0, len(command) + 6, len(command) + 2, 1, 3) + command]
    room = longest - 6
    for begin in range(0, len(data), room):
        part = data[begin : begin + room]
        last = 2 if begin + room >= len(data) else 0
        parts.append(pack(">BBLLBB", 4, 0, len(part) + 6, len(part) + 2, 1, last) + part)
    return b"".join(parts)


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    head = connection.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        raise ConnectionError("the receiver closed the connection")
    kind, length = unpack_from(">BxL", head)
    return kind, connection.recv(length, socket.MSG_WAITALL) if length else b""


def longest_of(accept: bytes) -> int:
    """The maximum length that an A-ASSOCIATE-AC says."""
    at = accept.index(b"\x51\x00\x00\x04", 68)
    return int(unpack_from(">L", accept, at + 4)[0]) or LONGEST_PDU


def main(host: str, port: str, called: str, count: str, number: str) -> None:
    made = messages(int(count), int(number))
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.settimeout(None)  # else MSG_WAITALL does not wait
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request(called))
        kind, accept = read_pdu(connection)
        if kind != 2:
            raise SystemExit(f"the association was answered by PDU type {kind}")
        longest = min(longest_of(accept), LONGEST_PDU)
        played = [encoded(uid, data, longest, n + 1) for n, (uid, data) in enumerate(made)]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        begun = time.monotonic()
        for message in played:
            connection.sendall(message)
            kind, answer = read_pdu(connection)
            if kind != 4 or STATUS_SUCCESS not in answer:
                raise SystemExit(f"an object was answered by PDU type {kind}: {answer.hex()}")
        ended = time.monotonic()
        connection.sendall(pack(">BBLL", 5, 0, 4, 0))
        read_pdu(connection)
    sys.stdout.write(f"{begun} {ended}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
