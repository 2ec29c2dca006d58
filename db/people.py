"""Who is who: which rows of patients are one person, what their traits are, and which pairs are suspected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .tables import label, patient, patient_trait, study, suspicion

#: PostgreSQL's advisory lock of all that is written here
LOCK = 7563
#: rows that are inserted with one statement
AT_ONCE = 500

first, second = patient.alias("first"), patient.alias("second")


def lock(tx: Connection) -> None:
    """Who is who is decided by one transaction at a time: two that could not see each other would miss what both share.

    A transaction that writes has SQLite for itself anyway.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def _person(row: sa.FromClause = patient) -> sa.ColumnElement[int]:
    """The row that stands for the person; aliases point at it directly."""
    return sa.func.coalesce(row.c.alias_of, row.c.id)


def find(tx: Connection, patient_id: int) -> RowMapping | None:
    """The row that stands for the person that a row belongs to, or None."""
    stands = sa.select(_person(first)).where(first.c.id == patient_id).scalar_subquery()
    return tx.execute(sa.select(patient).where(patient.c.id == stands)).mappings().one_or_none()


def row(tx: Connection, patient_id: int) -> RowMapping:
    """The row itself, as it came."""
    return tx.execute(sa.select(patient).where(patient.c.id == patient_id)).mappings().one()


def rows_of(tx: Connection, persons: Collection[int]) -> list[int]:
    """The rows of persons: they themselves and their aliases."""
    return list(tx.execute(sa.select(patient.c.id).where(_person().in_(persons)).order_by(patient.c.id)).scalars())


def assign(tx: Connection, person: int, bucket: str | None, pseudonym: str | None) -> None:
    """Give a person, aliases included, a bucket and a pseudonym."""
    tx.execute(sa.update(patient).where(_person() == person).values(bucket=bucket, pseudonym=pseudonym))


def unite(tx: Connection, persons: Collection[int], person: int) -> None:
    """Let one person stand for all rows of several."""
    rows = rows_of(tx, persons)
    tx.execute(sa.update(patient).where(patient.c.id.in_(rows)).values(alias_of=person))
    tx.execute(sa.update(patient).where(patient.c.id == person).values(alias_of=None))


# ------------------------------------------------------------------ traits


def note_traits(tx: Connection, traits: Iterable[tuple[int, str, str]]) -> None:
    """Add traits (row, kind, hash); those that are there stay."""
    new = [dict(patient_id=patient_id, kind=kind, value=value) for patient_id, kind, value in sorted(traits)]
    for n in range(0, len(new), AT_ONCE):
        tx.execute(insert(tx, patient_trait).values(new[n : n + AT_ONCE]).on_conflict_do_nothing())


def sharing(tx: Connection, patient_id: int) -> dict[int, set[str]]:
    """The rows of other persons that share a trait with this row -> the kinds of trait."""
    mine, theirs = patient_trait.alias("mine"), patient_trait.alias("theirs")
    same = sa.and_(mine.c.kind == theirs.c.kind, mine.c.value == theirs.c.value)
    person = sa.select(_person()).where(patient.c.id == patient_id).scalar_subquery()
    found = tx.execute(
        sa.select(theirs.c.patient_id, theirs.c.kind)
        .distinct()
        .select_from(mine.join(theirs, same).join(second, second.c.id == theirs.c.patient_id))
        .where(mine.c.patient_id == patient_id, _person(second) != person)
    )
    shared: defaultdict[int, set[str]] = defaultdict(set)
    for other, kind in found:
        shared[other].add(kind)
    return dict(shared)


def pairs_by(tx: Connection, key_name: str) -> dict[tuple[int, int], set[str]]:
    """The pairs of rows of two persons that share a PatientID or a study by this key -> the kinds of trait."""
    mine, theirs = patient_trait.alias("mine"), patient_trait.alias("theirs")
    same = sa.and_(mine.c.kind == theirs.c.kind, mine.c.value == theirs.c.value)
    same = sa.and_(same, mine.c.patient_id < theirs.c.patient_id)
    found = tx.execute(
        sa.select(mine.c.patient_id, theirs.c.patient_id, mine.c.kind)
        .distinct()
        .select_from(mine.join(theirs, same))
        .join(first, first.c.id == mine.c.patient_id)
        .join(second, second.c.id == theirs.c.patient_id)
        .where(mine.c.kind.in_(["patient_id", "study"]), mine.c.value.startswith(f"{key_name}:"))
        .where(_person(first) != _person(second))
    )
    pairs: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    for one, other, kind in found:
        pairs[one, other].add(kind)
    return dict(pairs)


