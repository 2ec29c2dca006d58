"""One run of the fuzzer over one target, in a process of its own: libFuzzer does not return."""

from __future__ import annotations

import gc
import hashlib
import mmap
import os
import re
import resource
import select
import shlex
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import atheris

from tests.fuzz.target import Reader, Target
from tests.fuzz.words import in_dictionary

#: of processor time, for one input
SLOW_SECONDS, HANGING_SECONDS = 0.5, 10
#: more memory than before one input
GREEDY_BYTES = 64 << 20
#: different ones, of one target
MOST_FINDINGS = 20
WARM = 1000
FOUND = 77
STATE = re.compile(rb"#\d+\s+\w+\s+cov: (\d+) ft: (\d+)")
_TALLY = struct.Struct("<5q")


class Hangs(BaseException):
    """An input is read for longer than any may be; no `except Exception` stops it."""


@dataclass
class Tally:
    """What a run has come to, also for the process that started it.

    Attributes:
        warm_bytes, peak_bytes: most memory, after the first inputs and in all.
    """

    executions: int = 0
    accepted: int = 0
    findings: int = 0
    warm_bytes: int = 0
    peak_bytes: int = 0
    shared: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, _TALLY.size), repr=False)

    def tell(self) -> None:
        said = (self.executions, self.accepted, self.findings, self.warm_bytes, self.peak_bytes)
        _TALLY.pack_into(self.shared, 0, *said)

    def ask(self) -> None:
        self.executions, self.accepted, self.findings, self.warm_bytes, self.peak_bytes = _TALLY.unpack_from(
            self.shared
        )


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        reader: the target's own, or one with a fault.
        folder: where findings are written.
        until_found: end with the first finding.
    """

    name: str
    target: Target
    reader: Reader
    executions: int
    seed: int
    folder: Path
    until_found: bool = False


@contextmanager
def watched() -> Iterator[None]:
    """Around one input: it may take only so much time and memory."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGING_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert seconds < SLOW_SECONDS, f"it took {seconds:.1f} s of processor time"
    grown = (after.ru_maxrss - before.ru_maxrss) * 1024
    assert grown < GREEDY_BYTES, f"it took {grown >> 20} MiB of memory"


def on_alarm(*_: Any) -> NoReturn:
    raise Hangs(f"it is read for more than {HANGING_SECONDS} s")


def fuzz(plan: Plan, progress: Callable[[Tally], None]) -> tuple[Tally, dict[str, Any]]:
    """Run a plan in a child.

    Returns:
        What it came to, and more of it: seconds, edges and features that were reached, files of findings.
    """
    tally, log = Tally(), plan.folder / f"{plan.name}.log"
    ours, theirs = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if not child:
        os.close(ours)
        _child(plan, tally, log)
    os.close(theirs)
    while not select.select([ours], [], [], 0.3)[0]:  # it is readable when the child has ended
        tally.ask()
        progress(tally)
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tally.ask()
    for left in Path("/dev/shm").glob(f"planimeter-fuzz-{child}-*"):
        shutil.rmtree(left)
    files = sorted(str(file) for file in plan.folder.glob(f"{plan.name}-*") if file.suffix != ".txt")
    if status not in (0, FOUND) and not tally.findings:  # a crash below Python
        tally.findings = 1
    states = STATE.findall(log.read_bytes())
    edges, features = map(int, states[-1]) if states else (0, 0)
    more = dict(seconds=round(time.monotonic() - begun, 1), edges=edges, features=features, status=status, files=files)
    return tally, more


def _child(plan: Plan, tally: Tally, log: Path) -> NoReturn:
    try:
        into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(into, 1)
        os.dup2(into, 2)
        _fuzz(plan, tally)
    except BaseException:  # noqa: BLE001 - nothing of the parent's may run in the child
        traceback.print_exc()
    os._exit(1)


