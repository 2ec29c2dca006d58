"""Tidy the home folder after crashes. Nothing that was acknowledged is ever removed.

A file of the store without a row was received whole but never acknowledged, or its row was lost with an old backup of
the database: it is taken in again. A file of the results without a row was made but never committed: it goes. So does
a mask that no label, no frozen data set and no version that waits for its approval refers to.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from db import arrivals, audit_trail, data_sets, labels, refusals, remnants, results, shadows
from db.database import Database, DatabaseUnreachable

from ..errors import Refused
from ..inbound.inbox import Inbox, Source
from ..learning import cases, masks, versions
from ..study.archive import Archive
from . import purge
from .exporting import asked

logger = logging.getLogger(__name__)

#: nobody is still busy with a file that was not touched for so long
SETTLED_SECONDS = 3600.0
DAYS = 3
#: a process that was not heard of for so long will not say how its associations ended
SILENT_SECONDS = 900.0
#: who was turned away is kept for so long after his last call, and so many; who calls may call himself anything
CALLER_SECONDS = 90 * 24 * 3600.0
CALLERS = 5000


def sweep_home(archive: Archive, database: Database, inbox: Inbox, settled_seconds: float = SETTLED_SECONDS) -> None:
    """Remove what crashes left in the spool and the results; take in again what they left in the store."""
    before = _now(archive) - settled_seconds
    if given_up := purge.finish(archive, database):  # first: without its row a file would be taken in again
        logger.info("removed %d files that had been given up", given_up)
        if not remnants.empty_log(database):  # erasing a patient may have been killed there
            logger.info("the database's log is read by others, and holds for a while what was erased")
    for leftover in archive.spool.iterdir():
        if _is_older(leftover, before):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
            logger.info("removed a leftover of the spool")
    for kind in ("store", "results"):
        _sweep_files(archive, database, inbox, kind, before)
    _sweep_learning(archive.home, database, before)
    asked.sweep(archive, database, before)
    _forget_gone(database)
    _forget_callers(database)


def _forget_callers(database: Database) -> None:
    with database.write() as tx:
        forgotten = refusals.forget_callers(tx, CALLER_SECONDS, CALLERS)
    if forgotten:
        logger.info("%d callers that were turned away long ago are forgotten", forgotten)


def _now(archive: Archive) -> float:
    """The time by the clock that writes the times of files: of a shared folder, that of the machine that keeps it."""
    asked = archive.new_spool_file()
    asked.touch(mode=0o600)
    try:
        return asked.stat().st_mtime
    finally:
        asked.unlink(missing_ok=True)


def _is_older(leftover: Path, before: float) -> bool:
    """Whether nothing was written there since; false where another machine has just taken it away."""
    try:
        return max(one.stat().st_mtime for one in (leftover, *leftover.rglob("*"))) < before
    except FileNotFoundError:
        return False


def _sweep_learning(home: Path, database: Database, before: float) -> None:
    with database.read() as tx:
        wanted = labels.mask_paths(tx) | data_sets.mask_paths(tx) | shadows.mask_paths(tx)
    if removed := masks.sweep(home, wanted, before):
        logger.info("removed %d masks that nothing refers to", removed)
    if removed := cases.sweep(home, before):
        logger.info("removed %d cases that were never finished", removed)
    if removed := versions.sweep(home, before):
        logger.info("removed %d versions that were never finished", removed)


def _forget_gone(database: Database) -> None:
    with database.write() as tx:
        gone = audit_trail.forget_gone(tx)
        left = audit_trail.end_gone(tx, SILENT_SECONDS)
    if gone:
        logger.info("no audit trail is kept for machines that are gone: %s", ", ".join(gone))
    if left:
        logger.info("%d audit messages of processes that are gone go as they are", left)


def _sweep_files(archive: Archive, database: Database, inbox: Inbox, kind: str, before: float) -> None:
    for file in archive.recent(kind, DAYS):
        try:
            if file.stat().st_mtime < before:
                _sweep_file(archive, database, inbox, kind, file)
        except DatabaseUnreachable:
            raise
        except FileNotFoundError:
            continue  # whoever had stored it for nothing has taken it back meanwhile
        except Exception:  # one file must not keep the rest from being tidied
            logger.exception("%s cannot be swept", file.name)


def _sweep_file(archive: Archive, database: Database, inbox: Inbox, kind: str, file: Path) -> None:
    path = file.relative_to(archive.home).as_posix()
    with database.read() as tx:
        known = arrivals.has_path(tx, path) if kind == "store" else results.has_path(tx, path)
    if known:
        return
    if kind == "results":
        archive.discard(path)
        logger.info("removed a result that was never committed")
        return
    spooled = archive.new_spool_file()
    shutil.copyfile(file, spooled)
    syntax = read_file_meta_info(file).TransferSyntaxUID
    try:
        inbox.take(spooled, syntax, Source("", "store"))
    except Refused as refusal:
        logger.warning("a file of the store cannot be taken in: %s", refusal.code)
        return
    with database.read() as tx:
        if arrivals.has_path(tx, path):  # whoever had named it stood still for all that time, and came first
            return
    archive.discard(path)
    logger.info("took in an instance that had lost its row")
