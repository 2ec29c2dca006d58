"""F6: a destination is away, refuses, aborts, sleeps, has no room, takes no segmentations; then it is well again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from db.job_states import JobKind
from node.operations import control
from tests.conftest import find_program
from tests.fake_pacs import FakePacs
from tests.ports import free_port
from tests.soak import forked
from tests.soak.house import House
from tests.soak.oracle import Received, received_in
from tests.soak.tally import Tally, Trials
from tests.strange_peers import program
from tests.waiting import wait_until

#: as the default, a hundredth of its times: ten attempts go on for 13 s at least, and for 18 minutes at a site
SETTINGS = """
[send]
first_retry_seconds = 0.2
longest_retry_seconds = 5
unreachable_retry_seconds = 1
timeout_seconds = 2
"""
#: how long a destination is ill after it was first noticed
ILL_SECONDS = 4.0
STUDIES = 3
LANES = 3
#: longer than `timeout_seconds`
SLEEP = "4"
OUT_OF_RESOURCES = 0xA700


class Storescp:
    """DCMTK's storescp, which is ill or well.

    Attributes:
        folder: where it keeps what it gets, every copy.
    """

    ae_title = "STORESCP"

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Storescp:
        self.folder.mkdir(parents=True)
        self.be()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def be(self, *options: str) -> None:
        """Run with these options from now on, at the same port."""
        self.stop()
        path = find_program("storescp", "apt-get install dcmtk")
        kept = self.folder / "kept"
        kept.mkdir(exist_ok=True)
        command: list[Any] = [path, "-pm", "+uf", "-od", kept, *options, str(self.port)]
        self._running.enter_context(program(command, self.folder, self.port))

    def stop(self) -> None:
        self._running.close()

    @property
    def objects(self) -> list[Dataset]:
        return [dcmread(file, force=True) for file in sorted((self.folder / "kept").iterdir())]

    def received(self) -> list[Received]:
        return received_in(self.folder / "kept")


@dataclass(frozen=True)
class Illness:
    """Of a destination.

    Attributes:
        pacs: what it is.
        fall_ill, recover: make it so.
        lasting: a person has to say that it is to be tried again: what it answers is no outage.
    """

    pacs: Callable[[Path], Any]
    fall_ill: Callable[[Any], None]
    recover: Callable[[Any], None]
    lasting: bool = False


def _well(pacs: Storescp) -> None:
    pacs.be()


def _of_storescp(*options: str) -> Illness:
    return Illness(Storescp, lambda pacs: pacs.be(*options), _well)


def _fake(_folder: Path) -> FakePacs:
    return FakePacs()


def _full(pacs: FakePacs) -> None:
    pacs.statuses = [OUT_OF_RESOURCES] * 10_000


def _has_room(pacs: FakePacs) -> None:
    pacs.statuses = []


def _refuses(pacs: FakePacs) -> None:
    pacs.refuse = {SegmentationStorage}


def _refuses_nothing(pacs: FakePacs) -> None:
    pacs.refuse = set()


ILLNESSES: dict[str, Illness] = {
    "stopped": Illness(Storescp, lambda pacs: pacs.stop(), _well),
    "refuse": _of_storescp("--refuse"),
    "abort-during": _of_storescp("--abort-during"),
    "abort-after": _of_storescp("--abort-after"),
    "sleep-during": _of_storescp("--sleep-during", SLEEP),
    "sleep-after": _of_storescp("--sleep-after", SLEEP),
    "0xA700": Illness(_fake, _full, _has_room),
    "wrong class": Illness(_fake, _refuses, _refuses_nothing, lasting=True),
}


def run(trials: Trials) -> Tally:
    """Every illness as often, each on a node of its own."""
    times = {
        name: trials.count // len(ILLNESSES) + (n < trials.count % len(ILLNESSES)) for n, name in enumerate(ILLNESSES)
    }
    tally = Tally()
    with ThreadPoolExecutor(LANES) as pool:
        for made in pool.map(partial(_of_illness, trials), *zip(*times.items(), strict=True)):
            tally.add(made)
    return tally


def _of_illness(trials: Trials, name: str, times: int) -> Tally:
    tally, illness = Tally(), ILLNESSES[name]
    folder = trials.folder / name.replace(" ", "-")
    with House(folder, SETTINGS, pacs=illness.pacs(folder / "pacs")) as house:
        worker = house.worker()
        try:
            for _ in range(times):
                if trials.stopped.is_set():
                    break
                tally.recoveries.append(_trial(house, illness, tally))
                tally.trials += 1
                trials.step()
        except AssertionError as error:
            tally.missing += 1
            tally.complaints.append(str(error))
        finally:
            forked.end(worker)
        house.require_done(tally)
        checked = house.oracle()
        tally.figures[name] = {"recovery, longest": round(max(tally.recoveries, default=0.0), 1)}
        tally.figures[name] |= {"attempts": house.outcomes()}
        checked.figures = {}
        tally.add(checked)
    tally.complaints = [f"{name}: {one}" for one in tally.complaints]
    return tally


def _trial(house: House, illness: Illness, tally: Tally) -> float:
    """Seconds from the recovery until everything is delivered."""
    illness.fall_ill(house.pacs)
    studies = [house.arrived() for _ in range(STUDIES)]

    def noticed() -> bool:
        return any(one["reason"] for study in studies for one in house.deliveries(study))

    wait_until("it was noticed", noticed, 60)
    if illness.lasting:
        for study in studies:
            house.until_done(study)
    else:
        threading.Event().wait(ILL_SECONDS)
        dead = [one for study in studies for one in house.deliveries(study) if one["state"] == "dead"]
        tally.complaints += [f"a dead letter of an outage: {one['reason']}" for one in dead]
    illness.recover(house.pacs)
    well = time.monotonic()
    if illness.lasting:
        for study in studies:
            (deliver,) = [one for one in house.jobs(study) if one["kind"] == JobKind.DELIVER]
            if deliver["state"] != "dead":
                tally.complaints.append(f"what it refuses for good is {deliver['state']}")
            control.retry(house.node.database, deliver["id"])
    for study in studies:
        house.until_done(study)
    return time.monotonic() - well
