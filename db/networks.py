"""Versions of networks, and which one is live."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import model_version, release


def register(
    tx: Connection,
    *,
    network: str,
    version: str,
    weights_sha256: str,
    card_sha256: str,
    device_uid: str,
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
        )
        .on_conflict_do_nothing()
    )
    return int(
        tx.execute(
            sa.select(model_version.c.id).where(
                model_version.c.network == network,
                model_version.c.weights_sha256 == weights_sha256,
                model_version.c.card_sha256 == card_sha256,
            )
        ).scalar_one()
    )


def make_live(tx: Connection, network: str, model_version_id: int, who: str, why: str) -> None:
    """Append a release; from its commit on, new jobs use that version."""
    tx.execute(
        sa.insert(release).values(network=network, model_version_id=model_version_id, at=Clock(), who=who, why=why)
    )


def live(tx: Connection, network: str) -> RowMapping | None:
    """The live version of a network, or None."""
    return (
        tx.execute(
            sa.select(model_version)
            .join(release, release.c.model_version_id == model_version.c.id)
            .where(release.c.network == network)
            .order_by(release.c.id.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )


def find(tx: Connection, model_version_id: int) -> RowMapping:
    """A version by its id."""
    return tx.execute(sa.select(model_version).where(model_version.c.id == model_version_id)).mappings().one()
