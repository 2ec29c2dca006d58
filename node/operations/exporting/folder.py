"""The folder of an export: it appears whole under its name, with its record written before it, or not at all."""

from __future__ import annotations

import csv
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from db import audit_trail, events
from db.database import Database
from db.exports import EXPORTED

from ...audit.codes import What
from ...errors import Refused
from ...failpoints import reach
from ...learning.durable import sync_folder, write

logger = logging.getLogger(__name__)

MAKING = ".making-export-"
LEFT = re.compile(re.escape(MAKING) + r"[0-9a-f]{16}")
#: between its being made and its being locked a folder is younger
OLD_SECONDS = 60.0
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Kept:
    """An object that stayed in the house; by the UID that it would have had."""

    uid: str
    code: str
    sentence: str


@dataclass
class Made:
    """An export while it is made.

    Attributes:
        name: of this export, for ever: 16 hexadecimal digits.
        root: where it is made; its name is given at the end.
        patients: how the record names those who are in it.
        studies: their UIDs as they are here, for the audit trail.
        files: of each file that leaves, what the manifest says.
        kept: what stayed, and why.
    """

    name: str
    root: Path
    patients: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    files: list[dict[str, Any]] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def write(self, path: str, data: bytes, **said: Any) -> None:
        """A file, durable; `path` is relative."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(file, data)
        self.note(path, **said)

    def note(self, path: str, **said: Any) -> None:
        """A file that was written."""
        self.files.append({"file": path, **said})

    @property
    def refused(self) -> dict[str, int]:
        """Code -> how many objects stayed."""
        return dict(sorted(Counter(one.code for one in self.kept).items()))


@contextmanager
def made(to: Path) -> Iterator[Made]:
    """An export that is to be at a place; what was made of it goes where it is not published.

    Its folder is locked while its process lives: what a process left there that was killed goes first (`sweep`).

    Raises:
        Refused: `export-exists`.
    """
    if to.exists() or to.is_symlink():
        raise Refused("export-exists", f"{to} is there already; an export goes into a folder that is not")
    to.parent.mkdir(parents=True, exist_ok=True)
    sweep(to.parent)
    root = to.parent / f"{MAKING}{secrets.token_hex(8)}"
    root.mkdir(mode=0o700)
    held = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks: nothing of it is swept then
            fcntl.flock(held, fcntl.LOCK_EX)
        yield Made(secrets.token_hex(8), root)
    finally:
        shutil.rmtree(root, ignore_errors=True)  # nothing is there any more where it was published
        os.close(held)


def sweep(parent: Path) -> int:
    """Remove what exports left beside their place whose processes were killed; how many."""
    count = 0
    for folder in parent.glob(f"{MAKING}*"):
        if LEFT.fullmatch(folder.name) and _is_left(folder):
            shutil.rmtree(folder, ignore_errors=True)
            logger.info("removed what a killed export had left")
            count += 1
    return count


def _is_left(folder: Path) -> bool:
    """Whether it is ours, a minute old, and no process holds it."""
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        about = os.fstat(at)
        if about.st_uid != os.geteuid() or about.st_mtime > time.time() - OLD_SECONDS:
            return False
        fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(at)


def publish(export: Made, to: Path, database: Database, who: str, subject: str, said: dict[str, Any]) -> None:
    """Write the manifest and the record, then give the folder its name: what is out there is always in the record.

    Args:
        said: how the objects were changed, for the manifest and for the record.

    Raises:
        Refused: `nothing-to-export`, `export-exists`.
    """
    if not export.files:
        codes = ", ".join(f"{count} {code}" for code, count in export.refused.items())
        raise Refused("nothing-to-export", f"nothing of it may leave: {codes or 'there is nothing'}")
    about = {"export": export.name, **said, "notes": sorted(set(export.notes))}
    manifest = about | {"files": export.files, "refused": [asdict(one) for one in export.kept]}
    write(export.root / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    _table(export.root / "manifest.csv", export.files)
    _table(export.root / "refused.csv", [asdict(one) for one in export.kept])
    sync_folder(export.root)
    reach("export-made")
    details = about | {"patients": sorted(export.patients), "files": len(export.files), "refused": export.refused}
    with database.write() as tx:
        events.append(tx, who, EXPORTED, subject, details)
        for study_uid in sorted(export.studies):
            audit_trail.put(tx, What.EXPORTED, audit_trail.about(tx, study_uid) | {"who": who})
    reach("export-recorded")
    try:
        export.root.rename(to)
    except OSError:
        if to.exists():
            raise Refused("export-exists", f"{to} came to be meanwhile") from None
        raise
    sync_folder(to.parent)


def _table(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        with file.open("x", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]), restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
