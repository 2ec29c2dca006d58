"""F2: workers are killed at every step of a job, and so are model hosts; every result arrives once, and in time."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from multiprocessing.process import BaseProcess
from random import Random
from typing import Any

from pynetdicom import evt
from pynetdicom.pdu import P_DATA_TF

from db.job_states import JobKind
from node import failpoints
from tests.fake_pacs import FakePacs
from tests.soak import forked
from tests.soak.house import RESULTS, House
from tests.soak.tally import Tally, Trials
from tests.waiting import wait_until

HOST = "host"
"""the model host dies while it runs the network"""
MID_SEND = "mid-send"
"""the worker dies when so many PDUs of an association have gone"""
ANY = "any-moment"
"""the worker dies at a moment that is drawn, from its first claim on"""
PLACES = (*(name for name in failpoints.NAMES if name != "stored-before-row"), HOST, MID_SEND, ANY)
#: where a kill hits the job that sends, and not the one that makes
SENDING = ("before-send", MID_SEND, "sent-before-row", "after-delivery-commit")
COMMITTED = ("after-results-commit", "after-delivery-commit")
#: as no site has it: most trials are to take seconds. On a loaded machine nobody beats for three seconds now and then,
#: and a worker that lives has lost its lease: that is no kill, and there are attempts enough for it
SHORT = "[work]\nlease_seconds = 3\nheartbeat_seconds = 0.5\nattempts = 12\n"
#: ends of attempts that use up none
FREE = ("unavailable", "released")
LANES = 6
#: what takes longer never ends, also where other work leaves little of the machine
NEVER_SECONDS = 300.0
#: every so-manieth round of all places has the lease that sites have
DEFAULT_EVERY = 5


class DeadlyPacs(FakePacs):
    """Kills whoever sends to it, after so many PDUs with data of one association.

    Attributes:
        victim: a process; None: it lives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.victim: BaseProcess | None = None
        self.after = 0
        self._pdus = 0

    def _requested(self, event: Any) -> None:
        super()._requested(event)
        event.assoc.acceptor.maximum_length = 1024  # an object comes in many PDUs
        self._pdus = 0
        event.assoc.bind(evt.EVT_PDU_RECV, self._came)

    def _came(self, event: Any) -> None:
        self._pdus += isinstance(event.pdu, P_DATA_TF)
        victim = self.victim
        if victim is not None and self._pdus >= self.after:
            self.victim = None
            victim.kill()


