"""Versions of networks, what was decided about them, and which one is live. Every decision is recorded as an event."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import events
from .database import Clock, insert
from .tables import model_version, release


class VersionState(StrEnum):
    """What the gate and a person said of a version. Which one is live is no state: the newest release says it."""

    INSTALLED = "installed"
    """an administrator put it there"""
    CANDIDATE = "candidate"
    """trained; the gate has not passed it"""
    REJECTED = "rejected"
    """the gate said no"""
    ELIGIBLE = "eligible"
    """the gate passed it, or it was rolled back and waits for a new approval"""
    SHADOW = "shadow"
    """the gate passed it, and it runs beside the champion; nothing of it is sent"""
    APPROVED = "approved"
    """a person approved it"""


TRANSITIONS: dict[VersionState, frozenset[VersionState]] = {
    VersionState.INSTALLED: frozenset(),
    VersionState.CANDIDATE: frozenset({VersionState.ELIGIBLE, VersionState.REJECTED}),
    VersionState.REJECTED: frozenset(),
    VersionState.ELIGIBLE: frozenset({VersionState.SHADOW, VersionState.APPROVED}),
    VersionState.SHADOW: frozenset({VersionState.APPROVED}),
    VersionState.APPROVED: frozenset({VersionState.ELIGIBLE}),
}


class WrongState(Exception):
    """What was asked for does not follow from the state that a row has now."""


def register(
    tx: Connection,
    *,
    network: str,
    version: str,
    weights_sha256: str,
    card_sha256: str,
    device_uid: str,
    folder: str = "",
    state: str = VersionState.INSTALLED,
    parent: int | None = None,
) -> int:
    """The id of a version, which is its weights and its card; made when it is new."""
    tx.execute(
        insert(tx, model_version)
        .values(
            network=network,
            version=version,
            weights_sha256=weights_sha256,
            card_sha256=card_sha256,
            device_uid=device_uid,
            created=Clock(),
            folder=folder,
            state=str(state),
            parent=parent,
        )
        .on_conflict_do_nothing()
    )
    known = _known(tx, network, weights_sha256, card_sha256)
    assert known is not None
    return known


def _known(tx: Connection, network: str, weights_sha256: str, card_sha256: str) -> int | None:
    hashes = (model_version.c.weights_sha256 == weights_sha256, model_version.c.card_sha256 == card_sha256)
    return tx.execute(sa.select(model_version.c.id).where(model_version.c.network == network, *hashes)).scalar()


def make_live(tx: Connection, network: str, model_version_id: int, who: str, why: str, what: str = "seen") -> int:
    """Append a release and its event; from their commit on, new jobs use that version.

    Returns:
        The id of the release.
    """
    events.lock(tx)  # the order of the releases is that of their events
    before = live(tx, network)
    values = {"network": network, "model_version_id": model_version_id, "who": who, "why": why, "what": what}
    released = tx.execute(sa.insert(release).values(**values, at=Clock()).returning(release.c.id)).scalar_one()
    details = {"release": released, "why": why, **_named(find(tx, model_version_id))}
    events.append(tx, who, what, network, {**details, "instead_of": before["version"] if before else None})
    return int(released)


def change_state(
    tx: Connection, model_version_id: int, state: VersionState, who: str, why: str, **details: Any
) -> None:
    """Note what the gate or a person said of a version, and record it.

    Raises:
        WrongState: its state does not allow that.
    """
    row = find(tx, model_version_id)
    allowed = [before.value for before, after in TRANSITIONS.items() if state in after]
    mine = sa.and_(model_version.c.id == model_version_id, model_version.c.state.in_(allowed))
    if not tx.execute(sa.update(model_version).where(mine).values(state=state.value)).rowcount:
        raise WrongState(f"{row['network']} {row['version']} is {row['state']}, which {state} does not follow")
    events.append(tx, who, state.value, row["network"], {"was": row["state"], "why": why, **_named(row), **details})


def add_candidate(tx: Connection, who: str, **values: Any) -> int:
    """The id of a trained version, whose values are those of `register`; recorded when it is new."""
    events.lock(tx)
    new = _known(tx, values["network"], values["weights_sha256"], values["card_sha256"]) is None
    made = register(tx, **values, state=VersionState.CANDIDATE)
    if new:
        row = find(tx, made)
        events.append(tx, who, "candidate", row["network"], {**_named(row), "parent": row["parent"]})
    return made


def _named(row: RowMapping) -> dict[str, Any]:
    return {name: row[name] for name in ("version", "weights_sha256", "card_sha256")} | {"model_version": row["id"]}


def set_folder(tx: Connection, model_version_id: int, folder: str) -> None:
    """Note where a copy of an installed bundle lies, below the home folder."""
    tx.execute(sa.update(model_version).where(model_version.c.id == model_version_id).values(folder=folder))


def live(tx: Connection, network: str) -> RowMapping | None:
    """The live version of a network, or None."""
    return _newest(tx, release.c.network == network)


def last_seen(tx: Connection, network: str) -> RowMapping | None:
    """The version that was last found installed, whether or not it is live; or None."""
    return _newest(tx, sa.and_(release.c.network == network, release.c.what == "seen"))


def _newest(tx: Connection, which: sa.ColumnElement[bool]) -> RowMapping | None:
    joined = sa.select(model_version).join(release, release.c.model_version_id == model_version.c.id)
    return tx.execute(joined.where(which).order_by(release.c.id.desc()).limit(1)).mappings().one_or_none()


def find(tx: Connection, model_version_id: int) -> RowMapping:
    """A version by its id."""
    return tx.execute(sa.select(model_version).where(model_version.c.id == model_version_id)).mappings().one()


def named(tx: Connection, network: str, name: str) -> Sequence[RowMapping]:
    """The versions that are called so, or whose weights' or card's hash begins so (six digits and more)."""
    which = model_version.c.version == name
    if len(name) >= 6 and set(name) <= set("0123456789abcdef"):
        hashes = (model_version.c.weights_sha256, model_version.c.card_sha256)
        which = sa.or_(which, *(column.startswith(name) for column in hashes))
    return _versions(tx, sa.and_(model_version.c.network == network, which))


def versions(tx: Connection, network: str, state: VersionState | None = None) -> Sequence[RowMapping]:
    """The versions of a network (those in one state), oldest first."""
    which = model_version.c.network == network
    return _versions(tx, which if state is None else sa.and_(which, model_version.c.state == state.value))


def _versions(tx: Connection, which: sa.ColumnElement[bool]) -> Sequence[RowMapping]:
    return tx.execute(sa.select(model_version).where(which).order_by(model_version.c.id)).mappings().all()


def names(tx: Connection) -> list[str]:
    """The networks that have a version."""
    return list(tx.execute(sa.select(model_version.c.network).distinct().order_by(model_version.c.network)).scalars())


def releases(tx: Connection, network: str | None = None) -> Sequence[RowMapping]:
    """The releases (of a network), oldest first, each with the hashes of its version."""
    columns = (model_version.c.version, model_version.c.weights_sha256, model_version.c.card_sha256)
    query = sa.select(release, *columns).join(model_version, model_version.c.id == release.c.model_version_id)
    if network is not None:
        query = query.where(release.c.network == network)
    return tx.execute(query.order_by(release.c.id)).mappings().all()


def standing(history: Sequence[RowMapping]) -> list[int]:
    """The versions that were live and were not rolled back, the live one last.

    A rollback takes away all that came after the version it goes back to, so that the next one goes further back, and
    never to what was just left.

    Args:
        history: the releases of one network, oldest first.
    """
    stack: list[int] = []
    for row in history:
        version = int(row["model_version_id"])
        if row["what"] == "rollback" and version in stack:
            del stack[len(stack) - stack[::-1].index(version) :]
        elif not stack or stack[-1] != version:
            stack.append(version)
    return stack
