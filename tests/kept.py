"""A home folder and a database with studies that are done: images taken in, results and deliveries as rows."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset

from db.database import Clock, Database
from db.tables import delivery, input_member, input_set, instance, job, label, model_version, result, study
from node.inbound.files import take_file
from node.inbound.inbox import Inbox
from node.study.archive import Archive
from tests.synthetic import as_files, small_series

DAY = 86_400.0
SMALL = (6, 5, 3)


@dataclass
class House:
    """What a node keeps, without the node."""

    database: Database
    home: Path
    numbers: Any = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        mask = os.umask(0o077)
        self.archive = Archive(self.home)
        self.archive.prepare()
        os.umask(mask)
        self.inbox = Inbox(self.archive, self.database)

    def take_in(self, images: Sequence[Dataset]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            return [str(take_file(self.inbox, file)) for file in as_files(list(images), Path(folder))]

    def study(self, images: Sequence[Dataset] | None = None, *, days: float = 0, **identity: Any) -> str:
        """A study whose images were chosen from, so many days ago; its UID."""
        images = images or small_series(SMALL, **identity)
        self.take_in(images)
        uid = str(images[0].StudyInstanceUID)
        with self.database.write() as tx:
            mine = tx.execute(sa.select(study.c.id).where(study.c.study_uid == uid)).scalar_one()
            then = Clock() - days * DAY
            tx.execute(sa.update(study).where(study.c.id == mine).values(state="closed", closed=then, last_image=then))
            tx.execute(
                sa.update(instance)
                .where(instance.c.study_id == mine)
                .values(arrived=then, image_identity=instance.c.digest)
            )
        return uid

    def input_set(self, uid: str, network: str = "ct_lungs", days: float = 0) -> int:
        with self.database.write() as tx:
            mine = tx.execute(sa.select(study.c.id).where(study.c.study_uid == uid)).scalar_one()
            values = dict(study_id=mine, network=network, slot="", members_hash=f"m{next(self.numbers)}", because="")
            made = tx.execute(sa.insert(input_set).values(**values, created=Clock() - days * DAY))
            (found,) = made.inserted_primary_key or (0,)
            uids = tx.execute(sa.select(instance.c.sop_uid).where(instance.c.study_id == mine)).scalars().all()
            rows = [dict(input_set_id=found, position=n, channel="image", sop_uid=one) for n, one in enumerate(uids)]
            tx.execute(sa.insert(input_member), rows)
        return int(found)

    def version(self, network: str = "ct_lungs", name: str = "1.0.0", parent: int | None = None) -> int:
        with self.database.write() as tx:
            found = tx.execute(
                sa.select(model_version.c.id).where(model_version.c.network == network, model_version.c.version == name)
            ).scalar()
            if found is not None:
                return int(found)
            made = sa.insert(model_version).values(
                network=network,
                version=name,
                weights_sha256=f"w{network}{name}",
                card_sha256=f"c{network}{name}",
                device_uid=f"2.25.{next(self.numbers)}",
                parent=parent,
                created=Clock(),
            )
            return int(tx.execute(made.returning(model_version.c.id)).scalar_one())

    def result(
        self,
        input_set_id: int,
        kind: str = "SEG",
        options: str = "BINARY",
        *,
        state: str = "ready",
        days: float = 0,
        data: bytes = b"",
        **deliveries: str,
    ) -> int:
        """A result with its file; deliveries: destination -> state."""
        number = next(self.numbers)
        data = data or f"object {number}".encode() * 100
        path = self.archive.write_result(data)
        values = dict(
            input_set_id=input_set_id,
            model_version_id=self.version(),
            kind=kind,
            options=options,
            sop_uid=f"2.25.100{number}",
            sop_class="1.2.840.10008.5.1.4.1.1.66.4",
            series_uid=f"2.25.200{number}",
            sha256=hashlib.sha256(data).hexdigest(),
            path=path,
            size=len(data),
            content_time=1_800_000_000.0,
            run="run",
            state=state,
        )
        with self.database.write() as tx:
            made = sa.insert(result).values(**values, created=Clock() - days * DAY).returning(result.c.id)
            found = int(tx.execute(made).scalar_one())
            for destination, said in deliveries.items():
                sent = Clock() - days * DAY if said in ("delivered", "committed") else None
                rows = dict(result_id=found, destination=destination, state=said, created=Clock(), delivered=sent)
                tx.execute(sa.insert(delivery).values(**rows))
        return found

    def done(self, days: float = 0, **deliveries: str) -> str:
        """A study with a segmentation and a report."""
        uid = self.study(days=days)
        one = self.input_set(uid, days=days)
        self.result(one, days=days, **deliveries)
        self.result(one, "SR", "TID1411", days=days, **deliveries)
        return uid

    def job(self, uid: str, kind: str, state: str, **values: Any) -> int:
        with self.database.write() as tx:
            mine = tx.execute(sa.select(study.c.id).where(study.c.study_uid == uid)).scalar_one()
            fixed = dict(kind=kind, subject=uid, state=state, priority=1, run_after=Clock(), max_attempts=3)
            made = sa.insert(job).values(**(fixed | values), study_id=mine, created=Clock()).returning(job.c.id)
            return int(tx.execute(made).scalar_one())

    def label(self, uid: str, state: str, **values: Any) -> int:
        """A label whose object is an instance of the study: the last one that came."""
        with self.database.write() as tx:
            mine = tx.execute(sa.select(study).where(study.c.study_uid == uid)).mappings().one()
            of_study = sa.select(instance).where(instance.c.study_id == mine["id"]).order_by(instance.c.id.desc())
            one = tx.execute(of_study.limit(1)).mappings().one()
            fixed = dict(
                source_uid=one["sop_uid"],
                source_sha256=one["digest"],
                source_path=one["path"],
                came="received",
                calling_ae="",
                network="ct_lungs",
                patient_id=mine["patient_id"],
                study_id=mine["id"],
                structures=[],
                annotated=[1],
                author="",
                tool="",
                made="",
                state=state,
            )
            made = sa.insert(label).values(**(fixed | values), created=Clock()).returning(label.c.id)
            return int(tx.execute(made).scalar_one())

    def rows(self, table: sa.Table, *where: Any) -> list[Any]:
        with self.database.read() as tx:
            return list(tx.execute(sa.select(table).where(*where).order_by(*table.primary_key.columns)).mappings())

    def row(self, uid: str) -> Any:
        (found,) = self.rows(study, study.c.study_uid == uid)
        return found

    def images_on_disk(self, uid: str) -> int:
        mine = self.rows(instance, instance.c.study_id == self.row(uid)["id"])
        return sum(self.archive.at(one["path"]).exists() for one in mine)

    def files(self, kind: str) -> set[str]:
        return {file.relative_to(self.home).as_posix() for file in (self.home / kind).rglob("*") if file.is_file()}
