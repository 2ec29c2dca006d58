"""The training process: what it is given, how it is started, followed and asked to make way.

It is given the folders of its cases and nothing else of this node: no database, no archive, no locked patient.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models import membership
from models.augmentation import Augmentation
from models.card import Bundle, Card
from models.confine.environment import ALONE, cleaned
from models.confine.rights import Demand
from models.confine.room import LOOK_SECONDS as ROOM_SECONDS
from models.confine.room import SHARE_LOOKING, Held, Room, Unseen, held, remove
from models.training.run import SCRATCH

from ..errors import Failed, Refused, Unavailable
from .sides import exchanged

#: how the process says how it ended
DONE, IMPOSSIBLE, NOT_FINITE, UNCONFINED, MADE_WAY = 0, 3, 4, 7, 75
#: a step is done and saved within this; then the process is killed, and its last checkpoint holds
LEAVE_SECONDS = 45.0
LOOK_SECONDS = 0.5
ORDER, LOG, PROGRESS = "run.json", "log.txt", "progress.jsonl"
#: of the log and the progress of a training that wrote too much
TAIL_BYTES = 64 << 10
#: of what a training says of itself: ten thousand epochs, and a step in each second of some days
MOST_BYTES = 32 << 20
#: what is counted of its lines, what is drawn of them where it is there, and how large that may be
COUNTED, DRAWN, LARGEST = ("epoch", "epochs"), ("loss", "dice"), 1e12
#: what a training needs to tell MLflow, where the site has one
TRACKED = ("MLFLOW_*",)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be trained; written as run.json.

    Attributes:
        start: weights to begin from; None: as the bundle makes them.
        train, validation: folders of cases.
        augmentation: whether some of the samples are to be made up; None: none.
    """

    bundle: Bundle
    start: Path | None
    train: Sequence[Path]
    validation: Sequence[Path]
    seed: int
    max_epochs: int
    max_minutes: float
    early_stop: int
    device: str
    transfer: bool = False
    freeze_epochs: int = 0
    augmentation: Augmentation | None = None

    def write(self, folder: Path) -> None:
        """Into the folder of the run; what is there of an earlier attempt stays, and is gone on with."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        said: dict[str, Any] = {
            "bundle": str(self.bundle.folder),
            "card_sha256": self.bundle.card_sha256,
            "start": str(self.start) if self.start else None,
            "train": [str(one) for one in self.train],
            "validation": [str(one) for one in self.validation],
            "seed": self.seed,
            "max_epochs": self.max_epochs,
            "max_minutes": self.max_minutes,
            "early_stop": self.early_stop,
            "device": self.device,
            "transfer": self.transfer,
            "freeze_epochs": self.freeze_epochs,
            "classes": [segment.value for segment in self.bundle.card.segment],
            "exchange": [list(pair) for pair in exchanged(self.bundle.card)],
        }
        if self.augmentation is not None and self.augmentation.synthetic_share:
            said["augmentation"] = self.augmentation.model_dump()
        beside = folder / ".run.json"
        beside.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        beside.replace(folder / ORDER)


def must_be_trainable(card: Card) -> None:
    """Raises:
    Refused: `training-impossible`: its segments are unions of label values, or channels that overlap.

    A label says which segments a voxel is of. What a bundle's own training reads, one class per voxel, does not follow
    from that: several label values may say the same, and its transforms would make other channels of our bits.
    """
    if membership.has_unions(card):
        raise Refused(
            "training-impossible",
            f"{card.name} is not trained here: its segments overlap, or are unions of label values, and labels of them "
            "do not say what its training reads. They are kept, and `planimeter models accept` tests with them",
        )


def train(
    folder: Path,
    make_way: Callable[[], str],
    limit_seconds: float,
    processes: int = 1,
    confine: Demand = Demand.BEST,
    room: Room | None = None,
) -> dict[str, Any]:
    """Start the process on a run's folder, or start it again where it left off, and wait for its end.

    Args:
        make_way: asked about twice a second; what it answers is why the process has to leave the device, or "".
        limit_seconds: on the wall clock, of this attempt.
        processes: more than one: torchrun starts so many, one per GPU, and they train together.
        confine: what is wanted of the kernel, so that the bundle can do no harm.
        room: what it may hold in the folder; of one that held more, only what it said last is left there.

    Returns:
        What it said at its end (done.json).

    Raises:
        Unavailable: `made-way`: it left, or another process trains this run.
        Refused: `training-impossible`: the bundle or the data cannot be trained.
        Failed: `training-failed`: it died, hung, or its loss is no number; `not-confined`; `too-much-written`.
    """
    room, before = room or Room(), Held()
    with contextlib.suppress(Unseen):  # then it is ended as soon as it is looked at
        before = held((folder,))
    with (folder / LOG).open("ab") as log:
        lifeline, ours = os.pipe()  # the process ends when its end of the pipe is closed: when this worker dies
        process = subprocess.Popen(
            [*_program(processes), str(folder), "--lifeline", str(lifeline), "--confine", confine],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            pass_fds=(lifeline,),
            env=cleaned(os.environ, TRACKED) | ALONE,
            start_new_session=True,
        )
        os.close(lifeline)
        try:
            why = _wait(process, make_way, limit_seconds, partial(_must_fit, process, folder, room, before))
        finally:
            _end(process)
            os.close(ours)
            remove(folder / SCRATCH)
    return _outcome(folder, process.returncode, why)


def _program(processes: int) -> list[str]:
    if processes == 1:
        return [sys.executable, "-P", "-m", "models.training"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, "-P", *launch, "-m", "models.training"]


def _wait(
    process: subprocess.Popen[bytes], make_way: Callable[[], str], limit_seconds: float, must_fit: Callable[[], None]
) -> str:
    """Until it ends, or has to leave: then why. It must fit also when it has ended."""
    deadline, look = time.monotonic() + limit_seconds, 0.0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
            must_fit()
            return ""
        if (began := time.monotonic()) >= look:
            must_fit()
            took = time.monotonic() - began
            look = began + max(ROOM_SECONDS, took / SHARE_LOOKING)
        if why := make_way():
            return why
        if time.monotonic() > deadline:
            raise Failed("training-failed", f"the training did not end within {limit_seconds / 60:.0f} minutes")


def _must_fit(process: subprocess.Popen[bytes], folder: Path, room: Room, before: Held) -> None:
    """End a training that holds more than it may, and give the room back.

    Raises:
        Failed: `too-much-written`.
    """
    lives = process.poll() is None
    if not (why := room.exceeded((folder,), process.pid if lives else None, before)):
        return
    if lives:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    folder.chmod(0o700)
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            remove(one)
        elif one.name in (LOG, PROGRESS):
            _shorten(one)
        elif one.name != ORDER:
            one.unlink()
    raise Failed("too-much-written", f"the training {why}, and was ended")


def _shorten(file: Path) -> None:
    """Leave its last words; it is the training's own, and no link is followed."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL_BYTES))
        tail = stream.read()
        stream.seek(0)
        stream.write(tail)
        stream.truncate()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to save and end; kill it where it does not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(LEAVE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _outcome(folder: Path, code: int, why: str) -> dict[str, Any]:
    finished = folder / "done.json"
    if code == DONE and finished.is_file():
        try:
            return dict(json.loads(_own(finished)))
        except (ValueError, TypeError, RecursionError):
            raise Failed("training-failed", "what the training says at its end cannot be read") from None
    said = _last_line(folder / LOG)
    if why or code in (DONE, MADE_WAY):  # under torchrun, leaving is 0 too
        raise Unavailable("made-way", why or "the training was asked to stop, and goes on later")
    if code == UNCONFINED:
        raise Failed("not-confined", "the training cannot be confined as `work.confine` requires; see its log")
    if code == IMPOSSIBLE:
        raise Refused("training-impossible", said or "the bundle cannot be trained")
    raise Failed("training-failed", f"the training ended with {code}: {said}")


def _last_line(file: Path) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 4096))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def progress(folder: Path) -> list[dict[str, Any]]:
    """What it has said so far, epoch by epoch; a line that is being written, or is none of ours, is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in _own(folder / PROGRESS).splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                said = json.loads(line)
                if isinstance(said, dict) and _is_ours(said):
                    found.append(said)
    return found


def _own(file: Path) -> str:
    """What stands in a file of the training's own, who may have written there whatever and however much it likes."""
    with file.open("rb") as stream:
        return stream.read(MOST_BYTES).decode("utf-8", "replace")


def _is_ours(said: dict[str, Any]) -> bool:
    """Whether others can count and draw what a line says."""
    drawn = [said[name] for name in DRAWN if said.get(name) is not None]
    return all(type(said.get(name, 0)) is int for name in COUNTED) and all(
        type(one) in (int, float) and abs(one) < LARGEST for one in drawn
    )
