"""Ports for what is told its port before it listens."""

from __future__ import annotations

import os
import random
import socket
from itertools import count

#: below those that systems give to whoever calls (Linux: 32768 and more), where a free one is taken at any moment
FIRST, EACH = 20_000, 1_000
_NUMBERS = count(random.randrange(EACH))


def free_port() -> int:
    """A TCP port of 127.0.0.1 where nobody listens, of a range that no other process of a test run looks in.

    The last thousand ports that it gave are others.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw"))
    first = FIRST + EACH * min(worker, 9)
    for _ in range(EACH):
        port = first + next(_NUMBERS) % EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {first} to {first + EACH - 1} is free")
