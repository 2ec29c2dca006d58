"""F10: one study comes from four senders over ten associations each, shuffled, and one object in twenty is changed.

While it comes it is settled and worked on, as with no quiet period at all; afterwards all of it comes once more, which
has to change nothing. What was changed is a revision, and changed pixels make a new input set (promise 7).
"""

from __future__ import annotations

import copy
import shutil
import threading
from contextlib import ExitStack
from random import Random

import numpy as np
import sqlalchemy as sa
from pydicom.dataset import Dataset

from config.settings import load
from db.database import sqlite_url
from db.tables import input_set, instance, job
from node.app import Node, open_node
from tests.driving import work_off
from tests.fake_pacs import FakePacs
from tests.receiver_process import ReceiverProcess
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until

from . import oracle
from .senders import Crew, Letter, at_work, letter_of
from .tally import Tally, Trials

SENDERS = 4
CHANGED = 0.05
BLOCK = 10
CONFIG = """
[node]
home = "{home}"
[receive]
quiet_seconds = 0
reserve_gb = 0
[send]
first_retry_seconds = 0.05
[[route]]
name = "everything"
networks = ["ct_lungs"]
destinations = ["pacs"]
[[peer]]
name = "pacs"
ae_title = "FAKEPACS"
destination = {{ host = "127.0.0.1", port = {port} }}
"""


def rounds(trials: Trials, associations: int = 10) -> Tally:
    """Rounds of one study each."""
    tally = Tally()
    for begin in range(0, trials.count, BLOCK):
        with ExitStack() as stack:
            pacs = stack.enter_context(FakePacs())
            hosts = stack.enter_context(ThresholdHosts())
            home = trials.folder / f"home-{begin}"
            config = trials.folder / f"{begin}.toml"
            config.write_text(CONFIG.format(home=home, port=pacs.port), encoding="utf-8")
            node = open_node(load(config), hosts.address)
            stack.callback(node.close)
            receiver = ReceiverProcess(home, ("--config", str(config)))
            stack.callback(receiver.kill)
            receiver.start()
            crew = Crew(lambda receiver=receiver: receiver.port, again=0.0)
            for _ in range(begin, min(begin + BLOCK, trials.count)):
                if trials.stopped.is_set():
                    break
                _round(node, crew, SENDERS * associations, trials.random, tally)
                trials.step()
            receiver.stop()
            tally.complaints += crew.refused
            url = sqlite_url(home / "planimeter.db")
            tally.add(oracle.of_store(home, url, crew.receipts))
            tally.add(oracle.of_results(home, url, {"pacs": oracle.received_by(pacs.objects)}))
        if not tally.is_clean or trials.stopped.is_set():
            break
        shutil.rmtree(home)
    return tally


def _round(node: Node, crew: Crew, associations: int, random: Random, tally: Tally) -> None:
    images = small_series((24, 20, 8))
    shares = [_shuffled(images, random) for _ in range(associations)]
    stop, wrong = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while not stop.wait(0.05):
                work_off(node)
        except Exception as error:  # noqa: BLE001 - told below
            wrong.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with at_work(crew, shares, random):
            pass
    finally:
        stop.set()
        worker.join()
    tally.complaints += [f"while it came: {error!r}" for error in wrong]
    _until_nothing_is_due(node)
    before = _counts(node)
    known = crew.receipts.acknowledged
    again = [letter for letter in _distinct(shares) if letter.digest in known[letter.sop_uid]]
    with at_work(crew, [again], random):
        pass
    _until_nothing_is_due(node)
    if (after := _counts(node)) != before:
        tally.duplicates += 1
        tally.complaints.append(f"what came once more made something new: {before} before, {after} after")
    of_this = {str(ds.SOPInstanceUID) for ds in images}
    tally.figures["revisions"] = tally.figures.get("revisions", 0) + sum(
        len(digests) - 1 for uid, digests in known.items() if uid in of_this
    )
    tally.trials += 1


def _shuffled(images: list[Dataset], random: Random) -> list[Letter]:
    """The study as one association sends it."""
    letters = []
    for ds in images:
        sent = ds
        if random.random() < CHANGED:
            sent = copy.deepcopy(ds)
            sent.PixelData = np.roll(ds.pixel_array, random.randint(1, 5)).astype("<i2").tobytes()
        letters.append(letter_of(sent))
    random.shuffle(letters)
    return letters


def _distinct(shares: list[list[Letter]]) -> list[Letter]:
    found = {(letter.sop_uid, letter.digest): letter for share in shares for letter in share}
    return list(found.values())


def _until_nothing_is_due(node: Node) -> None:
    """Work off what is due, and what waits for a moment."""

    def nothing_is_due() -> bool:
        with node.database.write() as tx:
            tx.execute(sa.update(job).where(job.c.state == "waiting").values(run_after=0))
        return not work_off(node)

    wait_until("nothing is due any more", nothing_is_due)


def _counts(node: Node) -> dict[str, int]:
    with node.database.read() as tx:
        return {
            table.name: int(tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in (instance, input_set, job)
        }
