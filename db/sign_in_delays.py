"""How long a sign-in has to wait after failures, so that passwords cannot be guessed and nobody can lock others out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import Clock, clock, insert
from .tables import sign_in_delay

#: failures are forgotten after so long without another
FORGET_SECONDS = 86_400.0
#: a pair of account and address is known for so long after a sign-in
KNOWN_SECONDS = 90 * 86_400.0


def known(tx: Connection, pair: str) -> bool:
    """Whether that account was signed in at that address not long ago."""
    recent = (sign_in_delay.c.subject == pair, sign_in_delay.c.succeeded > Clock() - KNOWN_SECONDS)
    return tx.execute(sa.select(sign_in_delay.c.subject).where(*recent)).first() is not None


def book(tx: Connection, subjects: Mapping[str, tuple[int, float]]) -> float:
    """Ask for an attempt. One that may be made counts as a failure at once, so that many at the same time gain nothing.

    Args:
        subjects: who is asked about -> how many failures are free, and the longest wait in seconds.

    Returns:
        The seconds to wait; 0: it may be made, and was counted.
    """
    now = clock(tx)
    for subject in sorted(subjects):
        fresh = dict(subject=subject, failures=0, last=now, not_before=now)
        tx.execute(insert(tx, sign_in_delay).values(**fresh).on_conflict_do_nothing())
    mine = sign_in_delay.c.subject.in_(list(subjects))
    query = sa.select(sign_in_delay).where(mine).order_by(sign_in_delay.c.subject).with_for_update()
    rows = tx.execute(query).mappings().all()
    now = clock(tx)  # whoever had the rows before may have taken a while
    wait = max(row["not_before"] for row in rows) - now
    if wait > 0:
        return float(wait)
    for row in rows:
        free, longest = subjects[row["subject"]]
        failures = 1 + (row["failures"] if row["last"] > now - FORGET_SECONDS else 0)
        delay = min(longest, 2.0 ** min(failures - free, 20)) if failures > free else 0.0
        values = dict(failures=failures, last=now, not_before=now + delay)
        tx.execute(sa.update(sign_in_delay).where(sign_in_delay.c.subject == row["subject"]).values(**values))
    return 0.0


def forgive(tx: Connection, pair: str, subjects: Collection[str], address: str) -> None:
    """The attempt was right: what was counted of it is taken back, and the pair is known from now on.

    Args:
        subjects: that were booked.
        address: of these, the one that others share: what they did wrong stays counted.
    """
    own = [subject for subject in subjects if subject != address]
    for some, failures in ((own, 0), ([address], sign_in_delay.c.failures - 1)):
        mine = sa.and_(sign_in_delay.c.subject.in_(some), sign_in_delay.c.failures > 0)
        tx.execute(sa.update(sign_in_delay).where(mine).values(failures=failures, not_before=Clock()))
    values = dict(failures=0, last=Clock(), not_before=Clock(), succeeded=Clock())
    again = insert(tx, sign_in_delay).values(subject=pair, **values)
    tx.execute(again.on_conflict_do_update(index_elements=["subject"], set_=values))


def sweep(tx: Connection) -> None:
    """Forget what is old."""
    old = sa.and_(
        sign_in_delay.c.last < Clock() - FORGET_SECONDS,
        sa.or_(sign_in_delay.c.succeeded.is_(None), sign_in_delay.c.succeeded < Clock() - KNOWN_SECONDS),
    )
    tx.execute(sa.delete(sign_in_delay).where(old))