@dataclass
class Lane:
    """Trials one after the other, on a node of their own.

    Attributes:
        timed: whether how long it took is counted: with the lease that sites have.
    """

    house: House
    random: Random
    timed: bool
    tally: Tally = field(default_factory=Tally)

    def trial(self, place: str) -> None:
        """One kill, and what came of it."""
        house = self.house
        study = house.arrived(compressed=place == "decoding")
        self.tally.trials += 1
        if place == HOST:
            self._kill_the_host(study)
            return
        first = self._killed(study, place)
        died = time.time()
        second = house.worker()
        try:
            house.until_done(study)
        finally:
            forked.end(second)
        attempts = house.attempts(study)
        theirs = [one for one in attempts if f":{second.pid}:" in one["worker"]]
        if self.timed and theirs:
            self.tally.recoveries.append(theirs[0]["started"] - died)
        self._judge(study, place)
        if place != ANY:
            kind = JobKind.DELIVER if place in SENDING else JobKind.SEGMENT
            mine = [one["outcome"] for one in attempts if f":{first.pid}:" in one["worker"] and one["kind"] == kind]
            committed = place in COMMITTED
            if mine[-1:] != ["done" if committed else "lost"]:
                self._complain(study, place, f"the attempt of the one that was killed ended as {mine[-1:]}")
            if any(one["kind"] == kind for one in theirs) is committed:
                self._complain(study, place, f"the {kind} job was {'' if committed else 'not '}begun again")

    def _killed(self, study: str, place: str) -> BaseProcess:
        """A worker that was killed there."""
        house = self.house
        once = house.folder / f"once-{study}"
        first = house.worker("" if place in (MID_SEND, ANY) else f"{place}:{once}")
        try:
            self._wait_for_its_end(first, study, place)
        finally:
            first.kill()  # where it never came there it is not to work on
            first.join()
        once.unlink(missing_ok=True)
        return first

    def _wait_for_its_end(self, first: BaseProcess, study: str, place: str) -> None:
        house = self.house
        if place == MID_SEND:
            pacs: Any = house.pacs
            pacs.after, pacs.victim = self.random.randint(1, 12), first
        elif place == ANY:
            wait_until("it is at work", lambda: house.attempts(study), NEVER_SECONDS)
            threading.Event().wait(self.random.uniform(0, 1.5))
            first.kill()
        first.join(NEVER_SECONDS)
        assert first.exitcode == -signal.SIGKILL, f"the worker did not come there, or ended with {first.exitcode}"

    def _kill_the_host(self, study: str) -> None:
        """The worker lives on, and asks for a new host."""
        house = self.house
        house.hosts.hang_next = True
        worker = house.worker()
        try:
            wait_until("the host is at work", house.hosts.hangs, NEVER_SECONDS)
            house.hosts.kill()
            died = time.time()
            house.until_done(study)
        finally:
            forked.end(worker)
        segment = [one for one in house.attempts(study) if one["kind"] == JobKind.SEGMENT]
        # a worker that lives loses a lease of three seconds where nobody beats for so long
        seen = {"host-died"} if self.timed else {"host-died", "worker-lost"}
        if not seen & {one["code"] for one in segment[:-1]} or segment[-1]["outcome"] != "done":
            self._complain(study, HOST, f"the attempts ended as {[(one['outcome'], one['code']) for one in segment]}")
        if self.timed:
            self.tally.recoveries.append(segment[-1]["started"] - died)
        self._judge(study, HOST)

    def _judge(self, study: str, place: str) -> None:
        """One job of each kind, done; its attempts counted right; three objects at the PACS, each copy the same."""
        house = self.house
        jobs, attempts, sent = house.jobs(study), house.attempts(study), house.sent(study)
        self.tally.missing += max(0, RESULTS - len(sent))
        self.tally.duplicates += max(0, len(sent) - RESULTS)
        for uid, copies in sent.items():
            if any(one != copies[0] for one in copies):
                self.tally.duplicates += 1
                self._complain(study, place, f"{uid} was sent twice, and not the same")
        if sorted(one["kind"] for one in jobs) != ["choose", "deliver", "segment"]:
            self._complain(study, place, f"it has the jobs {[one['kind'] for one in jobs]}")
        for one in jobs:
            begun = [made for made in attempts if made["job_id"] == one["id"] and made["outcome"] not in FREE]
            if one["state"] != "done" or one["attempts"] != len(begun):
                said = (
                    f"{one['kind']} is {one['state']} ({one['reason']}) with {one['attempts']} attempts of {len(begun)}"
                )
                self._complain(study, place, said)
        if place == "sent-before-row" and max(map(len, sent.values()), default=0) < 2:
            self._complain(study, place, "nothing was sent twice, so it was not killed there")

    def _complain(self, study: str, place: str, what: str) -> None:
        self.tally.complaints.append(f"{place}, study {study}: {what}")


def run(trials: Trials) -> Tally:
    """As many kills as there are trials, the places one after the other."""
    timed, short = list[str](), list[str]()
    for number, place in zip(range(trials.count), cycle(PLACES), strict=False):
        is_timed = trials.count < 2 * len(PLACES) or (number // len(PLACES)) % DEFAULT_EVERY == 0
        (timed if is_timed else short).append(place)
    tally, killed = Tally(), Counter[str]()
    for places, settings in ((timed, ""), (short, SHORT)):
        parts = [(settings, places[number::LANES], Random(trials.random.random())) for number in range(LANES)]
        with ThreadPoolExecutor(LANES) as pool:
            for made in pool.map(partial(_lane, trials), parts):
                killed.update(made.figures.pop("kills"))
                tally.add(made)
    tally.figures["kills"] = dict(killed)
    tally.figures["timed"] = f"of {len(timed)} kills with the default lease of 10 s: from the kill to the next claim"
    return tally


def _lane(trials: Trials, part: tuple[str, list[str], Random]) -> Tally:
    settings, places, random = part
    name = f"{'short' if settings else 'default'}-{random.getrandbits(32):x}"
    with House(trials.folder / name, settings, pacs=DeadlyPacs()) as house:
        lane = Lane(house, random, timed=not settings)
        for place in places:
            if trials.stopped.is_set():
                break
            try:
                lane.trial(place)
            except AssertionError as error:
                lane.tally.missing += 1
                lane.tally.complaints.append(f"{place}: {error}")
            trials.step()
        lane.tally.add(house.oracle())
        lane.tally.figures["kills"] = Counter(places[: lane.tally.trials])
    return lane.tally
