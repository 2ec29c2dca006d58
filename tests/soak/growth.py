"""Associations of every kind by the ten thousand: what does the receiver keep of them?"""

from __future__ import annotations

import os
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from db.database import open_database, sqlite_url
from tests import wire
from tests.certificates import Authority
from tests.ports import free_port
from tests.receiver_process import ReceiverProcess
from tests.waiting import wait_until

from .oracle import Receipts, descriptors_of, digest, of_store
from .senders import new_uid
from .tally import Tally, Trials

CALLERS = 4
#: of resident memory, from a quarter of the associations to all of them
MOST_GROWTH_BYTES = 5 << 20
QUARTERS = 4
#: associations after which memory is not to grow any more
WARM = 1000
#: associations before anything is looked at
WARMING = 64
#: files of connections to the database that are kept, where more came to be wanted at once than before
POOLED = 3 * CALLERS
CONFIG = """
[receive]
reserve_gb = 0
quiet_seconds = 86400
listen = "127.0.0.1"
[tls]
port = {port}
certificate = "{certificate}"
key = "{key}"
require_client_certificate = false
[[peer]]
name = "ct"
ae_title = "CT1"
address = "127.0.0.1"
may_send = true
"""


@dataclass(frozen=True)
class Door:
    """Where callers come in, and what they were answered."""

    port: int
    tls_port: int
    trust: ssl.SSLContext
    receipts: Receipts


def _echo(door: Door) -> None:
    with wire.associated(door.port) as assoc:
        assoc.say(wire.echo())
        assert assoc.status() == 0
        _release(assoc)


def _store(door: Door) -> None:
    with wire.associated(door.port) as assoc:
        _send(door, assoc)
        _release(assoc)


def _send(door: Door, assoc: wire.Wire) -> None:
    uid = new_uid()
    data = wire.instance(uid)
    assoc.say(wire.store(uid, data))
    assert assoc.status() == 0
    door.receipts.acknowledge(uid, digest(data))


def _release(assoc: wire.Wire) -> None:
    assoc.say(wire.RELEASE)
    assert wire.said(assoc.pdu()) == "released"


def _connect(door: Door) -> None:
    with wire.connected(door.port):
        pass


def _rejected(door: Door) -> None:
    with wire.connected(door.port) as caller:
        caller.say(wire.request(calling=b"STRANGER"))
        assert wire.said(caller.pdu()).startswith("reject")


def _aborted(door: Door) -> None:
    with wire.associated(door.port) as assoc:
        uid = new_uid()
        assoc.say(wire.store(uid)[:-20])  # the object has begun
        assoc.say(wire.pdu(7, b"\0\0\0\0"))


def _broken(door: Door) -> None:
    with wire.associated(door.port) as assoc:
        assoc.break_off()


def _over_tls(door: Door) -> None:
    with wire.connected(door.tls_port) as plain, door.trust.wrap_socket(plain.socket) as line:
        assoc = wire.Wire(line)
        assoc.say(wire.request())
        assert wire.said(assoc.pdu()) == "accept"
        _send(door, assoc)
        _release(assoc)


def _not_tls(door: Door) -> None:
    with wire.connected(door.tls_port) as caller:
        caller.say(wire.request())
        assert caller.pdu() == b""


KINDS: tuple[Callable[[Door], None], ...] = (
    _echo,
    _store,
    _connect,
    _rejected,
    _aborted,
    _over_tls,
    _broken,
    _not_tls,
)


@dataclass(frozen=True)
class Held:
    """What a receiver holds while nobody calls."""

    associations: int
    resident_mb: float
    threads: int
    descriptors: int
    spooled: int
    database_mb: float
    log_mb: float
    rows: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in vars(self).items()}


