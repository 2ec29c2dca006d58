"""Signing in and out: who is it, how often may they try, and the very first administrator.

What a browser holds is 32 random bytes, made anew at each sign-in (so none that was planted is ever a session); the
database knows its hash. Waits after failures are the database's, so several web processes keep the same ones:

- An account that was signed in at an address before waits only for its own failures there: somebody elsewhere who
  guesses cannot lock it out.
- Any other attempt waits for the failures of the account (from anywhere) and of the address (with any account).
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import accounts, events, sessions, sign_in_delays
from db.accounts import Role
from db.database import Database, Row

from ..addresses import home_of
from ..errors import Refused
from .accounts import NAME
from .passwords import Passwords, require_good

logger = logging.getLogger(__name__)

FIRST_FILE = "first-sign-in"
SHOW_SECONDS = 900.0
NOBODY = "unknown account"
#: failures that cost no wait, and the longest wait in seconds
PAIR, ACCOUNT, ADDRESS = (4, 60.0), (4, 900.0), (20, 900.0)


@dataclass(frozen=True)
class User:
    """Somebody who is signed in."""

    name: str
    role: Role


@dataclass(frozen=True)
class Found:
    """A session that has not ended.

    Attributes:
        flash: a sentence for the next page.
        stale: it is time to note that somebody is there.
        shows: names of patients are shown.
    """

    user: User
    flash: str | None
    stale: bool
    shows: bool


def hashed(token: str) -> str:
    """What the database knows of it."""
    return hashlib.sha256(token.encode()).hexdigest()


def confirm(database: Database, passwords: Passwords, name: str, password: str, address: str) -> Row:
    """The account of that name and password.

    Raises:
        Refused: `sign-in-wrong`, whatever was wrong; `sign-in-wait`.
    """
    name = name.strip().lower()[:200]
    home = home_of(address)
    account, place, pair = f"account:{hashed(name)}", f"address:{home}", f"pair:{hashed(name)}@{home}"
    with database.write() as tx:
        known = sign_in_delays.known(tx, pair)
        booked = {pair: PAIR} if known else {account: ACCOUNT, place: ADDRESS}
        wait = sign_in_delays.book(tx, booked)
    if wait:
        raise Refused("sign-in-wait", _waiting(wait))
    with database.read() as tx:
        row = accounts.find(tx, name)
    right = passwords.right(row["password"] if row is not None else None, password)
    if row is None or not right or row["disabled"]:
        with database.write() as tx:
            events.append(tx, row["name"] if row is not None else NOBODY, "sign-in-failed", "pages", {"from": address})
        raise Refused("sign-in-wrong", "name or password is wrong")
    with database.write() as tx:
        sign_in_delays.forgive(tx, pair, list(booked), place)
    return row


def sign_in(database: Database, passwords: Passwords, name: str, password: str, address: str) -> str:
    """Sign somebody in; the token for their browser.

    Raises:
        Refused: `sign-in-wrong`, whatever was wrong; `sign-in-wait`.
    """
    row = confirm(database, passwords, name, password, address)
    again = passwords.hash(password) if passwords.outdated(row["password"]) else None
    with database.write() as tx:
        events.lock(tx)
        now = accounts.find(tx, row["name"])
        if now is None or now["disabled"] or now["password"] != row["password"]:
            raise Refused("sign-in-wrong", "name or password is wrong")  # it was changed meanwhile
        if again is not None:
            accounts.change(tx, row["id"], password=again)
        return _begin(tx, row["id"], row["name"], address)


def _waiting(seconds: float) -> str:
    return f"too many attempts went wrong: wait {int(seconds) + 1} s before the next one"


def _begin(tx: Any, account_id: int, name: str, address: str) -> str:
    token = secrets.token_urlsafe(32)
    sessions.sweep(tx)
    sign_in_delays.sweep(tx)
    sessions.begin(tx, hashed(token), account_id, address)
    events.append(tx, name, "sign-in", "pages", {"from": address})
    return token


def sign_out(database: Database, token: str, name: str) -> None:
    """End a session."""
    with database.write() as tx:
        events.lock(tx)
        sessions.end(tx, hashed(token))
        events.append(tx, name, "sign-out", "pages")


def session(database: Database, token: str, hours: float, idle_minutes: float) -> Found | None:
    """Who that is; None: nobody who is signed in."""
    with database.read() as tx:
        row = sessions.find(tx, hashed(token), hours, idle_minutes)
    return (
        Found(User(row["name"], Role(row["role"])), row["flash"], bool(row["stale"]), bool(row["shows"]))
        if row
        else None
    )


def show_patients(database: Database, token: str, who: str, *, show: bool) -> str:
    """Show names of patients on the pages of this session for a while, which is recorded; or hide them. A sentence."""
    with database.write() as tx:
        events.lock(tx)
        sessions.show_patients(tx, hashed(token), SHOW_SECONDS if show else 0)
        if show:
            events.append(tx, who, "patients-shown", "pages", {"minutes": SHOW_SECONDS / 60})
    return f"patients are shown for {SHOW_SECONDS / 60:.0f} minutes" if show else "patients are hidden"


# ------------------------------------------------ the first administrator


def first_token(database: Database, home: Path) -> str | None:
    """The one-time token by which the first administrator is made, from a file of its owner; None: there are accounts.

    Raises:
        OSError: it cannot be written.
    """
    file = home / FIRST_FILE
    with database.read() as tx:
        if accounts.any_account(tx):
            file.unlink(missing_ok=True)
            return None
    if not file.exists():
        beside = home / f"{FIRST_FILE}.{secrets.token_hex(8)}"
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(24) + "\n")
        with suppress(FileExistsError):  # of two processes that start at once, one is first
            os.link(beside, file)
        beside.unlink()
    return file.read_text(encoding="ascii").strip()


def first_admin(
    database: Database, passwords: Passwords, home: Path, token: str, name: str, password: str, address: str
) -> str:
    """Make the first administrator and sign them in; the token for their browser.

    Raises:
        Refused: `sign-in-wait`, `first-token-wrong`, `first-done`, `bad-name`, `weak-password`.
    """
    with database.write() as tx:
        wait = sign_in_delays.book(tx, {f"address:{home_of(address)}": ADDRESS})
    if wait:
        raise Refused("sign-in-wait", _waiting(wait))
    wanted = first_token(database, home)
    if wanted is None:
        raise Refused("first-done", "there is an account already: sign in with it")
    if not secrets.compare_digest(wanted.encode(), token.strip().encode()):
        with database.write() as tx:
            events.append(tx, NOBODY, "sign-in-failed", "pages", {"from": address, "with": "first token"})
        raise Refused("first-token-wrong", f"that is not the one-time token in {FIRST_FILE} in the node's home folder")
    name = name.strip().lower()
    if not NAME.fullmatch(name):
        raise Refused("bad-name", "a name has up to 64 of a-z, 0-9, dot, hyphen, underscore and @")
    require_good(password, name)
    kept = passwords.hash(password)
    with database.write() as tx:
        events.lock(tx)
        if accounts.any_account(tx):
            raise Refused("first-done", "there is an account already: sign in with it")
        accounts.add(tx, name, kept, Role.ADMIN)
        row = accounts.find(tx, name)
        assert row is not None
        events.append(tx, name, "account-added", name, {"role": Role.ADMIN.value, "with": "first token"})
        begun = _begin(tx, row["id"], name, address)
    (home / FIRST_FILE).unlink(missing_ok=True)
    logger.info("the first administrator was made, and the one-time token is used up")
    return begun
