"""Data sets: which labels a training or a test had, frozen, and who was ever in one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock
from .tables import data_set, data_set_member, input_set, label, patient


@dataclass(frozen=True)
class Member:
    """A label in a data set; of the person, aliases followed."""

    label_id: int
    patient_id: int
    role: str


def record(
    tx: Connection, network: str, purpose: str, sha256: str, manifest: Mapping[str, Any], members: Sequence[Member]
) -> tuple[int, bool]:
    """Write a data set, unless the same one is there.

    The caller holds `people.lock`, so that no two get one number.

    Returns:
        Its id, and whether it is new.
    """
    mine = sa.and_(data_set.c.network == network, data_set.c.purpose == purpose)
    found = tx.execute(sa.select(data_set.c.id).where(mine, data_set.c.sha256 == sha256)).scalar()
    if found is not None:
        return int(found), False
    number = tx.execute(sa.select(sa.func.coalesce(sa.func.max(data_set.c.number), 0) + 1).where(mine)).scalar_one()
    values = dict(network=network, purpose=purpose, number=number, sha256=sha256, manifest=manifest, created=Clock())
    made = int(tx.execute(sa.insert(data_set).values(**values).returning(data_set.c.id)).scalar_one())
    rows = [dict(data_set_id=made, label_id=one.label_id, patient_id=one.patient_id, role=one.role) for one in members]
    if rows:
        tx.execute(sa.insert(data_set_member), rows)
    return made, True


def find(tx: Connection, data_set_id: int) -> RowMapping | None:
    """A data set's row, or None."""
    return tx.execute(sa.select(data_set).where(data_set.c.id == data_set_id)).mappings().one_or_none()


def listing(tx: Connection, network: str | None = None, purpose: str | None = None) -> Sequence[RowMapping]:
    """Data sets, oldest first."""
    query = sa.select(data_set).order_by(data_set.c.id)
    if network is not None:
        query = query.where(data_set.c.network == network)
    if purpose is not None:
        query = query.where(data_set.c.purpose == purpose)
    return tx.execute(query).mappings().all()


def members(tx: Connection, data_set_id: int) -> Sequence[RowMapping]:
    """Label, person as it is now, role then and bucket now, of every member."""
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id).label("person")
    return (
        tx.execute(
            sa.select(data_set_member.c.label_id, data_set_member.c.role, person, patient.c.bucket)
            .join(patient, patient.c.id == data_set_member.c.patient_id)
            .where(data_set_member.c.data_set_id == data_set_id)
            .order_by(data_set_member.c.label_id)
        )
        .mappings()
        .all()
    )


def labels(tx: Connection, network: str) -> Sequence[RowMapping]:
    """All labels of a network, whatever their state, with the hash of the images and the person that they are of."""
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id).label("person")
    of_person = patient.alias("of_person")
    return (
        tx.execute(
            sa.select(label, input_set.c.members_hash, of_person.c.id.label("person"))
            .add_columns(of_person.c.bucket, of_person.c.pseudonym)
            .outerjoin(input_set, input_set.c.id == label.c.input_set_id)
            .outerjoin(patient, patient.c.id == label.c.patient_id)
            .outerjoin(of_person, of_person.c.id == person)
            .where(label.c.network == network)
            .order_by(label.c.id)
        )
        .mappings()
        .all()
    )


def mask_paths(tx: Connection) -> set[str]:
    """The masks that frozen data sets were made of; a label may have another one by now."""
    manifests = tx.execute(sa.select(data_set.c.manifest)).scalars()
    return {str(one["mask_path"]) for manifest in manifests for one in manifest["cases"]}


# ------------------------------------------------------- who was ever in one


def roles_of(tx: Connection, patient_ids: Collection[int]) -> set[str]:
    """The roles that rows of patients ever had, in data sets of any network."""
    mine = data_set_member.c.patient_id.in_(patient_ids)
    return set(tx.execute(sa.select(data_set_member.c.role).distinct().where(mine)).scalars())


def trained_on(tx: Connection) -> set[int]:
    """The persons whose labels were ever in a data set for training or validation, of any network.

    Of any: a network may begin with the weights of another one.
    """
    person = sa.func.coalesce(patient.c.alias_of, patient.c.id)
    rows = sa.select(person).distinct().join(data_set_member, data_set_member.c.patient_id == patient.c.id)
    return set(tx.execute(rows.where(data_set_member.c.role.in_(["train", "validation"]))).scalars())


def tests_with(tx: Connection, patient_ids: Collection[int]) -> tuple[str, ...]:
    """The test data sets that had any of these rows: network and number."""
    rows = (
        sa.select(data_set.c.network, data_set.c.number)
        .distinct()
        .join(data_set_member, data_set_member.c.data_set_id == data_set.c.id)
        .where(data_set_member.c.patient_id.in_(patient_ids), data_set_member.c.role == "test")
        .order_by(data_set.c.network, data_set.c.number)
    )
    return tuple(f"{row.network} {row.number}" for row in tx.execute(rows))