def _fuzz(plan: Plan, tally: Tally) -> None:
    corpus = plan.folder / f"{plan.name}.corpus"
    corpus.mkdir(exist_ok=True)
    for number, one in enumerate(plan.target.seeds()):
        (corpus / str(number)).write_bytes(one)
    words = plan.folder / f"{plan.name}.words"
    words.write_text(in_dictionary(list(plan.target.words)))
    signal.signal(signal.SIGVTALRM, on_alarm)
    one_input = _OneInput(plan, tally)
    for one in plan.target.seeds():
        one_input.warm_up(one)
    gc.collect()
    gc.freeze()
    sys.setrecursionlimit(1000)  # as the node has it
    arguments = {
        "runs": plan.executions,
        "seed": plan.seed,
        "max_len": plan.target.longest,
        "len_control": 0,
        "mutate_depth": 2,
        "dict": words,
        "timeout": 600,
        "rss_limit_mb": 2048,
        "artifact_prefix": f"{plan.folder}/{plan.name}-",
    }
    options = [f"-{key}={value}" for key, value in arguments.items()]
    atheris.Setup([plan.name, *options, str(corpus)], one_input, custom_mutator=_Changes(plan.target))
    atheris.Fuzz()


class _Changes:
    """Every other change leaves all bytes where they are, and some begin with a seed again: libFuzzer's own move the
    bytes of what was kept, most of which is refused, and few lengths are right then."""

    def __init__(self, target: Target) -> None:
        self._words, self._seeds = list(target.words) or [b"\0"], list(target.seeds())

    def __call__(self, data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if not data or random.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        if random.random() < 0.5:
            data = random.choice(self._seeds)[:most]
        changed = bytearray(data)
        for _ in range(random.randint(1, 3)):
            at, kind = random.randrange(len(changed)), random.random()
            if kind < 0.2:
                word = random.choice(self._words)[: len(changed) - at]
                changed[at : at + len(word)] = word
            else:
                changed[at] = random.randrange(256) if kind < 0.6 else changed[at] ^ (1 << random.randrange(8))
        return bytes(changed)


class _OneInput:
    """Reads inputs, and keeps those that come out wrong."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self._plan, self._tally = plan, tally
        self._known: set[str] = set()

    def warm_up(self, data: bytes) -> None:
        """Load what is loaded once, unwatched."""
        try:
            self._plan.target.check(self._plan.reader, data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._found(data, error)

    def __call__(self, data: bytes) -> None:
        tally = self._tally
        tally.executions += 1
        try:
            with watched():
                tally.accepted += self._plan.target.check(self._plan.reader, data)
        except (Exception, Hangs) as error:  # noqa: BLE001 - whatever it is, it is a finding
            self._found(data, error)
        if tally.executions <= WARM or not tally.executions % 100:
            tally.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if tally.executions <= WARM:
                tally.warm_bytes = tally.peak_bytes
            tally.tell()
        elif tally.executions >= self._plan.executions:
            tally.tell()

    def _found(self, data: bytes, error: BaseException) -> None:
        where = place(error)
        if where not in self._known:
            self._known.add(where)
            self._tally.findings += 1
            keep(self._plan, data, error)
        self._tally.tell()
        if self._plan.until_found or len(self._known) >= MOST_FINDINGS:
            os._exit(FOUND)


def place(error: BaseException) -> str:
    """What makes two findings one: the kind of error, and the line of ours that it came through last."""
    ours = [one for one in traceback.extract_tb(error.__traceback__) if "site-packages" not in one.filename]
    last = ours[-1] if ours else None
    return f"{type(error).__name__} {last.filename}:{last.lineno}" if last else type(error).__name__


def keep(plan: Plan, data: bytes, error: BaseException) -> None:
    """Write an input to a file, and beside it what it does and how to do that again."""
    file = plan.folder / f"{plan.name}-{hashlib.sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    again = f"python -P -m tests.fuzz {plan.name} --replay {shlex.quote(str(file))}"
    said = "".join(traceback.format_exception(error))
    file.with_suffix(".txt").write_text(f"{again}\n\n{said}")
