"""F9: the clock of the machine is set by an hour, or runs over the end of summer time, in the middle of everything.

A library of a page (set_clock.c) tells every process of the node another time of the day, and leaves the monotonic
clock and all waits alone, as the kernel does when a person or NTP sets the clock.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tests import mini_bundle, wire
from tests.fake_pacs import FakePacs
from tests.running import RunningNode
from tests.synthetic import small_series
from tests.waiting import wait_until

from .oracle import ENDED, Receipts, of_results, of_store, received_by
from .senders import letter_of
from .tally import Tally, Trials

HOUR = 3600.0
ZONE = "Europe/Berlin"
#: from the last image until the results are delivered, whatever the clock says: far less than an hour
MOST_SECONDS = 240
CONFIG = """
[receive]
reserve_gb = 0
quiet_seconds = 3
[work]
device = "cpu"
confine = "off"  # the file that says the time is outside of what a confined process may read
lease_seconds = 60  # longer than a busy machine keeps a worker from prolonging it, and far less than a step
[[peer]]
name = "pacs"
ae_title = "FAKEPACS"
destination = {{ host = "127.0.0.1", port = {port} }}
[[route]]
name = "all"
networks = ["thresholds"]
destinations = ["pacs"]
"""


class WallClock:
    """What the node's processes are told, all at once, in a file that they have in their memory."""

    def __init__(self, folder: Path) -> None:
        self._file, self._library = folder / "clock", folder / "set_clock.so"
        source = Path(__file__).with_name("set_clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(source)], check=True)
        self.set(0.0)

    def set(self, ahead_seconds: float) -> None:
        """So far ahead of the real time."""
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, struct.pack("q", round(ahead_seconds)), 0)
        finally:
            os.close(descriptor)

    def environ(self) -> dict[str, str]:
        """Of the processes."""
        return {
            "LD_PRELOAD": str(self._library),
            "SET_CLOCK_FILE": str(self._file),
            "TZ": ZONE,
            "OMP_NUM_THREADS": "1",
        }


def summer_ends(seconds: float) -> float:
    """How far ahead the clock has to be so that summer time ends in so many seconds."""
    year = datetime.now(ZoneInfo(ZONE)).year + 1
    days = [datetime(year, 10, day, 3, tzinfo=ZoneInfo(ZONE)) for day in range(25, 32)]
    return next(one for one in days if one.weekday() == 6).timestamp() - seconds - time.time()


def run(trials: Trials) -> Tally:
    """Half a study, a step, the other half; and a step back while its jobs run."""
    home = trials.folder / "home"
    (home / "models").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    mini_bundle.make(home / "models", "thresholds")
    clock = WallClock(trials.folder)
    config, receipts, tally = trials.folder / "planimeter.toml", Receipts(), Tally()
    with FakePacs() as pacs:
        config.write_text(CONFIG.format(port=pacs.port))
        node = RunningNode(home, ("--config", str(config)), clock.environ())
        node.start()
        studies = []
        try:
            for number in range(trials.count):
                there = (HOUR, -HOUR, summer_ends(8))[number % 3]
                begun = time.monotonic()
                try:
                    studies.append(_study(node, clock, there, receipts, number))
                except AssertionError as error:
                    tally.complaints.append(f"trial {number}, {there:+.0f} s: {error}\n{node.log[-2000:]}")
                    break
                tally.recoveries.append(time.monotonic() - begun)
                tally.trials += 1
                trials.step()
                if trials.stopped.is_set():
                    break
        finally:
            node.stop()
        tally.add(of_store(home, "", receipts))
        tally.add(of_results(home, "", {"pacs": received_by(pacs.objects)}, studies=studies))
    tally.figures["steps that were followed"] = node.log.count("clock was set by")
    tally.figures["leases lost"] = node.log.count("of dead workers wait again")
    if tally.figures["leases lost"]:
        tally.complaints.append(f"{tally.figures['leases lost']} leases of workers that live were lost")
    return tally


def _study(node: RunningNode, clock: WallClock, there: float, receipts: Receipts, number: int) -> str:
    """One study, around two steps; its UID.

    Raises:
        AssertionError: something was not answered Success, or not delivered in time.
    """
    images = small_series((48, 48, 24), patient_id=f"CLOCK-{number}")
    letters = [letter_of(ds) for ds in images]
    with wire.associated(node.port) as assoc:
        for at, letter in enumerate(letters):
            if at == len(letters) // 2:
                clock.set(there)
            receipts.offer(letter.sop_uid, letter.digest)
            assoc.say(letter.message)
            assert assoc.status() == 0
            receipts.acknowledge(letter.sop_uid, letter.digest)
        assoc.say(wire.RELEASE)
        assert wire.said(assoc.pdu()) == "released"
    uid = str(images[0].StudyInstanceUID)
    wait_until("it is worked on", lambda: node.study(uid).get("state") not in (None, "arriving"), MOST_SECONDS)
    clock.set(0.0)
    wait_until("it is delivered", lambda: node.study(uid).get("state") in ENDED, MOST_SECONDS, every=0.2)
    assert node.study(uid)["state"] == "done", node.study(uid)
    return uid