def run(trials: Trials) -> Tally:
    """As many associations as there are trials, of every kind in turn."""
    tally = Tally()
    authority = Authority(trials.folder / "authority")
    issued = authority.issue("here")
    tls_port = free_port()
    config, home = trials.folder / "planimeter.toml", trials.folder / "home"
    config.write_text(CONFIG.format(port=tls_port, certificate=issued.certificate, key=issued.key))
    trust = ssl.create_default_context(cafile=str(authority.pem))
    trust.check_hostname = False
    receiver = ReceiverProcess(home, ("--config", str(config)))
    receiver.start()
    door = Door(receiver.port, tls_port, trust, Receipts())
    seen: list[Held] = []
    try:
        _call(door, range(WARMING), replace(trials, step=lambda: None), tally)
        tally.trials = 0
        idle = _settled_threads(receiver.pid)
        baseline = _held(receiver.pid, home, 0)
        for quarter in range(QUARTERS):
            share = range(trials.count * quarter // QUARTERS, trials.count * (quarter + 1) // QUARTERS)
            _call(door, share, trials, tally)
            _wait_until_gone(receiver.pid, idle)
            seen.append(_held(receiver.pid, home, tally.trials))
            if trials.stopped.is_set() or tally.complaints:
                break
    finally:
        receiver.stop()
    tally.add(of_store(home, "", door.receipts))
    tally.figures |= {"at first": baseline.as_json(), "at each quarter": [one.as_json() for one in seen]}
    tally.figures["resident growth after the first quarter, MB"] = round(seen[-1].resident_mb - seen[0].resident_mb, 2)
    tally.complaints += list(grown(baseline, seen))
    return tally


def grown(baseline: Held, seen: list[Held]) -> Iterator[str]:
    """What there is more of than there was, in words."""
    grown = seen[-1].resident_mb - seen[0].resident_mb
    if seen[0].associations >= WARM and grown > MOST_GROWTH_BYTES / 1e6:
        yield f"{seen[0].resident_mb:.1f} MB of memory became {seen[-1].resident_mb:.1f} MB"
    for one in seen:
        if one.threads > baseline.threads or one.descriptors > baseline.descriptors + POOLED or one.spooled:
            told = f"{one.threads} threads, {one.descriptors} files, {one.spooled} in the spool"
            yield f"after {one.associations} associations: {told}"


def _call(door: Door, share: range, trials: Trials, tally: Tally) -> None:
    """These associations, by some callers at once."""
    numbers = iter(share)
    lock = threading.Lock()

    def work() -> None:
        while not trials.stopped.is_set() and not tally.complaints:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            kind = KINDS[number % len(KINDS)]
            try:
                with suppress(BrokenPipeError):
                    kind(door)
            except (AssertionError, OSError) as error:
                tally.complaints.append(f"association {number}, {kind.__name__}: {error!r}")
            with lock:
                tally.trials += 1
            trials.step()

    threads = [threading.Thread(target=work) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _settled_threads(pid: int) -> int:
    """Their number, once it stays the same."""
    looks: deque[int] = deque(maxlen=4)

    def same() -> int:
        looks.append(descriptors_of(pid)[0])
        return looks[0] if len(looks) == looks.maxlen and len(set(looks)) == 1 else 0

    return wait_until("all callers have gone", same, every=0.25)


def _wait_until_gone(pid: int, threads: int) -> None:
    """A caller is a thread."""
    with suppress(AssertionError):  # what is left is seen in the figures
        wait_until("all callers have gone", lambda: descriptors_of(pid)[0] <= threads, 20)


def _held(pid: int, home: Path, associations: int) -> Held:
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    threads, descriptors = descriptors_of(pid)
    file, log = home / "planimeter.db", home / "planimeter.db-wal"
    database = open_database(sqlite_url(file))
    with closing(database.engine.connect()) as connection:
        names = sa.inspect(connection).get_table_names()
        counted = {name: connection.execute(sa.text(f'SELECT count(*) FROM "{name}"')).scalar_one() for name in names}
    database.dispose()
    return Held(
        associations,
        resident / 1e6,
        threads,
        descriptors,
        len(list((home / "spool").iterdir())),
        file.stat().st_size / 1e6,
        log.stat().st_size / 1e6 if log.exists() else 0.0,
        {name: int(count) for name, count in counted.items() if count},
    )
