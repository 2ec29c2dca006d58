"""The two receive loops against one another: CT slices of 512 KB over one association.

    python -P -m tests.bench.loops --instances 600

Prints instances a second and the processor time that the receiver took for one, for PDUs of 16 and 128 KB. What
the loops hand over is digested and removed, not made durable: that costs the same after either.
"""

from __future__ import annotations

import argparse
import os
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import xxhash
from rich.console import Console
from rich.table import Table

from db import schema
from db.arrivals import Seen
from db.database import open_database, sqlite_url
from node.inbound.inbox import Inbox
from node.inbound.peers import Doorkeeper
from node.receiver import Receiver
from node.study.archive import Archive
from tests import wire
from tests.doors import door

PIXELS = os.urandom(512 * 512 * 2)


class Emptied(Inbox):
    """An inbox that looks at what comes as the other does, as far as the loop matters: and keeps nothing."""

    def take(self, spooled: Path, *_: Any, digest: str | None = None, **__: Any) -> Seen:
        if digest is None:
            xxhash.xxh3_128(spooled.read_bytes()).hexdigest()
        spooled.unlink()
        return Seen.NEW


def message(number: int, pdu_bytes: int) -> bytes:
    """A C-STORE-RQ with its data set, in PDUs of a length."""
    uid = f"1.2.826.0.1.3680043.10.9.5.{number}"
    data = wire.instance(uid, struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OW", 0, len(PIXELS)) + PIXELS)
    parts = [data[at : at + pdu_bytes - 6] for at in range(0, len(data), pdu_bytes - 6)]
    last = len(parts) - 1
    command = wire.p_data(wire.pdv(wire.STORING, 3, wire.store_command(uid)))
    return command + b"".join(
        wire.p_data(wire.pdv(wire.STORING, 2 * (at == last), part)) for at, part in enumerate(parts)
    )


def send(port: int, instances: int, pdu_bytes: int) -> float:
    """Send them one after the other; the seconds that took."""
    with wire.associated(port) as caller:
        begun = time.monotonic()
        for number in range(instances):
            caller.socket.sendall(message(number % 10, pdu_bytes))
            assert caller.status() == 0
        return time.monotonic() - begun


def measured(loop: str, instances: int, pdu_bytes: int) -> tuple[float, float]:
    """Instances a second, and milliseconds of a processor for each."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(sqlite_url(Path(folder) / "rows.db"))
        schema.require(database)
        archive = Archive(Path(folder) / "home")
        archive.prepare()
        how = door(loop=loop, idle_seconds=60, max_pdu_bytes=131072)
        receiver = Receiver(how, Doorkeeper(()), Emptied(archive, database), database)
        port = receiver.start()
        reading, writing = os.pipe()
        before = os.times()
        if (sender := os.fork()) == 0:
            os.write(writing, struct.pack("d", send(port, instances, pdu_bytes)))
            os._exit(0)
        os.waitpid(sender, 0)
        after = os.times()
        (seconds,) = struct.unpack("d", os.read(reading, 8))
        receiver.stop()
        database.dispose()
        tempfile.tempdir = None  # pynetdicom's loop has its files in the spool
    spent = after.user + after.system - before.user - before.system
    return instances / seconds, 1000 * spent / instances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=600)
    options = parser.parse_args()
    shown = Table("loop", "PDU", "instances/s", "receiver, ms of a processor each", title="512 KB, one association")
    for pdu_bytes in (16384, 131072):
        for loop in ("own", "pynetdicom"):
            rate, spent = measured(loop, options.instances, pdu_bytes)
            shown.add_row(loop, str(pdu_bytes), f"{rate:.0f}", f"{spent:.2f}")
    Console().print(shown)


if __name__ == "__main__":
    main()
