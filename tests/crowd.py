"""A department's weeks as rows: thousands of studies in every state that there is, without an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db.tables import (
    attempt,
    delivery,
    dispatch,
    input_set,
    instance,
    job,
    model_version,
    patient,
    refusal,
    result,
    series,
    study,
)

ROUTES, NETWORKS, DESTINATIONS = ("chest", "brain"), ("ct_lungs", "mr_tumour"), ("pacs", "research")
KINDS = ("SEG", "SR", "SC", "NOTICE", "KOS")
JOB_STATES = ("waiting", "running", "done", "refused", "dead", "cancelled")
RESULT_STATES = ("ready", "held", "superseded", "withdrawn", "discarded")
BATCH = 2000
DELIVERY_STATES = ("waiting", "held", "delivered", "committed", "dead", "superseded", "withdrawn", "discarded")


@dataclass
class Crowd:
    """Rows to be written at once. The ids are ours: the database is empty."""

    random: Random
    now: float
    rows: dict[sa.Table, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: sa.Table, **values: Any) -> int:
        some = self.rows.setdefault(table, [])
        some.append({"id": len(some) + 1, **values})
        return len(some)

    def write(self, tx: Connection) -> None:
        """In the order in which they refer to one another."""
        order = (patient, study, series, instance, model_version, input_set, dispatch, job, attempt, result)
        for table in (*order, delivery, refusal):
            some = self.rows.get(table, [])
            for n in range(0, len(some), BATCH):
                tx.execute(sa.insert(table), some[n : n + BATCH])
            if some and tx.dialect.name == "postgresql":
                sequence = sa.func.pg_get_serial_sequence(table.name, "id")
                tx.execute(sa.select(sa.func.setval(sequence, len(some))))

    def study(self, state: str, images: int, name: str = "") -> int:
        """A study with a series of so many images."""
        number = len(self.rows.get(study, [])) + 1
        at = self.now - 60.0 * (100_000 - number)
        person = self.add(patient, issuer="", patient_id=name or f"PAT{number:05d}")
        closed = at + 120 if state == "closed" else None
        values = dict(study_uid=f"1.2.826.0.1.{number}.7", patient_id=person, accession=f"ACC{number:06d}", state=state)
        why = "an image came again under another patient" if state == "held" else None
        rest = dict(generation=1, arrived=at, last_image=at + 60, closed=closed, held_because=why)
        study_id = self.add(study, **values, **rest)
        kind = "other" if state == "none" else "image"
        uid = f"1.2.826.0.1.{number}.8"
        series_id = self.add(series, study_id=study_id, series_uid=uid, modality="CT", kind=kind)
        for n in range(images):
            where = dict(series_id=series_id, study_id=study_id, patient_id=person, path=f"store/{number}/{n}")
            what = dict(sop_uid=f"{uid}.{n}", revision=1, birth_date="", sop_class="1.2.840.10008.5.1.4.1.1.2")
            rest = dict(kind=kind, transfer_syntax="1.2.840.10008.1.2.1", digest=f"{number}-{n}", size=524_288)
            self.add(instance, **where, **what, **rest, calling_ae="CT_1", address="10.20.30.11", arrived=at)
        return study_id

    def job(self, study_id: int, kind: str, state: str, **values: Any) -> int:
        subject = f"{kind}-{len(self.rows.get(job, []))}"
        said = state in ("refused", "dead", "waiting") and values.pop("said", True)
        code = "cancelled" if state == "cancelled" else "too-few-slices" if said else None
        reason = "cancelled by ada" if state == "cancelled" else "it has 3 slices and needs 20" if said else None
        ended = self.now if state not in ("waiting", "running") else None
        rest = dict(priority=1, run_after=self.now, max_attempts=3, created=self.now, study_id=study_id, ended=ended)
        defaults = dict(input_set_id=None, windows_done=None, windows_of=None, attempts=1)
        values = {**defaults, **values}
        made = self.add(job, kind=kind, subject=subject, state=state, code=code, reason=reason, **rest, **values)
        outcome = {"running": None, "waiting": "failed", "dead": "failed", "cancelled": "released"}.get(state, state)
        times = dict(started=self.now - 30, ended=None if outcome is None else self.now)
        seconds = {"volume": 1.25, "network": 20.5, "objects": 2.0} if kind == "segment" else {}
        who = dict(job_id=made, fencing_token=1, worker="somewhere:1:abc")
        self.add(attempt, **who, **times, outcome=outcome, code=None, sentence=None, seconds=seconds)
        return made

    def input_set(self, study_id: int, supersedes: int | None = None, deadline: float | None = None) -> int:
        network = self.random.choice(NETWORKS)
        number = len(self.rows.get(input_set, []))
        values = dict(study_id=study_id, network=network, slot="", members_hash=f"hash{number}", because="route chest")
        made = self.add(input_set, **values, created=self.now, supersedes=supersedes, deadline=deadline)
        for to in DESTINATIONS[: self.random.randint(1, 2)]:
            route = ROUTES[NETWORKS.index(network)]
            self.add(dispatch, input_set_id=made, route=route, mode="live", destination=to)
        return made

    def result(self, input_set_id: int, kind: str, state: str, deliveries: tuple[str, ...] = ()) -> int:
        version = 1 if model_version in self.rows else self._version()
        number = len(self.rows.get(result, [])) + 1
        what = dict(kind=kind, options="", sop_class="1.2.840.10008.5.1.4.1.1.66.4", series_uid="1.2.3")
        kept = dict(sop_uid=f"2.25.{number}", sha256=f"{number:064d}", path=None, size=1000, content_time=self.now)
        reason = "the volumes differ" if state == "held" else None
        where = dict(input_set_id=input_set_id, model_version_id=version)
        made = self.add(result, **where, **what, **kept, state=state, reason=reason, created=self.now)
        for to, sent in zip(DESTINATIONS, deliveries, strict=False):
            self.add(delivery, result_id=made, destination=to, state=sent, created=self.now)
        return made

    def _version(self) -> int:
        hashes = dict(weights_sha256="w" * 64, card_sha256="c" * 64, device_uid="2.25.1")
        return self.add(model_version, network=NETWORKS[0], version="1.0", created=self.now, **hashes)


def at_random(crowd: Crowd, studies: int) -> None:
    """Every combination of rows that the tables allow, also those that no node makes."""
    random = crowd.random
    for _ in range(studies):
        study_id = crowd.study(random.choice(["closed"] * 8 + ["open", "none", "held"]), random.randint(0, 3))
        for _ in range(random.randint(0, 3)):
            kind = random.choice(["choose", "segment", "segment", "deliver", "explain", "label"])
            state = random.choices(JOB_STATES, (1, 1, 6, 2, 1, 2))[0]
            crowd.job(study_id, kind, state, said=random.random() < 0.7) if state == "waiting" else crowd.job(
                study_id, kind, state
            )
        before: int | None = None
        for _ in range(random.randint(0, 2)):
            before = made = crowd.input_set(study_id, before if random.random() < 0.5 else None)
            for _ in range(random.randint(0, 2)):
                state = random.choices(RESULT_STATES, (6, 1, 2, 1, 1))[0]
                sent = tuple(random.choices(DELIVERY_STATES, (1, 1, 6, 2, 1, 1, 1, 1), k=random.randint(0, 2)))
                crowd.result(made, random.choice(KINDS), state, sent)


def as_usual(crowd: Crowd, studies: int, images: int) -> None:
    """As a node that has worked for weeks would have them: nearly all are done, some are in every other state."""
    for number in range(studies):
        left = studies - number
        share = number % 100
        if left <= 8:
            crowd.study("open", images)
            continue
        study_id = crowd.study("held" if share == 50 else "none" if share == 51 else "closed", images)
        if share in (50, 51):
            continue
        crowd.job(study_id, "choose", "refused" if share in (1, 2, 3) else "done")
        if share in (1, 2, 3):
            continue
        made = crowd.input_set(study_id)
        if left <= 12:
            crowd.job(study_id, "segment", "running", input_set_id=made, windows_done=left * 3, windows_of=54)
        elif left <= 60:
            crowd.job(study_id, "segment", "waiting", input_set_id=made, said=False)
        else:
            crowd.job(study_id, "segment", "cancelled" if share == 4 else "done", input_set_id=made)
            if share == 4:
                continue
            sent = "dead" if share == 5 else "held" if share == 6 else "waiting" if left <= 70 else "committed"
            state = "withdrawn" if share == 7 else "ready"
            for kind in ("SEG", "SR"):
                crowd.result(made, kind, state, (sent if state == "ready" else "withdrawn",))
            ended = {"dead": "dead", "waiting": "waiting", "held": "done"}.get(sent, "done")
            crowd.job(study_id, "deliver", ended, input_set_id=made)


#: a day on which everything is alike -> the state of its studies, choose and segment jobs, results, and deliveries
MIXES = {
    "arriving": ("open", "", "", "", ""),
    "waiting": ("closed", "done", "waiting", "", ""),
    "running": ("closed", "done", "running", "", ""),
    "sending": ("closed", "done", "done", "ready", "waiting"),
    "done": ("closed", "done", "done", "ready", "committed"),
    "held": ("closed", "done", "done", "held", ""),
    "failed": ("closed", "done", "dead", "", ""),
    "refused": ("closed", "refused", "", "", ""),
    "withdrawn": ("closed", "done", "done", "withdrawn", "withdrawn"),
    "cancelled": ("closed", "done", "cancelled", "", ""),
}


def all_alike(tx: Connection, crowd: Crowd, state: str) -> None:
    """Give every study that there is this state, in place of what became of it before."""
    of_study, chosen, segmented, made, sent = MIXES[state]
    for table in (delivery, result, attempt, refusal, job, dispatch, input_set):
        tx.execute(sa.delete(table))
    tx.execute(sa.update(study).values(state=of_study, held_because=None))
    ids = tx.execute(sa.select(study.c.id).order_by(study.c.id)).scalars().all()
    if tx.execute(sa.select(model_version.c.id)).first() is not None:
        crowd.rows[model_version] = []
    for study_id in ids:
        if not chosen:
            continue
        crowd.job(study_id, "choose", chosen)
        if not segmented:
            continue
        of_it = crowd.input_set(study_id, deadline=crowd.now + crowd.random.uniform(-7200, 7200))
        rest = dict(windows_done=3, windows_of=54) if segmented == "running" else {}
        crowd.job(study_id, "segment", segmented, input_set_id=of_it, said=segmented == "dead", **rest)
        for kind in ("SEG", "SR") if made else ():
            crowd.result(of_it, kind, made, (sent,) if sent else ())
        if sent:
            crowd.job(study_id, "deliver", "waiting" if sent == "waiting" else "done", input_set_id=of_it, said=False)
    crowd.write(tx)
