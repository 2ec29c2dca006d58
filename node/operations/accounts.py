"""Accounts of people who use the pages, as `planimeter users` and the pages change them. Every change is recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db import accounts, events, sessions
from db.accounts import Role
from db.database import Database, Row

from ..errors import Refused
from .passwords import Passwords, require_good

NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}", re.ASCII)
FEW_WORDS = f"roles are {', '.join(Role)}"


@dataclass(frozen=True)
class Account:
    """Somebody who may sign in."""

    name: str
    role: Role
    disabled: bool
    created: datetime


def listing(database: Database) -> list[Account]:
    """All accounts by name."""
    with database.read() as tx:
        rows = accounts.listing(tx)
    return [_account(row) for row in rows]


def _account(row: Row) -> Account:
    created = datetime.fromtimestamp(row["created"]).astimezone()
    return Account(row["name"], Role(row["role"]), bool(row["disabled"]), created)


def role_of(text: str) -> Role:
    """
    Raises:
        Refused: `no-such-role`.
    """
    try:
        return Role(text.strip().lower())
    except ValueError:
        raise Refused("no-such-role", f"{text!r} is no role; {FEW_WORDS}") from None


def add(database: Database, passwords: Passwords, name: str, password: str, role: Role, who: str) -> str:
    """Make an account; a sentence."""
    name = name.strip().lower()
    if not NAME.fullmatch(name):
        raise Refused("bad-name", "a name has up to 64 of a-z, 0-9, dot, hyphen, underscore and @")
    require_good(password, name)
    kept = passwords.hash(password)
    with database.write() as tx:
        events.lock(tx)
        if not accounts.add(tx, name, kept, role):
            raise Refused("name-taken", f"there is an account {name} already")
        events.append(tx, who, "account-added", name, {"role": role.value})
    return f"{name} may sign in as {role}"


def set_password(database: Database, passwords: Passwords, name: str, password: str, who: str, keep: str = "") -> str:
    """Give an account another password, which ends its sessions; a sentence.

    Args:
        keep: the session (hash of its token) that goes on, because it was there that the person did it.
    """
    require_good(password, name.strip())
    kept = passwords.hash(password)
    with _changing(database, name) as (tx, row):
        accounts.change(tx, row["id"], password=kept)
        ended = sessions.end_all(tx, row["id"], but=keep)
        events.append(tx, who, "account-password", row["name"], {"sessions_ended": ended})
    return f"{row['name']} has a new password; {ended} sessions ended"


def set_role(database: Database, name: str, role: Role, who: str) -> str:
    """Let somebody do more or less, from the next sign-in on; a sentence."""
    with _changing(database, name) as (tx, row):
        if row["role"] == role:
            return f"{row['name']} is {role} already"
        if role is not Role.ADMIN:
            _one_admin_stays(tx, row)
        accounts.change(tx, row["id"], role=role.value)
        sessions.end_all(tx, row["id"])
        events.append(tx, who, "account-role", row["name"], {"was": row["role"], "role": role.value})
    return f"{row['name']} is {role} from the next sign-in on"


def set_disabled(database: Database, name: str, who: str, *, disabled: bool) -> str:
    """Shut somebody out, at once; or let them in again. Accounts are not deleted: the record names them. A sentence."""
    with _changing(database, name) as (tx, row):
        if bool(row["disabled"]) == disabled:
            return f"{row['name']} is {'disabled' if disabled else 'enabled'} already"
        if disabled:
            _one_admin_stays(tx, row)
        accounts.change(tx, row["id"], disabled=disabled)
        sessions.end_all(tx, row["id"])
        events.append(tx, who, "account-disabled" if disabled else "account-enabled", row["name"])
    return f"{row['name']} may not sign in any more" if disabled else f"{row['name']} may sign in again"


@contextmanager
def _changing(database: Database, name: str) -> Iterator[tuple[Any, Row]]:
    with database.write() as tx:
        events.lock(tx)
        accounts.lock(tx)
        row = accounts.find(tx, name.strip())
        if row is None:
            raise Refused("no-such-account", f"there is no account {name.strip()}; `planimeter users list` lists them")
        yield tx, row


def _one_admin_stays(tx: Any, row: Row) -> None:
    if row["role"] == Role.ADMIN and not row["disabled"] and not accounts.other_admins(tx, row["id"]):
        raise Refused("last-admin", f"{row['name']} is the only administrator; make another one first")
