"""The short way of rows of images: whose patient, study and series are known, and that are here for the first time.

Nearly all that arrives is of this kind. It takes one transaction on a connection of its own, without what `recording`
has to ask before; on PostgreSQL one statement, which is one way there and back. What is not of this kind is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa

from . import link
from .arrivals import Arrival, Kind
from .database import Clock, Conflict, Database, DatabaseUnreachable
from .journal import driver
from .tables import instance, patient, series, study

UNREACHABLE = (
    *(driver.OperationalError, driver.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError),
    *link.TURNED_AWAY,
)


def _text(name: str) -> sa.BindParameter[str]:
    return sa.bindparam(name, type_=sa.Text)


SAID = sa.bindparam("announced", type_=sa.Integer)


def _insert() -> Any:
    """A row, where its patient, study and series have theirs and no instance has its SOP Instance UID."""
    given = ("sop_uid", "birth_date", "sop_class", "transfer_syntax", "digest", "path", "calling_ae", "address")
    values: dict[str, Any] = {name: _text(name) for name in given} | {
        "revision": sa.literal_column("1"),
        "kind": sa.literal_column(f"'{Kind.IMAGE}'"),
        "size": sa.bindparam("size", type_=sa.BigInteger),
        "series_id": series.c.id,
        "study_id": study.c.id,
        "patient_id": patient.c.id,
        "arrived": Clock(),
    }
    known = sa.and_(
        study.c.study_uid == _text("study_uid"),
        sa.or_(study.c.accession != "", _text("accession") == ""),  # else the study gets one
        series.c.study_id == study.c.id,
        series.c.series_uid == _text("series_uid"),
        patient.c.issuer == _text("issuer"),
        patient.c.patient_id == _text("patient_id"),
        ~sa.exists().where(instance.c.sop_uid == _text("sop_uid")).correlate(None),
    )
    found = sa.select(*values.values()).where(known)
    return sa.insert(instance).from_select(list(values), found)


def _study(which: Any) -> Any:
    """An image came to a study."""
    state = sa.case((study.c.state == "held", "held"), else_="open")
    return sa.update(study).where(study.c.id == which).values(last_image=Clock(), state=state)


def _series(which: Any) -> Any:
    """An image came to a series: it is not quiet any more (`firing`)."""
    return sa.update(series).where(series.c.id == which).values(last_image=Clock(), fired_quiet=None)


def _announced() -> Any:
    """An image of a series says how many it has."""
    its_study = sa.select(study.c.id).where(study.c.study_uid == _text("its_study")).scalar_subquery()
    here = sa.and_(series.c.study_id == its_study, series.c.series_uid == _text("its_series"))
    return sa.update(series).where(here, SAID > sa.func.coalesce(series.c.announced, 0)).values(announced=SAID)


def _trigger(dialect: sa.Dialect) -> str:
    """What a row changes of its study and series, for one connection of SQLite alone: so a row is one statement."""
    changes = (_study(sa.literal_column("NEW.study_id")), _series(sa.literal_column("NEW.series_id")))
    made = [str(one.compile(dialect=dialect, compile_kwargs={"literal_binds": True})) for one in changes]
    return f"CREATE TEMP TRIGGER image_came AFTER INSERT ON main.instance BEGIN {'; '.join(made)}; END"


def _all_at_once() -> Any:
    """The three in one statement. The study is before its series, as everywhere: nobody waits in a circle."""
    new = _insert().returning(instance.c.study_id, instance.c.series_id).cte("new")
    to_study = _study(sa.select(new.c.study_id).scalar_subquery()).returning(study.c.id).cte("to_study")
    which = sa.select(new.c.series_id).where(new.c.study_id == to_study.c.id).scalar_subquery()
    most = sa.case((SAID > sa.func.coalesce(series.c.announced, 0), SAID), else_=series.c.announced)
    return _series(which).values(announced=most)


class Shortcut:
    """A connection for one thread at a time. It is closed with its database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: Any = None  # the driver's connection
        dialect = database.engine.dialect
        made = (_insert(), _announced()) if database.is_sqlite else (_all_at_once(),)
        self._steps = [_Step.of(one, dialect) for one in made]
        sa.event.listen(database.engine, "engine_disposed", lambda _: self.close())

    def record(self, arrivals: Sequence[Arrival]) -> list[bool]:
        """Write the rows of images, and what they change of their studies and series, durably.

        Returns:
            Of each whether it was written; nothing was changed for one that was not.

        Raises:
            DatabaseUnreachable, Conflict: it is not known to be written.
        """
        self._open = self._open or self._connected()
        # the study's UID first, so that two who do so at once on PostgreSQL do not wait for one another in a circle
        order = sorted(range(len(arrivals)), key=lambda n: (arrivals[n].study_uid, arrivals[n].sop_uid))
        written = [False] * len(arrivals)
        write = self._in_steps if self._database.is_sqlite else self._by_pipeline
        try:
            for n, was in zip(order, write([_values(arrivals[n]) for n in order]), strict=True):
                written[n] = was
        except BaseException as error:
            self.close()
            if isinstance(error, UNREACHABLE):
                raise DatabaseUnreachable(f"the database does not answer: {error}") from error
            if isinstance(error, (driver.IntegrityError, psycopg.IntegrityError)):
                raise Conflict(str(error)) from error
            raise
        return written

    def close(self) -> None:
        """Close it; it is opened again when it is used again. What it has begun is undone."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connected(self) -> Any:
        pooled = self._database.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        if not self._database.is_sqlite:
            connection.autocommit = True
            # all is found by unique keys; a plan that was made when tables were small would go on reading through them
            connection.execute("SET enable_seqscan = off")
        else:
            connection.execute(_trigger(self._database.engine.dialect))
        return connection

    def _in_steps(self, rows: Sequence[dict[str, Any]]) -> list[bool]:
        execute = self._open.execute
        insert, announce = self._steps
        if len(rows) == 1 and rows[0]["announced"] is None:
            return [execute(insert.text, insert.in_order(rows[0])).rowcount == 1]
        written = []
        execute("BEGIN IMMEDIATE")
        for row in rows:
            was = execute(insert.text, insert.in_order(row)).rowcount == 1
            if was and row["announced"] is not None:
                its = {"its_study": row["study_uid"], "its_series": row["series_uid"]}
                execute(announce.text, announce.in_order(row | its))
            written.append(was)
        execute("COMMIT")
        return written

    def _by_pipeline(self, rows: Sequence[dict[str, Any]]) -> list[bool]:
        (step,) = self._steps
        if len(rows) == 1:
            return [self._open.execute(step.text, step.fixed | rows[0]).rowcount == 1]
        with self._open.pipeline():
            self._open.execute("BEGIN")
            done = [self._open.execute(step.text, step.fixed | row) for row in rows]
            self._open.execute("COMMIT")
        return [one.rowcount == 1 for one in done]


class _Step(NamedTuple):
    """A statement as the driver takes it.

    Attributes:
        names: of its parameters in order, where they have no names in it.
        fixed: parameters that are always the same.
    """

    text: str
    names: Sequence[str]
    fixed: dict[str, Any]

    @classmethod
    def of(cls, statement: Any, dialect: sa.Dialect) -> _Step:
        made = statement.compile(dialect=dialect)
        return cls(str(made), list(made.positiontup or ()), dict(made.params))

    def in_order(self, row: dict[str, Any]) -> list[Any]:
        given = self.fixed | row
        return [given[name] for name in self.names]


def _values(arrival: Arrival) -> dict[str, Any]:
    return vars(arrival) | {"patient_id": arrival.patient_id.strip()}
