"""Write what arrived: rows of instances, and what they change of their patients, studies and series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .arrivals import Arrival, Kind, Seen
from .database import Clock, insert
from .tables import instance, patient, series, study

ANOTHER_PATIENT = "an image came again under another patient"


def _known() -> sa.Select[Any]:
    """The ids of a patient, a study and a series; each is empty where there is none."""
    whose = sa.and_(patient.c.issuer == sa.bindparam("issuer"), patient.c.patient_id == sa.bindparam("patient"))
    which = study.c.study_uid == sa.bindparam("study")
    part = sa.and_(which, series.c.series_uid == sa.bindparam("series"))
    return sa.select(
        sa.select(patient.c.id).where(whose).scalar_subquery(),
        sa.select(study.c.id).where(which).scalar_subquery(),
        sa.select(series.c.id).join(study, study.c.id == series.c.study_id).where(part).scalar_subquery(),
    )


def _to_series() -> sa.Update:
    """An image came to a series: it is not quiet any more (`firing`)."""
    said = sa.bindparam("said", type_=sa.Integer)
    most = sa.case((said > sa.func.coalesce(series.c.announced, 0), said), else_=series.c.announced)
    which = series.c.id == sa.bindparam("which")
    return sa.update(series).where(which).values(last_image=Clock(), fired_quiet=None, announced=most)


def _to_study() -> sa.Update:
    """An image came to a study; with `because`, it is held from now on."""
    because, said = sa.bindparam("because", type_=sa.Text), sa.bindparam("said", type_=sa.Text)
    held = sa.or_(study.c.state == "held", because.is_not(None))
    return (
        sa.update(study)
        .where(study.c.id == sa.bindparam("which"))
        .values(
            last_image=Clock(),
            state=sa.case((held, "held"), else_="open"),
            held_because=sa.func.coalesce(because, study.c.held_because),
            accession=sa.case((study.c.accession == "", said), else_=study.c.accession),
        )
    )


# Statements are made once: making one takes as long as running it.
REVISIONS = (
    sa.select(instance.c.digest, instance.c.patient_id, instance.c.birth_date, instance.c.revision)
    .where(instance.c.sop_uid == sa.bindparam("sop_uid"))
    .order_by(instance.c.revision.desc())
)
KNOWN = _known()
INSERT = sa.insert(instance).values(arrived=Clock())
TO_SERIES, TO_STUDY = _to_series(), _to_study()


def record(tx: Connection, arrivals: Sequence[Arrival]) -> list[Seen]:
    """Write arrivals and everything that they change, in one transaction.

    A new image opens its study for (another) quiet period. A revision whose PatientID, issuer or birth date is another
    than before holds the study for a person (promise 7). Anything but an image changes no study's state (promise 6).

    Returns:
        What was known of each; of equal ones the first is new.
    """
    ids = _ids(tx, arrivals)
    there = _there(tx, arrivals)
    seen, fresh, changes = list[Seen](), list[dict[str, object]](), _Changes()
    for arrival in arrivals:
        mine, before = ids[_whose(arrival)], there[arrival.sop_uid]
        if any(one.digest == arrival.digest for one in before):
            seen.append(Seen.SAME)
            continue
        seen.append(Seen.REVISION if before else Seen.NEW)
        revision = before[0].revision + 1 if before else 1
        fresh.append(_values(arrival, mine, revision))
        if arrival.kind is Kind.IMAGE:
            changed = before and (before[0].patient_id, before[0].birth_date) != (mine.patient, arrival.birth_date)
            changes.note(arrival, mine, another_patient=bool(changed))
        before.insert(0, _Before(arrival.digest, mine.patient, arrival.birth_date, revision))
    if fresh:
        fresh.sort(key=lambda values: (values["sop_uid"], values["revision"]))
        tx.execute(INSERT, fresh)
    changes.write(tx)
    return seen


# Who writes several rows of a table writes them in the order of their keys: two who do so at once on PostgreSQL would
# else wait for one another.


class _Ids(NamedTuple):
    patient: int
    study: int
    series: int


class _Before(NamedTuple):
    """A row of an instance."""

    digest: str
    patient_id: int
    birth_date: str
    revision: int


def _whose(arrival: Arrival) -> tuple[str, str, str, str]:
    return arrival.issuer, arrival.patient_id.strip(), arrival.study_uid, arrival.series_uid


def _ids(tx: Connection, arrivals: Sequence[Arrival]) -> dict[tuple[str, str, str, str], _Ids]:
    """The rows that arrivals belong to; made where they are not there."""
    found: dict[tuple[str, str, str, str], _Ids] = {}
    lacking: dict[tuple[str, str, str, str], Arrival] = {}
    for one in arrivals:
        if (key := _whose(one)) in found or key in lacking:
            continue
        row = tx.execute(KNOWN, dict(zip(("issuer", "patient", "study", "series"), key, strict=True))).one()
        if None in row:
            lacking[key] = one
        else:
            found[key] = _Ids(*row)
    persons = {whose[:2]: 0 for whose in sorted(lacking)}
    for issuer, patient_id in persons:
        persons[issuer, patient_id] = _row(tx, patient, dict(issuer=issuer, patient_id=patient_id), {})
    studies: dict[str, int] = {}
    for key in sorted(lacking, key=lambda whose: whose[2]):
        new = dict(patient_id=persons[key[:2]], state="none", arrived=Clock())
        studies[key[2]] = studies.get(key[2]) or _row(tx, study, dict(study_uid=key[2]), new)
    for key in sorted(lacking, key=lambda whose: whose[2:]):
        one, of = lacking[key], studies[key[2]]
        new = dict(modality=one.modality, kind=one.kind)
        found[key] = _Ids(persons[key[:2]], of, _row(tx, series, dict(study_id=of, series_uid=key[3]), new))
    return found


def _there(tx: Connection, arrivals: Sequence[Arrival]) -> dict[str, list[_Before]]:
    """The rows of these instances, newest revision first."""
    uids = {one.sop_uid for one in arrivals}
    return {uid: [_Before(*row) for row in tx.execute(REVISIONS, dict(sop_uid=uid))] for uid in uids}


def _values(arrival: Arrival, ids: _Ids, revision: int) -> dict[str, object]:
    return dict(
        sop_uid=arrival.sop_uid,
        revision=revision,
        series_id=ids.series,
        study_id=ids.study,
        patient_id=ids.patient,
        birth_date=arrival.birth_date,
        sop_class=arrival.sop_class,
        kind=arrival.kind,
        transfer_syntax=arrival.transfer_syntax,
        digest=arrival.digest,
        path=arrival.path,
        size=arrival.size,
        calling_ae=arrival.calling_ae,
        address=arrival.address,
    )


@dataclass
class _Changes:
    """What new images change of their series and studies: once for each, however many came."""

    announced: dict[int, int] = field(default_factory=dict)
    accessions: dict[tuple[str, int], str] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)

    def note(self, arrival: Arrival, ids: _Ids, *, another_patient: bool) -> None:
        self.announced[ids.series] = max(self.announced.get(ids.series, 0), arrival.announced or 0)
        which = (arrival.study_uid, ids.study)
        self.accessions[which] = self.accessions.get(which) or arrival.accession
        if another_patient:
            self.held.add(ids.study)

    def write(self, tx: Connection) -> None:
        """Studies by their UIDs, and before their series, as `shortcut` has it."""
        if self.announced:
            whole = [
                dict(which=which, said=said, because=ANOTHER_PATIENT if which in self.held else None)
                for (_, which), said in sorted(self.accessions.items())
            ]
            tx.execute(TO_STUDY, whole)
            parts = [dict(which=which, said=said or None) for which, said in sorted(self.announced.items())]
            tx.execute(TO_SERIES, parts)


def _row(tx: Connection, table: sa.Table, key: Mapping[str, object], fresh: Mapping[str, object]) -> int:
    """The id of the row with this key; it is made if it is not there, also when two make it at once."""
    same = sa.select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    found = tx.execute(same).scalar()
    if found is None:
        tx.execute(insert(tx, table).values(**key, **fresh).on_conflict_do_nothing())
        found = tx.execute(same).scalar_one()
    return int(found)