def of_other_keys(tx: Connection, key_name: str) -> Sequence[RowMapping]:
    """The rows that have a pseudonym, but no PatientID hashed with this key."""
    hashed = sa.exists().where(
        patient_trait.c.patient_id == patient.c.id,
        patient_trait.c.kind == "patient_id",
        patient_trait.c.value.startswith(f"{key_name}:"),
    )
    return (
        tx.execute(sa.select(patient).where(patient.c.pseudonym.is_not(None), ~hashed).order_by(patient.c.id))
        .mappings()
        .all()
    )


def compared_in_part(tx: Connection, key_name: str) -> int:
    """How many rows have a name, frame of reference or pixels that were hashed with another key, and none with this."""
    of_header = patient_trait.c.kind.in_(["name", "frame_of_reference", "pixels"])
    by_this = patient_trait.c.value.startswith(f"{key_name}:")
    others = sa.select(patient_trait.c.patient_id).where(of_header, ~by_this)
    mine = sa.select(patient_trait.c.patient_id).where(of_header, by_this)
    lacking = sa.select(sa.func.count()).select_from(patient)
    return int(tx.execute(lacking.where(patient.c.id.in_(others), patient.c.id.not_in(mine))).scalar_one())


def study_uids(tx: Connection) -> dict[int, set[str]]:
    """Row -> its studies, of all rows that have a pseudonym."""
    studies = sa.select(patient.c.id, study.c.study_uid).join(study, study.c.patient_id == patient.c.id)
    found: defaultdict[int, set[str]] = defaultdict(set)
    for patient_id, uid in tx.execute(studies.where(patient.c.pseudonym.is_not(None))):
        found[patient_id].add(uid)
    return dict(found)


# -------------------------------------------------------------- suspicions


def suspect(tx: Connection, one: int, other: int, kinds: Collection[str]) -> None:
    """Note that two rows may be one person. What a person decided is asked anew where another kind of trait is shared.

    Args:
        kinds: of the traits that they share.
    """
    pair = dict(first_id=min(one, other), second_id=max(one, other))
    same = sa.and_(*(suspicion.c[name] == row_id for name, row_id in pair.items()))
    before = tx.execute(sa.select(suspicion.c.because, suspicion.c.state).where(same)).one_or_none()
    if before is None:
        values = dict(because=_joined(kinds), state="open", noted=Clock())
        tx.execute(sa.insert(suspicion).values(**pair, **values))
        return
    known = set(before.because.split(", "))
    if not set(kinds) <= known:
        again = dict(because=_joined({*known, *kinds}), state="open", noted=Clock(), decided=None, who=None)
        tx.execute(sa.update(suspicion).where(same).values(**again))


def _joined(kinds: Collection[str]) -> str:
    return ", ".join(sorted(kinds))


def suspicions(tx: Connection, *, state: str = "open") -> Sequence[RowMapping]:
    """The pairs of rows in this state that are not one person already, with both persons and their buckets."""
    return (
        tx.execute(
            sa.select(
                suspicion,
                _person(first).label("first_person"),
                _person(second).label("second_person"),
                first.c.bucket.label("first_bucket"),
                second.c.bucket.label("second_bucket"),
            )
            .join(first, first.c.id == suspicion.c.first_id)
            .join(second, second.c.id == suspicion.c.second_id)
            .where(suspicion.c.state == state, _person(first) != _person(second))
            .order_by(suspicion.c.id)
        )
        .mappings()
        .all()
    )


def decide(tx: Connection, rows: Collection[int], others: Collection[int], state: str, who: str) -> list[str]:
    """Write down what a person decided of all pairs between two groups of rows.

    Returns:
        Why each pair that was not decided so before had been suspected.
    """
    pairs = sa.or_(
        sa.and_(suspicion.c.first_id.in_(rows), suspicion.c.second_id.in_(others)),
        sa.and_(suspicion.c.first_id.in_(others), suspicion.c.second_id.in_(rows)),
    )
    decided = sa.update(suspicion).where(pairs, suspicion.c.state != state)
    return list(
        tx.execute(decided.values(state=state, decided=Clock(), who=who).returning(suspicion.c.because)).scalars()
    )


# ----------------------------------------------------------------- listing


def listing(tx: Connection) -> Sequence[RowMapping]:
    """All rows that have a bucket, persons before their aliases, with the number of labels that can teach."""
    ready = (
        sa.select(sa.func.count())
        .where(label.c.patient_id == patient.c.id, label.c.state == "ready")
        .scalar_subquery()
        .label("labels")
    )
    rows = sa.select(patient, ready).where(patient.c.bucket.is_not(None))
    return tx.execute(rows.order_by(_person(), patient.c.id)).mappings().all()
