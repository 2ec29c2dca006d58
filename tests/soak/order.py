"""F11: what a loss of power could show is seen in the order of the system calls, with many associations at once.

Of each instance, by its own name and UID: its data are synced, then it is renamed, its folder is synced, a page with
its UID is written to the database's log or file, that is synced, and only then does an answer with its UID leave.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from db.database import open_database, sqlite_url
from db.tables import instance
from tests.conftest import find_program
from tests.receiver_process import ReceiverProcess

from . import oracle
from .senders import Crew, Studies, at_work
from .tally import Tally, Trials

SENDERS, SLICES = 8, 6
CALLS = "fdatasync,fsync,rename,renameat,renameat2,pwrite64,sendto,sendmsg"
BEGUN = re.compile(r"^(\d+) +(\w+)\((.*?)(?:( <unfinished \.\.\.>)|\) += (-?\d+).*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>.*\) += (-?\d+)")


@dataclass(frozen=True)
class Call:
    """A system call: the lines of the trace on which it began and ended, its name, and what it was given."""

    begun: int
    ended: int
    name: str
    given: str


@dataclass
class Steps:
    """What was done to one instance; lines of the trace, or None."""

    lines: dict[str, int | None] = field(default_factory=dict)

    @property
    def are_in_order(self) -> bool:
        lines = list(self.lines.values())
        return None not in lines and lines == sorted(lines)  # type: ignore[type-var]


def proof(trials: Trials) -> Tally:
    """Trials of a receiver that is traced."""
    tally, studies = Tally(), Studies((64, 64, SLICES))
    config = trials.folder / "planimeter.toml"
    config.write_text("[receive]\nreserve_gb = 0\n", encoding="utf-8")
    for number in range(trials.count):
        if trials.stopped.is_set() or not tally.is_clean:
            break
        home, trace = trials.folder / f"home-{number}", trials.folder / f"trace-{number}"
        receiver = ReceiverProcess(home, ("--config", str(config)))
        strace = find_program("strace", "apt-get install strace")
        receiver.before = [
            strace,
            "-f",
            "--seccomp-bpf",
            "-y",
            "-qq",
            "-s",
            "5000",
            "-e",
            f"trace={CALLS}",
            "-o",
            str(trace),
        ]
        crew = Crew(lambda receiver=receiver: receiver.port, again=0.0)
        receiver.start()
        try:
            with at_work(crew, [studies.next()[1] for _ in range(SENDERS)], trials.random):
                pass
        finally:
            receiver.kill()
        tally.add(oracle.of_store(home, sqlite_url(home / "planimeter.db"), crew.receipts))
        _judge(calls_of(trace), _paths(home), crew, tally)
        tally.trials += 1
        trials.step()
        if tally.is_clean:
            shutil.rmtree(home)
            trace.unlink()
    return tally


def _judge(calls: list[Call], paths: dict[str, str], crew: Crew, tally: Tally) -> None:
    for sop_uid, steps in steps_of(calls, {uid: paths[uid] for uid in crew.receipts.acknowledged}).items():
        if not steps.are_in_order:
            tally.lost += 1
            tally.complaints.append(f"{sop_uid} would not have outlived a loss of power: {steps.lines}")


def _paths(home: Path) -> dict[str, str]:
    """SOP Instance UID -> path of its file."""
    database = open_database(sqlite_url(home / "planimeter.db"))
    with database.read() as tx:
        found = {row.sop_uid: row.path for row in tx.execute(sa.select(instance))}
    database.dispose()
    return found


def calls_of(trace: Path) -> list[Call]:
    """The calls of a trace that came to an end, in the order in which they began."""
    calls, open_ones = list[Call](), dict[tuple[str, str], tuple[int, str]]()
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            if found := BEGUN.match(line):
                thread, name, given, unfinished, status = found.groups()
                if unfinished:
                    open_ones[thread, name] = (number, given)
                elif int(status) >= 0:
                    calls.append(Call(number, number, name, given))
            elif found := RESUMED.match(line):
                thread, name, status = found.groups()
                begun = open_ones.pop((thread, name), None)
                if begun is not None and int(status) >= 0:
                    calls.append(Call(begun[0], number, name, begun[1]))
    return sorted(calls, key=lambda call: call.begun)


def steps_of(calls: list[Call], paths: dict[str, str]) -> dict[str, Steps]:
    """Of each instance the line on which every step of the contract ended; the last one: on which it began.

    Args:
        paths: SOP Instance UID -> path of its file below the home folder.
    """
    renames = dict[str, tuple[str, Call]]()
    synced = defaultdict[str, list[Call]](list)
    pages, answers = list[Call](), list[Call]()
    for call in calls:
        if call.name.startswith("rename"):
            source, target = re.findall(r'"([^"]*)"', call.given)[:2]
            renames[target[-len("store/2000-01-01/00/") - 36 :]] = (source, call)
        elif call.name in ("fsync", "fdatasync"):
            synced[call.given.partition("<")[2].partition(">")[0]].append(call)
        elif call.name == "pwrite64" and "/planimeter.db" in call.given[:400]:
            pages.append(call)
        elif "<TCP:" in call.given[:80] or "<socket:" in call.given[:80]:
            answers.append(call)
    return {uid: Steps(_lines(uid, path, renames, synced, pages, answers)) for uid, path in paths.items()}


def _lines(
    uid: str,
    path: str,
    renames: dict[str, tuple[str, Call]],
    synced: dict[str, list[Call]],
    pages: list[Call],
    answers: list[Call],
) -> dict[str, int | None]:
    source, named = renames.get(path, ("", None))
    if named is None:
        return {"renamed": None}
    shelf = path.rpartition("/")[0]
    folders = [one for at, calls in synced.items() if at.endswith(shelf) for one in calls]
    folder = next((one for one in folders if one.begun > named.ended), None)
    data = next((one for one in synced.get(source, ()) if one.ended < named.begun), None)
    row = next((one for one in pages if uid in one.given and folder is not None and one.begun > folder.ended), None)
    file = row.given.partition("<")[2].partition(">")[0] if row is not None else ""
    commit = next((one for one in synced.get(file, ()) if row is not None and one.begun > row.ended), None)
    answer = next((one for one in answers if uid in one.given), None)
    return {
        "data synced": None if data is None else data.ended,
        "renamed": named.ended,
        "folder synced": None if folder is None else folder.ended,
        "row written": None if row is None else row.ended,
        "row synced": None if commit is None else commit.ended,
        "answered": None if answer is None else answer.begun,
    }
