"""Input sets: the instances that one network reads, chosen from one study, and where the results will go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from . import jobs
from .database import Clock, insert
from .job_states import JobKind
from .tables import dispatch, input_member, input_set, instance, study

#: the slot of input sets that no network could read
UNREAD = "(not processed)"


@dataclass(frozen=True)
class Member:
    """One image of an input set; of a multi-frame image, some of its frames."""

    channel: str
    sop_uid: str
    frames: str = ""


@dataclass(frozen=True)
class Dispatch:
    """A route's word on where the results go; a route without destinations has one with an empty name.

    Attributes:
        objects: the kinds that go there, "SEG SR"; empty: those that the destination wants.
    """

    route: str
    mode: str
    destination: str
    objects: str = ""


@dataclass(frozen=True)
class Reads:
    """A channel that is another network's result: of the choice of this network and slot."""

    channel: str
    network: str
    slot: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An input set as the choose job decides it."""

    network: str
    slot: str
    members: tuple[Member, ...]
    members_hash: str
    because: str
    dispatches: tuple[Dispatch, ...]
    priority: int
    reads: tuple[Reads, ...] = ()
    deadline_seconds: float | None = None
    """from the last image until its results are delivered; None: no route says"""


def record(tx: Connection, study_id: int, choice: Choice) -> tuple[int, bool]:
    """Write a choice.

    Returns:
        The id, and whether it is to be worked on: equal images are the input set that was there, unless another one has
        taken its place since; then it takes that one's.
    """
    _into_slot(tx, study_id, choice)
    slot = sa.and_(
        input_set.c.study_id == study_id, input_set.c.network == choice.network, input_set.c.slot == choice.slot
    )
    found = tx.execute(sa.select(input_set.c.id).where(slot, input_set.c.members_hash == choice.members_hash)).scalar()
    before = tx.execute(sa.select(input_set.c.id).where(slot, _is_newest())).scalar()
    new = found is None or found != before
    if found is not None and new:
        _take_the_place_of(tx, found, before)
    if found is None:
        found = tx.execute(
            sa.insert(input_set)
            .values(
                study_id=study_id,
                network=choice.network,
                slot=choice.slot,
                members_hash=choice.members_hash,
                because=choice.because,
                created=Clock(),
                supersedes=before,
            )
            .returning(input_set.c.id)
        ).scalar_one()
        tx.execute(
            sa.insert(input_member),
            [
                dict(
                    input_set_id=found,
                    position=n,
                    channel=member.channel,
                    sop_uid=member.sop_uid,
                    frames=member.frames,
                )
                for n, member in enumerate(choice.members)
            ],
        )
    _note_dispatches(tx, found, choice.dispatches)
    return int(found), new


def _into_slot(tx: Connection, study_id: int, choice: Choice) -> None:
    """Equal images are one input set: read for a route now and for another network before, or the other way round."""
    same = sa.and_(
        input_set.c.study_id == study_id,
        input_set.c.network == choice.network,
        input_set.c.members_hash == choice.members_hash,
        input_set.c.slot != UNREAD,
    )
    found = tx.execute(sa.select(input_set.c.id, input_set.c.slot).where(same)).all()
    if choice.slot != UNREAD and found and choice.slot not in {row.slot for row in found}:
        tx.execute(sa.update(input_set).where(input_set.c.id == found[0].id).values(slot=choice.slot))


def _is_newest() -> sa.ColumnElement[bool]:
    newer = input_set.alias("newer")
    return ~sa.exists().where(newer.c.supersedes == input_set.c.id)


def _take_the_place_of(tx: Connection, input_set_id: int, newest: int | None) -> None:
    """Move an input set to the front of its line: the one behind it closes up."""
    behind = sa.select(input_set.c.supersedes).where(input_set.c.id == input_set_id).scalar_subquery()
    tx.execute(sa.update(input_set).where(input_set.c.supersedes == input_set_id).values(supersedes=behind))
    tx.execute(sa.update(input_set).where(input_set.c.id == input_set_id).values(supersedes=newest))


def _note_dispatches(tx: Connection, input_set_id: int, dispatches: Iterable[Dispatch]) -> None:
    """What the routes say now, and nothing of what they said before."""
    dispatches = list(dispatches)
    said = sa.tuple_(dispatch.c.route, dispatch.c.destination).in_([(one.route, one.destination) for one in dispatches])
    tx.execute(sa.delete(dispatch).where(dispatch.c.input_set_id == input_set_id, ~said))
    for one in dispatches:
        tx.execute(
            insert(tx, dispatch)
            .values(input_set_id=input_set_id, route=one.route, destination=one.destination, **_said_of(one))
            .on_conflict_do_update(index_elements=["input_set_id", "route", "destination"], set_=_said_of(one))
        )


def _said_of(one: Dispatch) -> dict[str, str | None]:
    """What may be said anew of one route and destination."""
    return {"mode": one.mode, "objects": one.objects or None}


def ask(tx: Connection, input_set_id: int, study_id: int, max_attempts: int, priority: int) -> None:
    """Ask for an input set to be segmented."""
    jobs.enqueue(
        tx,
        JobKind.SEGMENT,
        str(input_set_id),
        max_attempts=max_attempts,
        priority=priority,
        study_id=study_id,
        input_set_id=input_set_id,
    )


def forget_dispatches(tx: Connection, study_id: int, but: Iterable[int]) -> None:
    """No route sends the results of a study's other input sets anywhere any more."""
    others = sa.select(input_set.c.id).where(input_set.c.study_id == study_id, input_set.c.id.not_in(list(but)))
    tx.execute(sa.delete(dispatch).where(dispatch.c.input_set_id.in_(others)))


