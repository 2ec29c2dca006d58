"""A backup while the node runs: the rows as of one moment, then the files that they name, which never change.

Nothing is removed meanwhile (`at_rest`). Under its name it appears whole and on the disk, or not at all.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from db import copies, data_sets, events, labels, schema, shadows
from db.database import Database, open_database, sqlite_url

from ..errors import Refused
from ..study.archive import sync_folder
from .at_rest import undisturbed
from .backup_format import ABOUT, CHUNK, CONFIG, FILES, FORMAT, ROWS, SUMS, About, about_text, sums_text

RECORDED = "backup"
#: all of them, below the home folder, but what is being built there (its name begins with a point)
WHOLE_FOLDERS = ("models", "networks", "learning/runs")
KEY = "learning/key"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A backup that was written; `sha256` is that of its SHA256SUMS, and so of all of it."""

    about: About
    sha256: str

    def __str__(self) -> str:
        about = self.about
        without = "" if about.originals else ", without the images of finished studies (--originals)"
        lacking = f"; {about.missing} files that rows name were not on the disk" if about.missing else ""
        return (
            f"backed up: the rows and {about.files} files, {about.bytes / 1e9:.2f} GB{without}{lacking}; "
            f"its fingerprint is {self.sha256}"
        )


def backup(
    database: Database,
    home: Path,
    to: Path,
    *,
    originals: bool,
    config: Path | None,
    committing: Collection[str],
    node_version: str,
    who: str,
) -> Made:
    """Write a backup.

    Args:
        to: a file that is not there; "-" is standard output.
        originals: also the images of finished studies.
        config: the configuration file of the node.
        committing: destinations that are asked for storage commitment.

    Raises:
        Refused: `backup-exists`.
        Unavailable: `home-in-use`: files are being removed.
    """
    if str(to) != "-" and to.exists():
        raise Refused("backup-exists", f"{to} is there already, and is not overwritten")
    with undisturbed(home, reading=True), tempfile.TemporaryDirectory(prefix="backup-", dir=home / "spool") as folder:
        rows = Path(folder) / ROWS
        copies.copy(database, rows)
        files, missing = _named(rows, home, originals=originals, committing=committing)
        size = sum((home / path).stat().st_size for path in files)
        about = About(
            format=FORMAT,
            node_version=node_version,
            schema=schema.newest(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            originals=originals,
            files=len(files),
            bytes=size,
            missing=missing,
        )
        with _target(to) as stream, _progress(size + rows.stat().st_size) as progress:
            made = Made(about=about, sha256=_write(stream, about, rows, config, home, files, progress))
    with database.write() as tx:
        said = {name: getattr(about, name) for name in ("files", "bytes", "originals", "missing")}
        events.append(tx, who, RECORDED, "node", said | {"sums_sha256": made.sha256})
    return made


def _named(rows: Path, home: Path, *, originals: bool, committing: Collection[str]) -> tuple[list[str], int]:
    """The files that go into it, and how many are not there; the copy of the rows then says what is not with it."""
    copied = open_database(sqlite_url(rows))
    try:
        with copied.read() as tx:
            named = copies.paths(tx)
            aside = set[str]() if originals else copies.finished_images(tx, committing)
            masks = labels.mask_paths(tx) | data_sets.mask_paths(tx) | shadows.mask_paths(tx)
        wanted = named - aside
        lacking = {path for path in wanted if not (home / path).is_file()}
        with copied.write() as tx:
            copies.without(tx, aside | lacking)
    finally:
        copied.dispose()
    there = {path for path in masks if (home / path).is_file()}
    found = (wanted - lacking) | there | set(_of_folders(home))
    return sorted(found), len(lacking) + len(masks - there)


def _of_folders(home: Path) -> Iterator[str]:
    if (home / KEY).is_file():
        yield KEY
    for name in WHOLE_FOLDERS:
        for above, folders, files in os.walk(home / name):
            folders[:] = [one for one in folders if not one.startswith(".")]
            for one in files:
                file = Path(above) / one
                if file.is_file() and not file.is_symlink():
                    yield file.relative_to(home).as_posix()


def _write(
    stream: IO[bytes],
    about: About,
    rows: Path,
    config: Path | None,
    home: Path,
    files: list[str],
    progress: Callable[[int], Any],
) -> str:
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as archive:
        _add_bytes(archive, sums, ABOUT, about_text(about))
        _add_file(archive, sums, ROWS, rows, progress)
        if config is not None:
            _add_bytes(archive, sums, CONFIG, config.read_bytes())
        for path in files:
            _add_file(archive, sums, FILES + path, home / path, progress)
        last = sums_text(sums)
        _add_bytes(archive, {}, SUMS, last)
    return hashlib.sha256(last).hexdigest()


def _add_bytes(archive: tarfile.TarFile, sums: dict[str, str], name: str, data: bytes) -> None:
    archive.addfile(_info(name, len(data)), io.BytesIO(data))
    sums[name] = hashlib.sha256(data).hexdigest()


def _add_file(
    archive: tarfile.TarFile, sums: dict[str, str], name: str, file: Path, progress: Callable[[int], Any]
) -> None:
    with file.open("rb") as stream:
        read = _Hashing(stream, progress)
        archive.addfile(_info(name, os.fstat(stream.fileno()).st_size), read)
        sums[name] = read.digest.hexdigest()


def _info(name: str, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mode, made.mtime = size, 0o600, 0
    return made


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, stream: IO[bytes], progress: Callable[[int], Any]) -> None:
        self._stream, self._progress, self.digest = stream, progress, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self._progress(len(data))
        return data


@contextmanager
def _target(to: Path) -> Iterator[IO[bytes]]:
    if str(to) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    beside = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _appear(beside, to)
        sync_folder(to.absolute().parent)
    except FileExistsError:
        raise Refused("backup-exists", f"{to} is there already, and is not overwritten") from None
    finally:
        beside.unlink(missing_ok=True)


def _appear(beside: Path, to: Path) -> None:
    """Under its name, never over another one; some disks that backups go to have no links."""
    try:
        os.link(beside, to)
    except FileExistsError:
        raise
    except OSError:
        if to.exists():
            raise FileExistsError from None
        beside.rename(to)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], Any]]:
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as shown:
        task = shown.add_task("backing up", total=total)
        yield lambda count: shown.advance(task, count)
