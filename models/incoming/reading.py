"""What a stranger brought is read by a process that can do no harm: pickles of PyTorch, archives, trees of configs.

    python -P -m models.incoming FOLDER best|require|off --orientation LPS

It may read and change the folder of the bundle, a copy that is ours, and has no network, no programs and no other file
(`models.confine`). It answers in JSON, and what it left in the folder is looked at before anybody uses it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from ..card import CardError
from ..confine.environment import cleaned
from ..confine.rights import Demand
from ..confine.room import LOOK_SECONDS, Held, Room, Unseen, held
from .program import Program, Said

#: for tens of gigabytes of checkpoints on a slow disk
MOST_SECONDS = 3600.0
MOST_ANSWER = 64 << 20
#: beside a bundle that is made of what was brought
ROOM_BYTES = 4 << 30
SCRATCH = ".reading"
EXIT_UNCONFINED = 7
#: a library that has threads before it is confined would have some that are not
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class NotRead(Exception):
    """The process could not be confined as is required, or did not start; the sentence says why."""


class TooMuch(Exception):
    """The process wrote more than it may, or filled the disk, and was ended; the sentence says what."""


def read(
    folder: Path, orientation: str, demand: Demand, seconds: float = MOST_SECONDS, room: Room | None = None
) -> tuple[Path, Program]:
    """The bundle in a folder, or the one that was made there of nnU-Net's results; and what it would run.

    Args:
        folder: a copy that is ours.
        orientation: see `nnunet.bundle`; "": not said.
        room: what may be made in the folder, beside what is there and as much again; None: the usual, and no reserve.

    Raises:
        CardError: it is none, or reading it ended the process.
        NotRead, TooMuch
    """
    try:
        before = held((folder,))
    except Unseen as error:
        raise CardError(f"it {error}") from None
    room = (room or Room(most_bytes=ROOM_BYTES)).beside(before)
    asked = [sys.executable, "-P", "-m", "models.incoming", str(folder.resolve()), demand, "--orientation", orientation]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                asked,
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=errors,
                env=cleaned(os.environ) | NO_THREADS,
                start_new_session=True,
            )
        except OSError as error:
            raise NotRead(f"the process that reads it did not start: {error.strerror}") from None
        with process:
            try:
                _follow(process, (answer, errors), folder, before, room, seconds)
            finally:
                process.kill()
        errors.seek(0)
        last = errors.read(MOST_ANSWER).decode("utf-8", "replace").strip().split("\n")[-1][:300]
        if process.returncode == EXIT_UNCONFINED:
            raise NotRead(last)
        if process.returncode:
            raise CardError(f"reading it ended the process that did ({process.returncode}): {last}")
        answer.seek(0)
        said = _answer(answer.read(MOST_ANSWER + 1))
    if "wrong" in said:
        raise CardError(str(said["wrong"]))
    _require_plain(folder)
    found = folder / str(said["folder"])
    if not found.is_dir() or not found.resolve().is_relative_to(folder.resolve()):
        raise CardError("what was read is no folder of it")
    return found, _program(said["program"])


def _follow(
    process: subprocess.Popen[bytes],
    says: tuple[IO[bytes], ...],
    folder: Path,
    before: Held,
    room: Room,
    seconds: float,
) -> None:
    """Until it has ended.

    Raises:
        CardError: it takes too long.
        TooMuch
    """
    deadline, ended = time.monotonic() + seconds, False
    while not ended:
        try:
            process.wait(LOOK_SECONDS)
            ended = True
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise CardError(f"it could not be read within {seconds:.0f} s") from None
        if why := room.exceeded((folder,), None if ended else process.pid, before):
            raise TooMuch(f"the process that read it {why}, and was ended")
        if any(os.fstat(one.fileno()).st_size > MOST_ANSWER for one in says):
            raise TooMuch(f"the process that read it said more than {MOST_ANSWER >> 20} MiB, and was ended")


def _answer(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data) if len(data) <= MOST_ANSWER else None
    except ValueError:
        said = None
    if not isinstance(said, dict) or not ("wrong" in said or {"folder", "program"} <= set(said)):
        raise CardError("the process that read it gave no answer")
    return said


def _require_plain(folder: Path) -> None:
    """Whoever read it may have left links there, and they would be followed with all our rights.

    Raises:
        CardError: it holds more than plain files and folders.
    """
    for one in folder.rglob("*"):
        if one.is_symlink() or not (one.is_file() or one.is_dir()):
            raise CardError(f"{one.relative_to(folder)}: is no plain file")
        if one.is_file() and one.stat().st_nlink > 1:
            raise CardError(f"{one.relative_to(folder)}: is a file of two names")


def _program(said: dict[str, Any]) -> Program:
    def words(name: str) -> tuple[Said, ...]:
        return tuple(Said(*(str(part) for part in one)) for one in said[name])

    def sizes(name: str) -> tuple[tuple[str, int], ...]:
        return tuple((str(file), int(lines)) for file, lines in said[name])

    try:
        return Program(
            expressions=int(said["expressions"]),
            reaching=words("reaching"),
            imports=words("imports"),
            targets=words("targets"),
            scripts=sizes("scripts"),
            pickles=tuple(map(str, said["pickles"])),
            weights=tuple(map(str, said["weights"])),
            networks=sizes("networks"),
            outside=words("outside"),
        )
    except (KeyError, TypeError, ValueError):
        raise CardError("the process that read it gave no answer") from None
