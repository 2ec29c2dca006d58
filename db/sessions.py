"""Who is signed in. A session is known by the hash of what the browser holds, and ends by time or by hand."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, Row
from .tables import account, session

#: a session's `seen` is written again after so long: not with every request
TOUCH_SECONDS = 30.0
#: the most that `session_hours` and `idle_minutes` may say
LONGEST_SECONDS, LONGEST_IDLE_SECONDS = 168 * 3600.0, 1440 * 60.0


def begin(tx: Connection, token_sha256: str, account_id: int, address: str) -> None:
    """Somebody signs in."""
    values = dict(token_sha256=token_sha256, account_id=account_id, address=address)
    tx.execute(sa.insert(session).values(**values, created=Clock(), seen=Clock()))


def find(tx: Connection, token_sha256: str, hours: float, idle_minutes: float) -> Row | None:
    """Account and session, where it has not ended and the account is enabled; `stale`: it should be touched."""
    query = sa.select(
        account.c.id,
        account.c.name,
        account.c.role,
        session.c.flash,
        session.c.created,
        (session.c.seen < Clock() - TOUCH_SECONDS).label("stale"),
        (sa.func.coalesce(session.c.shows_until, 0.0) > Clock()).label("shows"),
    ).join(account, account.c.id == session.c.account_id)
    alive = (
        session.c.token_sha256 == token_sha256,
        session.c.created > Clock() - hours * 3600,
        session.c.seen > Clock() - idle_minutes * 60,
        account.c.disabled.is_(sa.false()),
    )
    return tx.execute(query.where(*alive)).mappings().one_or_none()


def touch(tx: Connection, token_sha256: str) -> None:
    """Somebody does something."""
    tx.execute(sa.update(session).where(session.c.token_sha256 == token_sha256).values(seen=Clock()))


def say(tx: Connection, token_sha256: str, flash: str | None) -> None:
    """Keep a sentence for the next page, or take it away."""
    tx.execute(sa.update(session).where(session.c.token_sha256 == token_sha256).values(flash=flash))


def show_patients(tx: Connection, token_sha256: str, seconds: float) -> None:
    """Show names of patients for so long; 0: hide them."""
    mine = session.c.token_sha256 == token_sha256
    tx.execute(sa.update(session).where(mine).values(shows_until=Clock() + seconds))


def end(tx: Connection, token_sha256: str) -> None:
    """Somebody signs out."""
    tx.execute(sa.delete(session).where(session.c.token_sha256 == token_sha256))


def end_all(tx: Connection, account_id: int, but: str = "") -> int:
    """End all sessions of an account, except the one with this hash; how many there were."""
    gone = sa.delete(session).where(session.c.account_id == account_id, session.c.token_sha256 != but)
    return int(tx.execute(gone).rowcount)


def sweep(tx: Connection) -> None:
    """Forget the sessions that have ended by time, whatever the settings of the pages that began them."""
    over = sa.or_(session.c.created < Clock() - LONGEST_SECONDS, session.c.seen < Clock() - LONGEST_IDLE_SECONDS)
    tx.execute(sa.delete(session).where(over))
