"""A sender that behaves, as fast as it is answered: CT slices of half a megabyte, a new association for every so many.

    python -P -m tests.soak.good_sender PORT CALLED SECONDS [CA]

Says as JSON how many instances were acknowledged, in how many seconds, and the longest that it waited for an
association and for an answer. With the file of an authority it speaks TLS.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator

from tests import wire
from tests.bench.raw_sender import numbered, request, template

EACH = 25
#: of one P-DATA-TF that everybody takes
LONGEST = 16384


def message() -> tuple[bytes, list[bytes]]:
    """A C-STORE as PDUs, and the UIDs in it, which others of their length may take the place of."""
    data, uids = template()
    command = wire.store_command(uids["SOPInstanceUID"].decode())
    parts = [wire.p_data(wire.pdv(1, 3, command))]
    room = LONGEST - 6
    for begin in range(0, len(data), room):
        part = data[begin : begin + room]
        parts.append(wire.p_data(wire.pdv(1, 2 if begin + room >= len(data) else 0, part)))
    return b"".join(parts), list(uids.values())


@contextlib.contextmanager
def associated(port: int, called: str, authority: str) -> Iterator[wire.Wire]:
    """An association that was accepted, in the clear or over TLS."""
    with contextlib.ExitStack() as stack:
        line: socket.socket = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=120))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if authority:
            trusting = ssl.create_default_context(cafile=authority)
            trusting.check_hostname = False
            line = stack.enter_context(trusting.wrap_socket(line))
        made = wire.Wire(line)
        line.sendall(request(called))
        if wire.said(answer := made.pdu()) != "accept":
            raise SystemExit(f"the association was answered: {wire.said(answer)}")
        yield made
        line.sendall(wire.RELEASE)
        made.pdu()


def main(port: str, called: str, seconds: str, authority: str = "") -> None:
    whole, (sop_uid, series_uid, study_uid) = message()
    run = time.time_ns() // 1000
    stored, longest_accept, longest_answer = 0, 0.0, 0.0
    begun = time.monotonic()
    while time.monotonic() - begun < float(seconds):
        study = stored // EACH
        mine = whole.replace(study_uid, numbered("2.25.2", run, study))
        mine = mine.replace(series_uid, numbered("2.25.3", run, study))
        asked = time.monotonic()
        with associated(int(port), called, authority) as assoc:
            longest_accept = max(longest_accept, time.monotonic() - asked)
            for _ in range(EACH):
                one = mine.replace(sop_uid, numbered("2.25.4", run, stored))
                asked = time.monotonic()
                assoc.socket.sendall(one)
                if (status := assoc.status()) != 0:
                    raise SystemExit(f"an object was answered {status}")
                longest_answer = max(longest_answer, time.monotonic() - asked)
                stored += 1
    took = time.monotonic() - begun
    told = {"instances": stored, "seconds": took, "longest_accept": longest_accept, "longest_answer": longest_answer}
    sys.stdout.write(json.dumps(told | {"run": run}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
