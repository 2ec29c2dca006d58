"""Accounts: who may use the pages, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row, insert
from .tables import account

#: of PostgreSQL's advisory locks; no other module uses this number
LOCK = 7565


class Role(StrEnum):
    """What somebody may do. Each may do what the one before may."""

    VIEWER = "viewer"
    """look"""
    OPERATOR = "operator"
    """run the work: retry, send, release, cancel, pause"""
    APPROVER = "approver"
    """say which networks go live"""
    ADMIN = "admin"
    """accounts and settings"""

    def may(self, needed: Role) -> bool:
        """Whether this role includes another one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


def lock(tx: Connection) -> None:
    """Let nobody else change accounts until this transaction ends: who is the last administrator is decided alone.

    On SQLite a transaction that writes is alone anyway.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))


def any_account(tx: Connection) -> bool:
    """Whether there is one, enabled or not."""
    return tx.execute(sa.select(account.c.id).limit(1)).first() is not None


def find(tx: Connection, name: str) -> Row | None:
    """The account of that name, whatever its case; or None."""
    return tx.execute(sa.select(account).where(account.c.name == name.lower())).mappings().one_or_none()


def listing(tx: Connection) -> Sequence[Row]:
    """All of them by name."""
    return tx.execute(sa.select(account).order_by(account.c.name)).mappings().all()


def add(tx: Connection, name: str, password: str, role: Role) -> bool:
    """Make an account; whether the name was free.

    Args:
        password: its hash.
    """
    values = dict(name=name.lower(), password=password, role=role.value, disabled=False, created=Clock())
    made = insert(tx, account).values(**values).on_conflict_do_nothing().returning(account.c.id)
    return tx.execute(made).scalar() is not None


def change(tx: Connection, account_id: int, **values: object) -> None:
    """Another password (its hash), role, or `disabled`."""
    tx.execute(sa.update(account).where(account.c.id == account_id).values(**values))


def other_admins(tx: Connection, account_id: int) -> int:
    """How many enabled administrators there are beside this one."""
    query = sa.select(sa.func.count()).select_from(account)
    enabled = (account.c.role == Role.ADMIN.value, account.c.disabled.is_(sa.false()), account.c.id != account_id)
    return int(tx.execute(query.where(*enabled)).scalar_one())
