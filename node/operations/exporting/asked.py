"""A study that somebody wants from its page: made by a worker into one file of the home folder, kept for a week."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from db import asked_exports, studies
from db.database import Database, Row

from ...deidentify.instance import Profile
from ...deidentify.keys import Keys
from ...deidentify.options import chosen
from ...errors import Refused
from ...learning.buckets import Key
from ...learning.durable import sync_folder
from ...study.archive import Archive
from .. import purge
from . import folder
from .studies import Wish, export, sentences

FOLDER = "exports"
KEPT_SECONDS = 7 * 86_400.0


def ask(database: Database, study_uid: str, who: str, options: Iterable[str], *, results: bool) -> str:
    """Somebody wants a study; a sentence.

    Raises:
        Refused: `no-such-study`, `study-held`, `study-not-settled`, `unknown-option`, `options-exclude`,
            `export-waits`.
    """
    wanted = chosen(options, usual=False)
    with database.write() as tx:
        row = studies.find(tx, study_uid)
        if row is None or row["state"] == "none":
            raise Refused("no-such-study", "there is no such study with images")
        if row["state"] == "held":
            raise Refused("study-held", "the study is held: a person has to let it go on before it can be exported")
        if row["state"] != "closed":
            raise Refused("study-not-settled", "the study is still coming in")
        if asked_exports.is_waiting(tx, row["id"]):
            raise Refused("export-waits", "an export of this study is being made already")
        asked_exports.ask(tx, row["id"], who, [str(one) for one in wanted], results=results)
    return "the export is being made; it will be here to be fetched"


def make(database: Database, home: Path, key: Key, number: int) -> dict[str, Any]:
    """Make the file of an export; what `db.asked_exports.end` is to write down of it."""
    with database.read() as tx:
        row = asked_exports.find(tx, number)
    nothing: dict[str, Any] = dict(path=None, size=None, code="no-such-study", sentence="it is not there any more")
    if row is None or row["ended"] is not None:
        return nothing if row is None else {name: row[name] for name in nothing}
    root = home / FOLDER
    root.mkdir(mode=0o700, exist_ok=True)
    folder.sweep(root)
    made_in = root / f"{number}"
    shutil.rmtree(made_in, ignore_errors=True)  # of an attempt that was killed
    profile = Profile(chosen(row["options"].split(), usual=False), Keys.of_house(key.secret))
    wish = Wish(study_uids=[row["study_uid"]], profile=profile, results=row["results"])
    try:
        made = export(database, home, key, wish, made_in, row["who"])
    except Refused as refusal:
        return nothing | {"code": refusal.code, "sentence": _nameless(refusal.sentence, row)}
    file = root / f"{made.name}.zip"
    _zip(made_in, file)
    shutil.rmtree(made_in, ignore_errors=True)
    path = file.relative_to(home).as_posix()
    return dict(
        path=path, size=file.stat().st_size, code=None, sentence="; ".join(one.strip() for one in sentences(made))
    )


def _nameless(sentence: str, row: Row) -> str:
    return sentence.replace(row["study_uid"], "").replace("  ", " ")


def _zip(of: Path, file: Path) -> None:
    """All files below a folder, as one file that appears whole; frames seldom grow smaller: nothing is packed."""
    beside = file.with_suffix(".making")
    with os.fdopen(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as stream:
        with zipfile.ZipFile(stream, "w") as packed:
            for one in sorted(each for each in of.rglob("*") if each.is_file()):
                packed.write(one, f"{file.stem}/{one.relative_to(of).as_posix()}")
        stream.flush()
        os.fsync(stream.fileno())
    beside.rename(file)
    sync_folder(file.parent)


def listing(database: Database, study_uid: str) -> list[Row]:
    """The exports of a study, the newest first."""
    with database.read() as tx:
        row = studies.find(tx, study_uid)
        return list(asked_exports.of_study(tx, row["id"])) if row is not None else []


def file_of(database: Database, home: Path, study_uid: str, number: int) -> Path:
    """The file of an export, to be fetched.

    Raises:
        Refused: `no-such-export`.
    """
    with database.read() as tx:
        row = asked_exports.find(tx, number)
    file = home / row["path"] if row is not None and row["study_uid"] == study_uid and row["path"] else None
    if file is None or not file.is_file():
        raise Refused("no-such-export", "there is no such export, or it is not kept any more")
    return file


def sweep(archive: Archive, database: Database, before: float) -> None:
    """Remove exports that are a week old, and what workers left that were killed; nothing newer than `before`."""
    with database.write() as tx:
        asked_exports.expire(tx, KEPT_SECONDS)
        kept = asked_exports.paths(tx)
    purge.finish(archive, database)
    root = archive.home / FOLDER
    folder.sweep(root)
    for one in root.iterdir() if root.is_dir() else ():
        if one.name.startswith(folder.MAKING):  # by now it is one that a process is busy with
            continue
        if one.relative_to(archive.home).as_posix() not in kept and one.lstat().st_mtime < before:
            shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
