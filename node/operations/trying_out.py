"""Try a network on images that a person brings: taken in like any others, apart from everything else.

What is brought gets UIDs of its own and an issuer of its own, and so is nobody's study: should the same study come from
its scanner one day, it is a new one and goes its usual way; nothing of the trial stands in its way, is its prior, or is
learnt from. Its routes are one: all of it to the network that is tried, and nothing is sent.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydicom import dcmread

from db import trials
from db.arrivals import Kind
from db.database import Database, Row

from ..errors import Refused
from ..inbound.files import spool_file
from ..inbound.header import looked_at
from ..inbound.inbox import LOCAL, Inbox, Source
from ..inbound.kinds import kind_of
from ..networks import Networks
from ..study.facts import UNREADABLE
from . import control

TRIED = Source("TRIAL", LOCAL)
#: who issued the PatientID of a trial: no patient of the site is one of these
ISSUER = "PLANIMETER TRIAL"
RENAMED = ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
ZIP = b"PK\x03\x04"
CHUNK = 1 << 20
MOST_BYTES = 8_000_000_000
#: what is kept and shown of what could not be taken
MOST_SAID = 20
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much may be brought.

    Attributes:
        most_files, most_bytes: of a trial.
        reserve_bytes: that stay free on the disk.
    """

    most_files: int
    reserve_bytes: int
    most_bytes: int = MOST_BYTES


