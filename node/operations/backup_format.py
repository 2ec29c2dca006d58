"""What a backup is: one tar archive (pax), written and read from the front to the end.

planimeter-backup.json   format, versions, when, what is in it
rows.db                  all rows, a SQLite file, whatever the database was
planimeter.toml          the configuration file, where the node had one
files/...                the files that the rows name, networks and the key, under their paths in the home folder
SHA256SUMS               of all of the above, as `sha256sum -c` reads it; the last one, so one that was cut lacks it
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import Refused

FORMAT = 1
ABOUT, ROWS, CONFIG, SUMS = "planimeter-backup.json", "rows.db", "planimeter.toml", "SHA256SUMS"
FILES = "files/"
#: folders of the home folder that a backup may have files of
FOLDERS = ("store", "results", "labels", "shadows", "models", "networks", "learning")
CHUNK = 1 << 20
MOST_ABOUT = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, kw_only=True)
class About:
    """What a backup says of itself.

    Attributes:
        schema: revision of the rows.
        created: ISO 8601.
        originals: whether the images of finished studies are in it.
        files, bytes: of the home folder.
        missing: files that rows named and that were not on the disk.
    """

    format: int
    node_version: str
    schema: str
    created: str
    originals: bool
    files: int
    bytes: int
    missing: int


def about_text(about: About) -> bytes:
    """The first member."""
    return (json.dumps(asdict(about), indent=1, sort_keys=True) + "\n").encode()


def read_about(data: bytes) -> About:
    """Raises:
    Refused: `backup-newer`, `backup-damaged`.
    """
    try:
        said = json.loads(data)
        if int(said["format"]) > FORMAT:
            raise Refused(
                "backup-newer", f"this backup was made by a newer Planimeter ({said.get('node_version')}): install that"
            )
        return About(**said)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused("backup-damaged", "what the backup says of itself cannot be read") from None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A member of an archive: its name, its size, and its bytes, to be read once."""

    name: str
    size: int
    stream: IO[bytes]


@contextmanager
def opened(file: Path) -> Iterator[Iterator[Entry]]:
    """The members of a backup, in their order.

    Raises:
        Refused: `backup-damaged`: no archive, cut, or with a name that no backup has; also while it is read.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            yield _entries(archive)
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise Refused("backup-damaged", f"{file} is no whole backup: {error}") from None


def _entries(archive: tarfile.TarFile) -> Iterator[Entry]:
    seen: set[str] = set()
    for member in archive:
        stream = archive.extractfile(member) if member.isreg() else None
        if stream is None or member.name in seen or not _is_ours(member.name):
            shown = "".join(c if c.isprintable() else "?" for c in member.name[:80])
            raise Refused("backup-damaged", f"it has a member that no backup has: {shown!r}")
        seen.add(member.name)
        yield Entry(name=member.name, size=member.size, stream=stream)


def _is_ours(name: str) -> bool:
    if name in (ABOUT, ROWS, CONFIG, SUMS):
        return True
    parts = name.split("/")
    safe = all(part not in ("", ".", "..") and "\0" not in part and "\\" not in part for part in parts)
    return safe and parts[0] + "/" == FILES and len(parts) > 2 and parts[1] in FOLDERS


def sums_text(sums: dict[str, str]) -> bytes:
    """SHA256SUMS."""
    return "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()).encode()


def read_sums(data: bytes) -> dict[str, str]:
    """Raises:
    Refused: `backup-damaged`.
    """
    found: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise Refused("backup-damaged", f"its {SUMS} cannot be read")
        found[matched[2]] = matched[1]
    return found


def hashed(entry: Entry, to: IO[bytes] | None, progress: Callable[[int], Any]) -> str:
    """Read a member to its end; its SHA-256.

    Args:
        to: where its bytes go, or None.
        progress: is told of bytes.
    """
    digest, left = hashlib.sha256(), entry.size
    while chunk := entry.stream.read(CHUNK):
        digest.update(chunk)
        if to is not None:
            to.write(chunk)
        left -= len(chunk)
        progress(len(chunk))
    if left:
        raise Refused("backup-damaged", f"the backup was cut: it ends inside {entry.name}")
    return digest.hexdigest()
