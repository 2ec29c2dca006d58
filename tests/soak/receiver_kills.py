"""F1: the receiver is killed at any byte of what four senders send; they send again.

A trial: four senders with a study of a hundred each; after a number of bytes drawn at random the receiver gets SIGKILL,
and is started again; all is sent to its end. One in ten letters is sent twice. The oracle looks after every block of
trials, at a home folder of its own, after all of its last trial came once more: nothing may be new of that.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from db.database import open_database, sqlite_url
from db.job_states import OPEN
from db.tables import instance, job, study
from tests.postgres import Postgres
from tests.receiver_process import ReceiverProcess
from tests.running import RunningNode
from tests.waiting import wait_until

from . import oracle
from .senders import Crew, Letter, Studies, at_work
from .tally import Tally, Trials

SENDERS = 4
#: trials between two looks of the oracle
BLOCK = 20
#: nothing is worked on, and nothing is waited for: what comes is chosen from, and that is all
CONFIG = """
[receive]
reserve_gb = 0
quiet_seconds = {quiet}
[hosts]
at_start = false
[[route]]
name = "nothing"
when = [{{ modality = "XX" }}]
networks = ["ct_lungs"]
destinations = []
"""


class Killed(Protocol):
    """A node whose receiver can be killed.

    Attributes:
        settles: studies are closed, and chosen from.
    """

    settles: bool

    @property
    def home(self) -> Path: ...
    @property
    def port(self) -> int: ...

    def begin(self) -> None:
        """Start it; return when it listens."""

    def strike(self) -> None:
        """Kill the receiver, and see to it that it comes back."""

    def end(self) -> None:
        """Stop all of it."""


@dataclass
class Alone:
    """`planimeter receive`, which the trial starts again."""

    receiver: ReceiverProcess
    settles: bool = False

    @property
    def home(self) -> Path:
        return self.receiver.home

    @property
    def port(self) -> int:
        return self.receiver.port

    def begin(self) -> None:
        self.receiver.start()

    def strike(self) -> None:
        self.receiver.kill()
        self.receiver.start()

    def end(self) -> None:
        self.receiver.stop()


@dataclass
class Supervised:
    """`planimeter run`, whose supervisor starts the receiver again."""

    node: RunningNode
    settles: bool = True

    @property
    def home(self) -> Path:
        return self.node.home

    @property
    def port(self) -> int:
        return self.node.port

    def begin(self) -> None:
        self.node.start()

    def strike(self) -> None:
        self.node.kill_child("receive")

    def end(self) -> None:
        self.node.stop()


def alone(trials: Trials) -> Tally:
    """A receiver alone, on SQLite."""
    return _kills(trials, lambda home, config: Alone(ReceiverProcess(home, ("--config", str(config)))), _sqlite)


def supervised(trials: Trials) -> Tally:
    """The receiver of a whole node."""
    return _kills(
        trials, lambda home, config: Supervised(RunningNode(home, ("--config", str(config)), {})), _sqlite, quiet=1
    )


def on_postgresql(trials: Trials) -> Tally:
    """A receiver alone, on PostgreSQL."""
    programs = Postgres.find()
    assert programs is not None
    with Postgres(programs, durable=True) as server:

        def receiver(home: Path, config: Path) -> Alone:
            arguments = ("--config", str(config), "--database", urls.setdefault(home, server.new_database()))
            return Alone(ReceiverProcess(home, arguments))

        urls: dict[Path, str] = {}
        return _kills(trials, receiver, lambda home: urls[home])


def _sqlite(home: Path) -> str:
    return sqlite_url(home / "planimeter.db")


def _kills(
    trials: Trials, killed: Callable[[Path, Path], Killed], url: Callable[[Path], str], quiet: float = 3600
) -> Tally:
    tally, studies = Tally(), Studies()
    config = trials.folder / "planimeter.toml"
    config.write_text(CONFIG.format(quiet=quiet), encoding="utf-8")
    for begin in range(0, trials.count, BLOCK):
        home = trials.folder / f"home-{begin}"
        node = killed(home, config)
        tally.add(_block(trials, node, studies, lambda home=home: url(home), min(BLOCK, trials.count - begin)))
        found = tally.is_clean and not trials.stopped.is_set()
        if not found:
            break
        shutil.rmtree(home)
    return tally


def _block(trials: Trials, node: Killed, studies: Studies, url: Callable[[], str], count: int) -> Tally:
    """Kills of a receiver that keeps its home folder."""
    tally, crew, shares = Tally(), Crew(lambda: node.port), list[list[Letter]]()
    with ExitStack() as stack:
        stack.callback(node.end)
        node.begin()
        for _ in range(count):
            if trials.stopped.is_set():
                break
            shares = [studies.next()[1] for _ in range(SENDERS)]
            _trial(trials, node, crew, shares, tally)
            trials.step()
        before = _rows(url(), settled=node.settles)
        with at_work(crew, shares, trials.random):
            pass
        if (after := _rows(url(), settled=node.settles)) != before:
            tally.duplicates += 1
            tally.complaints.append(f"what was sent again made rows or jobs: {before} before, {after} after")
    tally.complaints += crew.refused
    tally.add(oracle.of_store(node.home, url(), crew.receipts))
    return tally


def _trial(trials: Trials, node: Killed, crew: Crew, shares: list[list[Letter]], tally: Tally) -> None:
    """One kill."""
    whole = sum(len(letter.message) for share in shares for letter in share)
    with at_work(crew, shares, trials.random) as threads:
        enough = crew.sent_bytes + trials.random.randrange(whole)
        wait_until(
            "enough was sent",
            lambda: crew.sent_bytes >= enough or not any(thread.is_alive() for thread in threads),
            300,
            0.0005,
        )
        struck = time.monotonic()
        node.strike()
        if any(thread.is_alive() for thread in threads):
            wait_until(
                "it acknowledges again",
                lambda: crew.newest[0] > struck or not any(thread.is_alive() for thread in threads),
                120,
            )
            if crew.newest[0] > struck:
                tally.recoveries.append(crew.newest[1] - struck)
    tally.trials += 1


def _rows(url: str, *, settled: bool) -> dict[str, int]:
    """How many instances, studies, closings and jobs of studies there are.

    Args:
        settled: wait until every study was closed, and its job is through.
    """
    database = open_database(url)
    of_study = job.c.study_id.is_not(None)

    def through() -> bool:
        with database.read() as tx:
            is_open = tx.execute(sa.select(study.c.id).where(study.c.state == "open").limit(1)).first()
            waits = tx.execute(sa.select(job.c.id).where(of_study, job.c.state.in_(OPEN)).limit(1)).first()
        return is_open is None and waits is None

    try:
        if settled:
            wait_until("every study was chosen from", through, 300, 0.2)
        with database.read() as tx:
            counted = {
                "instances": sa.select(sa.func.count()).select_from(instance),
                "studies": sa.select(sa.func.count()).select_from(study),
                "closings": sa.select(sa.func.sum(study.c.generation)),
                "jobs": sa.select(sa.func.count()).select_from(job).where(of_study),
            }
            return {name: int(tx.execute(asked).scalar() or 0) for name, asked in counted.items()}
    finally:
        database.dispose()