@dataclass
class Taken:
    """What became of files.

    Attributes:
        counts: "new", "same" -> how many.
        refused: name, sentence; the first ones.
        left_out: how many were refused.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0

    def refuse(self, name: str, sentence: str) -> None:
        self.left_out += 1
        if len(self.refused) < MOST_SAID:
            self.refused.append((name[:200], sentence))


def begin(networks: Networks, network: str, who: str) -> str:
    """A trial, to which files may be brought; the UID of its study.

    Raises:
        Refused: `no-such-network`.
        Failed: the network cannot be used.
    """
    if network not in networks.names():
        raise Refused("no-such-network", f"there is no network called {network}; `planimeter models list` lists them")
    networks.live(network)
    study_uid = f"2.25.{uuid.uuid4().int}"
    with networks.database.write() as tx:
        trials.begin(tx, study_uid, network, who)
    return study_uid


def must_have_room(inbox: Inbox, study_uid: str, more_bytes: int, bounds: Bounds) -> None:
    """
    Raises:
        Refused: `trial-too-large`, `disk-reserve`, `no-such-trial`.
    """
    files, size = _so_far(inbox.database, study_uid)
    if files >= bounds.most_files:
        raise Refused("trial-too-large", f"a trial has at most {bounds.most_files} files")
    if size + more_bytes > bounds.most_bytes:
        raise Refused("trial-too-large", f"a trial has at most {bounds.most_bytes / 1e9:g} GB")
    if inbox.archive.free_bytes() - more_bytes < bounds.reserve_bytes:
        raise Refused("disk-reserve", "the disk of the node has too little room for more")


def _so_far(database: Database, study_uid: str) -> tuple[int, int]:
    with database.read() as tx:
        if trials.of_study(tx, study_uid) is None:
            raise Refused("no-such-trial", "this trial is not known; begin another one")
        return trials.size(tx, study_uid)


def take(inbox: Inbox, file: Path, name: str, study_uid: str, bounds: Bounds) -> Taken:
    """Take in what was brought: an image, or a zip of images. A file that cannot be taken is no reason against others.

    Args:
        file: where it lies now; it stays there.
        name: as its owner calls it: to be said, and never a path.

    Raises:
        Refused: `trial-too-large`, `disk-reserve`, `no-such-trial`; of a zip: `zip-unreadable`, `zip-unsafe`.
    """
    taken = Taken()
    with file.open("rb") as stream:
        is_zip = stream.read(len(ZIP)) == ZIP
    if not is_zip:
        must_have_room(inbox, study_uid, file.stat().st_size, bounds)
        _one(inbox, file, name, study_uid, taken)
        return taken
    try:
        with zipfile.ZipFile(file) as opened:
            for member in _members(opened, bounds):
                try:
                    _unpacked(inbox, opened, member, study_uid, bounds, taken)
                except BROKEN as error:
                    taken.refuse(member.filename, f"it cannot be unpacked ({type(error).__name__})")
    except BROKEN as error:
        raise Refused("zip-unreadable", f"{name} cannot be read as a zip ({type(error).__name__})") from None
    return taken


def _members(opened: zipfile.ZipFile, bounds: Bounds) -> Sequence[zipfile.ZipInfo]:
    """The files in a zip, once none of its names or kinds is an attack. Sizes that it declares are not believed."""
    every = opened.infolist()
    if len(every) > bounds.most_files:
        raise Refused("trial-too-large", f"the zip has {len(every)} files; a trial has at most {bounds.most_files}")
    for one in every:
        parts = one.filename.replace("\\", "/").split("/")
        if ".." in parts or one.filename.startswith(("/", "\\")) or ":" in parts[0]:
            raise Refused("zip-unsafe", "the zip has names that lead out of it; nothing of it was taken")
        if stat.S_IFMT(one.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused("zip-unsafe", "the zip has links or devices in it; nothing of it was taken")
        if one.flag_bits & 0x1:
            raise Refused("zip-unreadable", "the zip is encrypted; unpack it, and bring the folder")
    if sum(one.file_size for one in every) > bounds.most_bytes:
        raise Refused("trial-too-large", f"unpacked, the zip has more than {bounds.most_bytes / 1e9:g} GB")
    return [one for one in every if not one.is_dir() and Path(one.filename).name != "DICOMDIR"]


def _unpacked(
    inbox: Inbox, opened: zipfile.ZipFile, member: zipfile.ZipInfo, study_uid: str, bounds: Bounds, taken: Taken
) -> None:
    spooled = inbox.archive.new_spool_file()
    try:
        with opened.open(member) as stream, spooled.open("xb") as target:
            for written in _copied(stream, target):
                must_have_room(inbox, study_uid, written, bounds)  # a bomb is larger than it says
        with spooled.open("rb") as stream:
            nested = stream.read(len(ZIP)) == ZIP
        if nested:
            taken.refuse(member.filename, "a zip within a zip is not opened")
        else:
            _one(inbox, spooled, member.filename, study_uid, taken)
    finally:
        spooled.unlink(missing_ok=True)


def _copied(stream: IO[bytes], target: IO[bytes]) -> Iterator[int]:
    """Copy, and say now and then how much it was."""
    written = 0
    yield written
    while chunk := stream.read(CHUNK):
        written += len(chunk)
        yield written
        target.write(chunk)


def _one(inbox: Inbox, file: Path, name: str, study_uid: str, taken: Taken) -> None:
    try:
        taken.counts[_taken(inbox, file, study_uid)] += 1
    except Refused as refusal:
        taken.refuse(name, refusal.sentence)


def _taken(inbox: Inbox, file: Path, study_uid: str) -> str:
    spooled, syntax = spool_file(inbox, file)
    renamed = inbox.archive.new_spool_file()
    try:
        header = looked_at(spooled, syntax)
        if kind_of(header.SOPClassUID) is not Kind.IMAGE:
            raise Refused("not-an-image", "it is no image: a trial reads images alone")
        with inbox.database.write() as tx:
            if not trials.claim(tx, study_uid, str(header.StudyInstanceUID)):
                raise Refused("another-study", "it is of another study than the first image; bring one at a time")
        _rename(spooled, renamed, study_uid)
        return str(inbox.take(renamed, syntax, TRIED))
    finally:
        spooled.unlink(missing_ok=True)
        renamed.unlink(missing_ok=True)


def _rename(file: Path, to: Path, study_uid: str) -> None:
    """The same image as one of this trial alone; pixels and everything else stay as they are."""
    try:
        ds = dcmread(file)
        for keyword in RENAMED:
            if known := str(ds.get(keyword) or ""):
                setattr(ds, keyword, _derived(study_uid, known))
        ds.StudyInstanceUID, ds.IssuerOfPatientID = study_uid, ISSUER
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(to, enforce_file_format=True)
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise Refused("malformed", f"its data set cannot be read ({type(error).__name__})") from None


def _derived(study_uid: str, known: str) -> str:
    """A UID of the trial for one of the images: the same for the same (PS3.5 B.2)."""
    digest = hashlib.sha256(f"{study_uid}\n{known}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def end(database: Database, study_uid: str, who: str, outcome: str, attempts: int) -> str:
    """All was brought: the study is complete, and its network reads it; a sentence.

    Raises:
        Refused: `trial-empty`: there is no image; `no-such-trial`.
    """
    files, _ = _so_far(database, study_uid)
    with database.write() as tx:
        trials.note(tx, study_uid, outcome[:1000])
    if not files:
        raise Refused("trial-empty", "there is no image in what was brought")
    control.close(database, study_uid, who, attempts)
    return f"{files} images were taken in; the network reads them next"


def newest(database: Database, most: int = 20) -> Sequence[Row]:
    """The newest trials."""
    with database.read() as tx:
        return trials.newest(tx, most)


def choices(networks: Networks) -> list[tuple[str, bool]]:
    """The networks that can be tried, and whether each is on."""
    off = networks.switched_off()
    return [(name, name not in off) for name in networks.names()]


def in_words(taken: Taken) -> dict[str, Any]:
    """For the script of the page."""
    return {"taken": sum(taken.counts.values()), "left_out": taken.left_out, "refused": taken.refused}
