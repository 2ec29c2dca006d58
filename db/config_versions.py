"""The versions of what a site may change without a restart: append-only, the newest one is live."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import events
from .database import Clock
from .tables import config_version


def live_id(tx: Connection) -> int | None:
    """Which version is live; None where there is none yet. Cheap enough to be asked before every job."""
    found = tx.execute(sa.select(sa.func.max(config_version.c.id))).scalar()
    return None if found is None else int(found)


def find(tx: Connection, version: int) -> RowMapping | None:
    """A version's row, or None."""
    return tx.execute(sa.select(config_version).where(config_version.c.id == version)).mappings().one_or_none()


def live(tx: Connection) -> RowMapping | None:
    """The live version's row, or None."""
    newest = sa.select(config_version).order_by(config_version.c.id.desc()).limit(1)
    return tx.execute(newest).mappings().one_or_none()


def listing(tx: Connection) -> Sequence[RowMapping]:
    """All versions, the newest first, without their texts."""
    columns = [column for column in config_version.c if column.name not in ("text", "read")]
    return tx.execute(sa.select(*columns).order_by(config_version.c.id.desc())).mappings().all()


def of_file(tx: Connection, file: str) -> RowMapping | None:
    """The version that was made when this file was last found to be another than before; None where it never was."""
    read = sa.select(config_version).where(config_version.c.what == "file", config_version.c.why == file)
    return tx.execute(read.order_by(config_version.c.id.desc()).limit(1)).mappings().one_or_none()


def add(
    tx: Connection, text: str, *, who: str, why: str, what: str, restores: int | None = None, read: str | None = None
) -> int:
    """Make a version, which is live when the transaction ends; its number. Decisions of people are on the record.

    Args:
        read: of a file: all that it said, where that is not the text.

    Raises:
        Conflict: another one was made at the same moment.
    """
    version = (live_id(tx) or 0) + 1
    row = dict(id=version, who=who, why=why, what=what, sha256=sha256(text), text=text, restores=restores, read=read)
    tx.execute(sa.insert(config_version).values(row | {"at": Clock()}))
    if what != "file":
        details = {"sha256": row["sha256"], "restores": restores, "reason": why}
        events.append(tx, who, f"configuration {what}", f"version {version}", details)
    return version


def sha256(text: str) -> str:
    """The hash by which texts are compared."""
    return hashlib.sha256(text.encode()).hexdigest()