def find(tx: Connection, input_set_id: int) -> RowMapping:
    """The input set with its study's UID."""
    return (
        tx.execute(
            sa.select(input_set, study.c.study_uid)
            .join(study, study.c.id == input_set.c.study_id)
            .where(input_set.c.id == input_set_id)
        )
        .mappings()
        .one()
    )


def members(tx: Connection, input_set_id: int) -> Sequence[RowMapping]:
    """The newest revision of every member, in the order of the input set."""
    newest = (
        sa.select(instance.c.sop_uid, sa.func.max(instance.c.revision).label("revision"))
        .join(input_member, input_member.c.sop_uid == instance.c.sop_uid)
        .where(input_member.c.input_set_id == input_set_id)
        .group_by(instance.c.sop_uid)
        .subquery()
    )
    return (
        tx.execute(
            sa.select(input_member.c.channel, input_member.c.frames, instance)
            .join(newest, newest.c.sop_uid == input_member.c.sop_uid)
            .join(
                instance,
                sa.and_(instance.c.sop_uid == newest.c.sop_uid, instance.c.revision == newest.c.revision),
            )
            .where(input_member.c.input_set_id == input_set_id)
            .order_by(input_member.c.position)
        )
        .mappings()
        .all()
    )


def superseded(tx: Connection, input_set_id: int) -> bool:
    """Whether a newer input set has taken this one's place."""
    newer = sa.select(input_set.c.id).where(input_set.c.supersedes == input_set_id)
    return tx.execute(newer).first() is not None


def line(input_set_id: int) -> sa.Select[tuple[int]]:
    """The ids of an input set and of all whose place it took, as a query."""
    first = sa.select(input_set.c.id, input_set.c.supersedes).where(input_set.c.id == input_set_id)
    chain = first.cte("chain", recursive=True)
    chain = chain.union_all(
        sa.select(input_set.c.id, input_set.c.supersedes).join(chain, input_set.c.id == chain.c.supersedes)
    )
    return sa.select(chain.c.id)


def live_destinations(tx: Connection, input_set_id: int) -> list[str]:
    """Where the results are to be sent: the destinations of its live routes, each once."""
    rows = tx.execute(
        sa.select(dispatch.c.destination)
        .where(dispatch.c.input_set_id == input_set_id, dispatch.c.mode == "live", dispatch.c.destination != "")
        .distinct()
        .order_by(dispatch.c.destination)
    )
    return [row.destination for row in rows]


def went_to(tx: Connection, study_id: int, choice: Choice) -> set[str] | None:
    """Where the results of equal images were to be sent when they were chosen last; None where they never were."""
    same = sa.and_(
        input_set.c.study_id == study_id,
        input_set.c.network == choice.network,
        input_set.c.members_hash == choice.members_hash,
    )
    found = tx.execute(sa.select(input_set.c.id).where(same, input_set.c.slot != UNREAD)).scalars().all()
    return {name for one in found for name in live_destinations(tx, one)} if found else None


def live_objects(tx: Connection, input_set_id: int) -> dict[str, tuple[set[str], bool]]:
    """Destination -> the kinds of object that live routes say to send there, and whether one leaves it to itself."""
    live = sa.and_(dispatch.c.input_set_id == input_set_id, dispatch.c.mode == "live", dispatch.c.destination != "")
    found: dict[str, tuple[set[str], bool]] = {}
    for row in tx.execute(sa.select(dispatch.c.destination, dispatch.c.objects).where(live)):
        kinds, its_own = found.get(row.destination, (set(), False))
        found[row.destination] = kinds | set((row.objects or "").split()), its_own or row.objects is None
    return found


def of_study(tx: Connection, study_id: int, *, unread: bool = False) -> Sequence[RowMapping]:
    """The newest input set of every network and slot; or those that stand for what no network could read."""
    slot = input_set.c.slot == UNREAD if unread else input_set.c.slot != UNREAD
    newest = sa.select(input_set).where(input_set.c.study_id == study_id, slot, _is_newest())
    return tx.execute(newest.order_by(input_set.c.id)).mappings().all()
