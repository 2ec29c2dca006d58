"""Rows of a department's weeks with a network: persons, studies, results, what came back, as the node writes them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from db import reviews
from db.database import clock
from db.tables import (
    appearance,
    data_set,
    data_set_member,
    delivery,
    input_set,
    job,
    label,
    measurement,
    model_version,
    patient,
    release,
    result,
    study,
    training_run,
)

DAY = 86400.0
WEEK = 7 * DAY
#: of flags, as they read
SENTENCES = {
    "touches-edge": "Left lung reaches the edge of the scan, where a part of it may lie outside: first slice (feet)",
    "low-confidence": "The network was not sure of Left lung: mean entropy 0.31, at most 0.25 expected",
}


def appearance_of(random: np.random.Generator, *, thickness_mm: float = 2.5, kernel: str = "B30f") -> list[Any]:
    """What a chest CT of a scanner looks like."""
    values = random.dirichlet(np.full(20, 40.0)) * 1000
    numbers = {
        "pixel_spacing_mm": round(float(random.normal(0.75, 0.05)), 3),
        "slice_spacing_mm": 2.0,
        "slice_thickness_mm": thickness_mm,
    }
    words = {"kernel": kernel, "scanner": "Vendor model 1"}
    return [{"channel": "CT", "numbers": numbers, "words": words, "values": values.tolist(), "unit": "HU"}]


@dataclass
class Ward:
    """Writes the rows of one network, in a transaction that the caller has.

    Attributes:
        version: the row of the live one.
    """

    tx: Connection
    network: str = "ct_lungs"
    version: int = 0
    number: int = field(default=0)

    def live(self, version: str = "1.2.0", at: float | None = None, **values: Any) -> int:
        """A version that is live."""
        made = self._row(
            model_version,
            network=self.network,
            version=version,
            weights_sha256=f"{version:0<64}",
            card_sha256=f"c{version:0<63}",
            device_uid="2.25.1",
            created=at or clock(self.tx),
            **values,
        )
        named = {"network": self.network, "model_version_id": made, "who": "planimeter", "why": "first seen"}
        self._row(release, **named, at=at or clock(self.tx))
        self.version = made
        return made

    def read(
        self,
        at: float,
        *,
        segments: Any = None,
        flags: Any = (),
        looks: Any = None,
        delivered: float | None = None,
        person: int | None = None,
        study_uid: str = "",
    ) -> int:
        """A study that the network has read; the input set.

        Args:
            person: an earlier patient row; None: somebody new.
            delivered: when its result reached the PACS; None: it is not sent.
        """
        self.number += 1
        n = self.number
        if person is None:
            person = self._row(patient, issuer=self.network, patient_id=f"P{n}")
        uid = study_uid or f"2.25.{n}.{zlib.crc32(self.network.encode()) % 9999}"
        of = self._row(study, study_uid=uid, patient_id=person, state="closed", arrived=at, last_image=at)
        made = self._row(
            input_set,
            study_id=of,
            network=self.network,
            slot="",
            members_hash=f"{n}",
            because="route chest",
            created=at,
        )
        if segments is None:
            segments = [{"value": 1, "volume_ml": 2000.0 + n, "entropy": 0.05}, {"value": 2, "volume_ml": 2400.0 + n}]
        self._row(
            measurement,
            input_set_id=made,
            model_version_id=self.version,
            study_date="20260101",
            segments=segments,
            flags=[{"code": code, "segment": 1, "sentence": SENTENCES.get(code, f"It is {code}")} for code in flags],
            created=at,
        )
        seg = self._row(
            result,
            input_set_id=made,
            model_version_id=self.version,
            kind="SEG",
            options="",
            sop_uid=f"{uid}.1",
            sop_class="1.2.840.10008.5.1.4.1.1.66.4",
            series_uid=f"{uid}.2",
            sha256="0" * 64,
            size=1000,
            content_time=at,
            run=f"{n:064x}",
            state="ready",
            created=at,
        )
        if delivered is not None:
            self._row(
                delivery,
                result_id=seg,
                destination="pacs",
                state="delivered",
                created=at,
                delivered=delivered,
            )
        if looks is not None:
            self._row(appearance, input_set_id=made, channels=looks, created=at)
        return made

    def comes_back(
        self, of_set: int, at: float, *, state: str = "ready", dice: float | None = 0.9, **values: Any
    ) -> int:
        """What a radiologist sent back of an input set."""
        of = self.tx.execute(sa.select(input_set).where(input_set.c.id == of_set)).mappings().one()
        who = self.tx.execute(sa.select(study.c.patient_id).where(study.c.id == of["study_id"])).scalar_one()
        classes = [{"value": 1, "name": "Left lung", "dice": dice}]
        row: dict[str, Any] = {
            "source_uid": f"2.25.{of_set}.9",
            "source_sha256": f"{of_set:064x}",
            "source_path": f"store/{of_set}",
            "came": "received",
            "calling_ae": "READER",
            "network": self.network,
            "patient_id": who,
            "study_id": of["study_id"],
            "input_set_id": of_set,
            "structures": [{"number": 1, "name": "Left lung", "value": 1}],
            "annotated": [1],
            "author": "Reader^One",
            "tool": "Viewer",
            "made": "20260101",
            "comparison": {"classes": classes, "voxels_changed": 120},
            "state": state,
            "created": at,
        }
        return self._row(label, **{**row, **values})

    def data_set(self, purpose: str) -> int:
        """A frozen data set, without members."""
        row = {"network": self.network, "purpose": purpose, "number": 1, "sha256": purpose, "manifest": {}}
        return self._row(data_set, **row, created=clock(self.tx))

    def member(self, of: int, label_id: int, role: str) -> int:
        """A label of a data set."""
        person = self.tx.execute(sa.select(label.c.patient_id).where(label.c.id == label_id)).scalar_one()
        return self._row(data_set_member, data_set_id=of, label_id=label_id, patient_id=person, role=role)

    def run(self, data_set_id: int, test_set_id: int, candidate: int) -> int:
        """The training that made a version."""
        sets = {"data_set_id": data_set_id, "test_set_id": test_set_id, "candidate_id": candidate}
        rest = {"protocol": {}, "protocol_sha256": "", "seed": 1, "folder": "", "facts": {}, "who": "night shift"}
        return self._row(training_run, network=self.network, **sets, **rest, state="trained", created=clock(self.tx))

    def refused(self, made: int, at: float, code: str) -> int:
        """The job of an input set that was refused."""
        return self._row(
            job,
            kind="segment",
            subject=f"{made}",
            state="refused",
            priority=10,
            run_after=at,
            max_attempts=3,
            input_set_id=made,
            code=code,
            reason=f"It is {code}.",
            created=at,
            ended=at,
        )

    def _row(self, table: sa.Table, **values: Any) -> int:
        return int(self.tx.execute(sa.insert(table).values(**values).returning(table.c.id)).scalar_one())


def of_networks(tx: Connection, text: str) -> None:
    """A label, a training run and a review whose every word is this one."""
    ward, now = Ward(tx), clock(tx)
    ward.live()
    made = ward.read(now, segments=[{"value": 1, "volume_ml": 9.0, "entropy": 0.4}], flags=[text], delivered=now)
    structures = [{"number": 1, "name": text, "value": None}]
    why = {"state": "quarantined", "code": "label-unmapped", "sentence": text}
    ward.comes_back(made, now, structures=structures, author=text, tool=text, calling_ae=text, **why)
    reviews.open_one(tx, ward.network, text, None)
    run = {"network": ward.network, "protocol": {}, "protocol_sha256": "", "seed": 1, "folder": "", "facts": {}}
    said = {"state": "failed", "reason": text, "who": text, "created": now}
    tx.execute(sa.insert(training_run).values(**run, **said))
