"""The state of a study, derived from its rows for all studies at once: what is not done, and all others are done.

It says what `node.operations.status.state_of` says (tests/test_queue.py compares them over rows at random). Asked of
each study alone that would take long, with thousands of them. So every part looks once at all the rows of one kind that
are not done, by an index as small as they are, and says what each would make of its study; the first of `RANKS` wins.
"""

from __future__ import annotations

import sqlalchemy as sa

from . import not_done
from .job_orders import CANCELLED
from .overview import NO_RESULT
from .tables import delivery, input_set, job, result, study

STATES = (
    *("arriving", "waiting", "running", "sending", "done"),
    *("held", "failed", "refused", "withdrawn", "discarded", "cancelled"),
)
#: what a row may say of its study, the strongest first: name -> the state that it makes
RANKS = {
    "held": "held",
    "no image": "refused",
    "open": "arriving",
    "running": "running",
    "waiting": "waiting",
    "result held": "held",
    "withdrawn": "withdrawn",
    "discarded": "discarded",
    "sending": "sending",
    "dead": "failed",
    "cancelled": "cancelled",  # from here on: where there is no result, else it is done
    "refused": "refused",
    "nothing": "done",
}
NUMBER = {name: number for number, name in enumerate(RANKS)}
COMPUTING = ("choose", "segment")
STANDING = ("ready", "held")


def undone() -> sa.Subquery:
    """The studies that may be anything but done: `study_id`, and `now`, which is "done" of some of them."""
    said = sa.union_all(_of_study(), _of_jobs(), _of_results(), _of_what_was_put_away(), _of_deliveries())
    rows = said.subquery("said")
    first = sa.select(rows.c.study_id, sa.func.min(rows.c.rank).label("rank")).group_by(rows.c.study_id)
    ranked = first.subquery("ranked")
    with_a_result = sa.and_(ranked.c.rank >= NUMBER["cancelled"], _has_result(ranked.c.study_id))
    states = [(ranked.c.rank == number, RANKS[name]) for name, number in NUMBER.items()]
    return sa.select(ranked.c.study_id, sa.case((with_a_result, "done"), *states).label("now")).subquery("undone")


def _rank(*of: tuple[sa.ColumnElement[bool], str], otherwise: str = "nothing") -> sa.Label[int]:
    return sa.case(*((when, NUMBER[name]) for when, name in of), else_=NUMBER[otherwise]).label("rank")


def _of_study() -> sa.Select[tuple[int, int]]:
    rank = _rank((study.c.state == "held", "held"), (study.c.state == "none", "no image"), otherwise="open")
    return sa.select(study.c.id.label("study_id"), rank).where(study.c.state.in_(["none", "open", "held"]))


def _of_jobs() -> sa.Select[tuple[int, int]]:
    computing = job.c.kind.in_(COMPUTING)
    rank = _rank(
        (sa.and_(job.c.state == "running", computing), "running"),
        (sa.and_(job.c.state == "waiting", computing), "waiting"),
        (job.c.state == "dead", "dead"),
        (sa.and_(job.c.code == CANCELLED, job.c.reason.is_not(None)), "cancelled"),
        (job.c.state == "refused", "refused"),
    )
    return sa.select(job.c.study_id, rank).where(job.c.state != "done", job.c.study_id.is_not(None))


def _superseded() -> sa.ColumnElement[bool]:
    """A newer input set took the place of this one."""
    newer = input_set.alias("newer")
    return sa.exists().where(newer.c.supersedes == input_set.c.id)


def _of_results() -> sa.Select[tuple[int, int]]:
    held = sa.select(input_set.c.study_id, sa.literal(NUMBER["result held"]).label("rank"))
    source = result.join(input_set, input_set.c.id == result.c.input_set_id)
    return held.select_from(source).where(not_done.HELD_RESULT, ~_superseded())


def _of_what_was_put_away() -> sa.Select[tuple[int, int]]:
    """The state of a study's newest result, where a person took one away and none stands."""
    source = result.join(input_set, input_set.c.id == result.c.input_set_id)
    away = sa.select(input_set.c.study_id).select_from(source).where(not_done.APART_RESULT)
    every = (
        sa.select(sa.func.max(result.c.id).label("id"), input_set.c.study_id)
        .select_from(source)
        .where(input_set.c.study_id.in_(away), result.c.kind.not_in(NO_RESULT))
        .group_by(input_set.c.study_id)
        .having(sa.func.max(sa.case((result.c.state == "ready", 1), else_=0)) == 0)
        .subquery("every")
    )
    newest = result.alias("newest")
    rank = _rank((newest.c.state == "withdrawn", "withdrawn"), otherwise="discarded")
    put_away = sa.select(every.c.study_id, rank).select_from(every.join(newest, newest.c.id == every.c.id))
    return put_away.where(newest.c.state.in_(["withdrawn", "discarded"]))


def _of_deliveries() -> sa.Select[tuple[int, int]]:
    source = delivery.join(result, result.c.id == delivery.c.result_id)
    source = source.join(input_set, input_set.c.id == result.c.input_set_id)
    rank = _rank((delivery.c.state == "held", "result held"), (delivery.c.state == "dead", "dead"), otherwise="sending")
    waits = sa.and_(not_done.UNDONE_DELIVERY, result.c.state.in_(STANDING), ~_superseded())
    return sa.select(input_set.c.study_id, rank).select_from(source).where(waits)


def _has_result(study_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a result of the study stands."""
    source = input_set.join(result, result.c.input_set_id == input_set.c.id)
    stands = sa.and_(result.c.state.in_(STANDING), result.c.kind.not_in(NO_RESULT), ~_superseded())
    found = sa.select(sa.literal(1)).select_from(source).where(input_set.c.study_id == study_id, stands)
    # with an OFFSET, PostgreSQL asks this of each study, and does not collect the results of all studies first
    return found.limit(1).offset(0).correlate(study_id.table).exists()
