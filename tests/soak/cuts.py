"""F3: an association of three objects, cut at each byte of either way, by FIN and by RST; then they are sent again.

A receiver in this process, so that its threads, sockets and spool files are seen to be as before.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

from db import schema
from db.database import open_database, sqlite_url
from tests import wire
from tests.doors import Tried, trying

from . import oracle
from .oracle import Receipts
from .proxy import Carried, Cut, How, Way, cutting
from .senders import SUCCESS, Letter, new_uid
from .tally import Tally, Trials

OBJECTS = 3
#: cuts between two looks at what they leave behind
BLOCK = 200


def every_byte(trials: Trials) -> Tally:
    """As many cuts as were asked for, evenly spread; 0: all of them."""
    with trying(_folder(trials.folder / "node"), migrated(trials.folder), idle_seconds=30) as tried:
        receipts, tally = Receipts(), Tally()
        whole = _uncut(tried, receipts)
        cuts = [Cut(way, at, how) for way, how in itertools.product(Way, How) for at in range(whole.passed[way] + 1)]
        step = max(1, len(cuts) // trials.count) if trials.count else 1
        for number, cut in enumerate(cuts[::step], 1):
            if trials.stopped.is_set():
                break
            _cut_once(tried, cut, receipts, tally)
            trials.step()
            if number % BLOCK == 0:
                _settle(tried, tally)
        _settle(tried, tally)
        home, rows = tried.archive.home, str(tried.database.engine.url)
        tally.figures["bytes to the node"] = whole.passed[Way.TO_NODE]
        tally.figures["bytes from the node"] = whole.passed[Way.FROM_NODE]
    tally.add(oracle.of_store(home, rows, receipts, whole_store=False))  # good senders looked in as well
    return tally


def migrated(folder: Path) -> Path:
    """A SQLite file with the schema."""
    file = folder / "schema.db"
    database = open_database(sqlite_url(file))
    schema.require(database)
    database.dispose()
    return file


def _folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _letters() -> list[Letter]:
    return [Letter.of(uid, wire.instance(uid)) for uid in (new_uid() for _ in range(OBJECTS))]


def _uncut(tried: Tried, receipts: Receipts) -> Carried:
    """How many bytes go either way where nothing is cut."""
    letters = _letters()
    with cutting(tried.port, None) as (port, carried):
        assert _converse(port, letters, receipts) == OBJECTS
    return carried


def _cut_once(tried: Tried, cut: Cut, receipts: Receipts, tally: Tally) -> None:
    letters = _letters()
    with cutting(tried.port, cut) as (port, _):
        told = _converse(port, letters, receipts)
    if left := letters[told:]:
        again = _converse(tried.port, left, receipts)
        if again != len(left):
            tally.complaints.append(f"after {cut} the rest was sent again, and {again} of {len(left)} were taken")
    tally.trials += 1


def _converse(port: int, letters: list[Letter], receipts: Receipts) -> int:
    """Send them over one association; how many were answered Success, each by an answer that was read to its end."""
    told = 0
    with suppress(OSError), wire.connected(port) as caller:
        caller.say(wire.request())
        if not _whole(caller.pdu()):
            return told
        for letter in letters:
            receipts.offer(letter.sop_uid, letter.digest)
            caller.say(letter.message)
            answer = caller.pdu()
            if not _whole(answer) or wire.elements_of(answer)[0x0900] != SUCCESS:
                return told
            receipts.acknowledge(letter.sop_uid, letter.digest)
            told += 1
        caller.say(wire.RELEASE)
        caller.pdu()
    return told


def _whole(answer: bytes) -> bool:
    """Whether it is an A-ASSOCIATE-AC or a P-DATA-TF, to its last byte."""
    return answer[:1] in (b"\2", b"\4") and len(answer) >= 6 and len(answer) == 6 + int.from_bytes(answer[2:6], "big")


def _settle(tried: Tried, tally: Tally) -> None:
    """Nothing is left of the callers."""
    try:
        tried.settled()
    except AssertionError as error:
        tally.complaints.append(f"after {tally.trials} cuts: {error}")
