"""What was refused, and who was turned away at the door."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import caller, refusal


def count_caller(tx: Connection, address: str, ae_title: str, code: str, sentence: str, times: int = 1) -> None:
    """Count calls that were turned away: one row per address, AE title and code."""
    tx.execute(
        insert(tx, caller)
        .values(address=address, ae_title=ae_title, code=code, sentence=sentence, count=times, last=Clock())
        .on_conflict_do_update(
            index_elements=["address", "ae_title", "code"],
            set_=dict(count=caller.c.count + times, sentence=sentence, last=Clock()),
        )
    )


def callers(tx: Connection, latest: int | None = None, codes: Collection[str] | None = None) -> Sequence[RowMapping]:
    """Who was turned away, latest first.

    Args:
        latest: so many; None: all.
        codes: for one of these; None: for whatever.
    """
    query = sa.select(caller).order_by(caller.c.last.desc(), caller.c.id.desc()).limit(latest)
    return tx.execute(query if codes is None else query.where(caller.c.code.in_(list(codes)))).mappings().all()


def forget_callers(tx: Connection, older_seconds: float, most: int) -> int:
    """Delete who did not call for so long, and all but so many that called last; how many there were."""
    newest = sa.select(caller.c.id).order_by(caller.c.last.desc(), caller.c.id.desc()).limit(most)
    old = sa.or_(caller.c.last < Clock() - older_seconds, caller.c.id.not_in(newest))
    return tx.execute(sa.delete(caller).where(old)).rowcount


def record(tx: Connection, of: str, subject: str, code: str, sentence: str, study_id: int | None = None) -> None:
    """Keep a refusal."""
    tx.execute(
        sa.insert(refusal).values(of=of, subject=subject, study_id=study_id, code=code, sentence=sentence, at=Clock())
    )


def of_study(tx: Connection, study_id: int) -> Sequence[RowMapping]:
    """The refusals that concern a study, oldest first."""
    return tx.execute(sa.select(refusal).where(refusal.c.study_id == study_id).order_by(refusal.c.id)).mappings().all()
