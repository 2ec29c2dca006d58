"""Train a network in a process of its own.

    python -m models.training RUN [--lifeline FD]
    torchrun --nproc-per-node 2 -m models.training RUN

RUN is a folder with a run.json (`run`). It opens no file but those of RUN, of the bundle, of the cases named there and
of the libraries, and writes only into RUN: progress.jsonl, checkpoint.pt, runs/, at the end candidate.pt and done.json;
meanwhile generator.pt and synthetic/, where some of the samples are to be made up (`synthetic`).

It ends with
    0   done (done.json is there)
    3   this run cannot be trained: the sentence on stderr says why
    4   the loss is not a number any more
    75  left before the end (SIGTERM, or another process trains here): to be started again
    7   it cannot be confined as it is required (--confine)
    1   anything else
Under torchrun, which tells its caller only whether all was well, leaving before the end is 0 without a done.json.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import card
from ..confine import locks
from ..confine.environment import live_in
from ..confine.process import Unconfined, confine
from ..confine.rights import Demand, Rights
from ..loading import loading
from .run import DONE, SCRATCH, Diverged, Run, Stopped, Untrainable, read

EXIT_UNTRAINABLE = 3
EXIT_DIVERGED = 4
EXIT_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
EXIT_UNCONFINED = 7
#: where the processes of NCCL meet
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - no file of ours


class _Leave:
    """Whether somebody asked this process to leave. While nothing is trained yet there is nothing to save: it does."""

    def __init__(self) -> None:
        self.asked = False
        self.training = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True
        if not self.training:
            raise Stopped("training was asked to leave before it began")

    def begin(self) -> None:
        self.training = True

    def __call__(self) -> bool:
        return self.asked


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the run")
    parser.add_argument("--lifeline", type=int, help="a pipe; training leaves when its other end is closed")
    parser.add_argument(
        "--confine", type=Demand, choices=Demand, help="what is wanted of the kernel; else nothing is done"
    )
    options = parser.parse_args(arguments)
    # what libraries think of a bundle's configuration is for whoever makes bundles
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    try:
        leave = _Leave()
        run = read(options.folder)
        if options.confine is not None:
            _confine(options.folder.absolute(), run, options.confine)
        if options.lifeline is not None:
            threading.Thread(target=_leave_with, args=(options.lifeline,), daemon=True).start()
        if _is_done(options.folder, run):
            return 0
        with _alone(options.folder):
            _train(run, options.folder, leave)
    except (Exception, Stopped) as error:  # noqa: BLE001 - the edge of the process: a bundle may raise anything
        return _ended(error)
    return 0


def _confine(folder: Path, run: Run, demand: Demand) -> None:
    """Take every right away that this training does not need.

    Several processes meet over the network and in shared memory, and MLflow is told over the network: then these stay.

    Raises:
        Unconfined: the kernel cannot do what is required.
    """
    live_in(folder / SCRATCH)
    given = (run.bundle, *([run.start] if run.start else ()), *run.train, *run.validation)
    write, together = [folder], int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        write.append(SHARED_MEMORY)
    else:
        locks.of_threads()
    sockets = together or bool(os.environ.get("MLFLOW_TRACKING_URI"))
    confine(Rights(read=given, write=tuple(write), sockets=sockets, descriptors=4096), demand)


def _train(run: Run, folder: Path, leave: _Leave) -> None:
    bundle = card.read(run.bundle)
    if bundle.card_sha256 != run.card_sha256:
        raise Untrainable(f"{run.bundle}: the card has changed")
    card.verify(bundle)
    with loading():
        from .whole import train

    train(run, folder, bundle, leave, leave.begin)


def _is_done(folder: Path, run: Run) -> bool:
    file = folder / DONE
    if file.is_file() and json.loads(file.read_bytes())["run"] != run.identity:
        raise Untrainable(f"{file}: is of another run (its run.json was another)")
    return file.is_file()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that no second process trains in it; of several under torchrun the first does."""
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stopped(f"{folder}: another process trains here") from None
        yield


def _ended(error: BaseException) -> int:
    """The exit status. A library may have wrapped what was raised within it: the cause counts."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    for one in chain:
        status = _status(one)
        if status is not None:
            sys.stderr.write(f"training: {one}\n")
            return status
    said = " <- ".join(f"{type(one).__name__}: {one}".split("\n")[0][:500] for one in chain)
    sys.stderr.write(f"training: {said}\n")
    return 1


def _status(error: BaseException) -> int | None:
    if isinstance(error, Stopped):
        return 0 if "TORCHELASTIC_RUN_ID" in os.environ else EXIT_AGAIN
    if isinstance(error, Diverged):
        return EXIT_DIVERGED
    if isinstance(error, Unconfined):
        return EXIT_UNCONFINED
    return EXIT_UNTRAINABLE if isinstance(error, Untrainable | card.CardError) else None


def _leave_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
