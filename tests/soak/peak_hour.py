"""An hour as a hospital sends it, ten times as fast: through `planimeter run` to two destinations, and none late.

Studies come as a Poisson process, drawn from a seed, from four senders at once. What is scaled, so that two cores can
take it ten times as fast: radiographs of 512 x 512 pixels (a real one has some 2500 x 2500), CT and MR slices of
128 x 128 (512 x 512), ultrasound of 10 frames; the networks threshold. What is not: how many studies, series,
instances, associations, jobs, results and deliveries there are.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from db.database import open_database, sqlite_url
from node.operations.status import overview
from node.outbound import scu
from node.outbound.scu import Parcel
from node.outbound.target import Target
from tests import mini_bundle
from tests.fake_pacs import FakePacs
from tests.running import RunningNode
from tests.synthetic import as_files, small_series
from tests.test_pictures import picture
from tests.waiting import wait_until

from .oracle import ENDED, Receipts, digest_of, of_results, of_store, received_by
from .tally import Tally, Trials

#: the hour, compressed
HOUR_SECONDS = 360
#: of a route: results are with both destinations so long after the last image
DEADLINE_MINUTES = 10
#: of resident memory, between the middle and the end of the sending: what was loaded by then is all there is to load
MOST_GROWTH = 1.15
#: sending for less than this says nothing about memory
WARM_SECONDS = 120
CONFIG = """
[receive]
reserve_gb = 0
quiet_seconds = 5
[work]
device = "cpu"
[hosts]
at_start = true
[[peer]]
name = "pacs"
ae_title = "PACS"
destination = {{ host = "127.0.0.1", port = {pacs} }}
[[peer]]
name = "research"
ae_title = "RESEARCH"
destination = {{ host = "127.0.0.1", port = {research} }}
[[route]]
name = "volumes"
when = [{{ modality = ["CT", "MR"] }}]
networks = ["volumes"]
destinations = ["pacs", "research"]
deadline_minutes = {minutes}
[[route]]
name = "pictures"
when = [{{ modality = ["DX", "US"] }}]
networks = ["pictures"]
destinations = ["pacs", "research"]
deadline_minutes = {minutes}
"""


@dataclass(frozen=True)
class Modality:
    """What of a kind comes in an hour.

    Attributes:
        studies: of the hour.
        images: of a study: from, to.
    """

    name: str
    studies: int
    images: tuple[int, int]
    sop_class: str


MODALITIES = (
    Modality("DX", 120, (1, 2), DigitalXRayImageStorageForPresentation),
    Modality("US", 50, (1, 1), UltrasoundMultiFrameImageStorage),
    Modality("CT", 30, (80, 120), CTImageStorage),
    Modality("MR", 25, (40, 80), MRImageStorage),
)


def arrivals(modality: Modality, seconds: float, random: Random) -> list[float]:
    """When studies of a kind come, in seconds: a Poisson process that brings `studies` in an hour on average."""
    found, at = [], random.expovariate(modality.studies / HOUR_SECONDS)
    while at < seconds:
        found.append(at)
        at += random.expovariate(modality.studies / HOUR_SECONDS)
    return found or [0.0]


def images(modality: Modality, number: int, random: Random) -> list[Dataset]:
    """A study, other than every other one."""
    patient, count = f"{modality.name}-{number}", random.randint(*modality.images)
    if modality.name in ("CT", "MR"):
        made = small_series((128, 128, count), patient_id=patient)
        for ds in made:
            ds.Modality, ds.SOPClassUID = modality.name, modality.sop_class
            ds.file_meta.MediaStorageSOPClassUID = modality.sop_class
        return made
    noise = np.random.default_rng(random.randrange(1 << 30))
    shape = (512, 512) if modality.name == "DX" else (10, 240, 320)
    found = []
    for k in range(count):
        pixels = noise.integers(120, 250, shape).astype(np.uint16 if modality.name == "DX" else np.uint8)
        pixels[..., 60:160, 80:200] = 20
        ds = picture(modality.sop_class, modality.name, pixels, PixelSpacing=[0.5, 0.5], PatientID=patient)
        ds.InstanceNumber = k + 1
        if found:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = found[0].StudyInstanceUID, found[0].SeriesInstanceUID
        found.append(ds)
    return found


def run(trials: Trials) -> Tally:
    """As many seconds of the compressed hour as there are trials."""
    home = trials.folder / "home"
    (home / "models").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    mini_bundle.make(home / "models", "volumes", reads='modality = ["CT", "MR"]\nminimum_slices = 2')
    reads = 'modality = ["DX", "US"]\nkind = "image"\nderived = true'
    mini_bundle.make(home / "models", "pictures", reads=reads, below=(100, -900), spacing_mm=(1.0, 1.0, 1.0))
    config = trials.folder / "planimeter.toml"
    with FakePacs("PACS") as pacs, FakePacs("RESEARCH") as research:
        config.write_text(CONFIG.format(pacs=pacs.port, research=research.port, minutes=DEADLINE_MINUTES))
        node = RunningNode(home, ("--config", str(config)), {"OMP_NUM_THREADS": "1"})
        node.start()
        try:
            hour = Hour(node, trials)
            hour.send()
            hour.wait_until_done()
        finally:
            node.stop()
        tally = of_store(home, "", hour.receipts)
        held = {"pacs": received_by(pacs.objects), "research": received_by(research.objects)}
        tally.add(of_results(home, "", held, studies=hour.studies))
    tally.trials = trials.count
    tally.complaints += hour.complaints
    tally.figures |= hour.figures() | _kept_waiting(home, tally)
    return tally


class Hour:
    """The senders, and what they see."""

    def __init__(self, node: RunningNode, trials: Trials) -> None:
        self._node, self._trials = node, trials
        self.receipts = Receipts()
        self.studies: list[str] = []
        self.complaints: list[str] = []
        self._memory: list[tuple[float, float]] = []
        self._sent = {modality.name: 0 for modality in MODALITIES}
        self._behind = 0.0

    def send(self) -> None:
        """A sender for each modality; and a look at the memory at each tenth."""
        begun = time.monotonic()
        seeds = [Random(self._trials.random.random()) for _ in MODALITIES]
        threads = [
            threading.Thread(target=self._sender, args=(one, begun, seed))
            for one, seed in zip(MODALITIES, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        for second in range(self._trials.count):
            self._trials.stopped.wait(max(0.0, begun + second + 1 - time.monotonic()))
            if second % max(1, self._trials.count // 10) == 0:
                self._memory.append((time.monotonic() - begun, self._resident_mb()))
            self._trials.step()
        for thread in threads:
            thread.join()
        self._memory.append((time.monotonic() - begun, self._resident_mb()))

    def _sender(self, modality: Modality, begun: float, random: Random) -> None:
        try:
            for number, at in enumerate(arrivals(modality, self._trials.count, random)):
                study = images(modality, number, random)
                if self._trials.stopped.wait(max(0.0, begun + at - time.monotonic())):
                    return
                self._behind = max(self._behind, time.monotonic() - begun - at)
                self._send(modality, study, self._trials.folder / f"{modality.name}-{number}")
        except Exception as error:  # noqa: BLE001 - the edge of a thread
            self.complaints.append(f"the sender of {modality.name}: {error!r}")

    def _send(self, modality: Modality, study: Sequence[Dataset], folder: Path) -> None:
        self.studies.append(str(study[0].StudyInstanceUID))
        parcels = [Parcel(file, modality.sop_class) for file in as_files(study, folder)]
        target = Target("node", "PLANIMETER", "127.0.0.1", self._node.port)
        with scu.connect(target, modality.name, parcels, 60) as sender:
            for ds, parcel in zip(study, parcels, strict=True):
                digest = digest_of(ds)
                self.receipts.offer(ds.SOPInstanceUID, digest)
                if (status := sender.send(parcel).status) == 0:
                    self.receipts.acknowledge(ds.SOPInstanceUID, digest)
                else:
                    self.complaints.append(f"{modality.name}: an image was answered {status}")
                parcel.file.unlink()
        self._sent[modality.name] += 1

    def wait_until_done(self) -> None:
        """Every study has come to its end, and the queue is empty."""
        database = open_database(sqlite_url(self._node.home / "planimeter.db"))

        def left() -> int:
            found = {one["study_uid"]: one["state"] for one in overview(database)["studies"]}
            return sum(found.get(uid) not in ENDED for uid in self.studies)

        try:
            wait_until("every study is delivered", lambda: not left(), 60 * DEADLINE_MINUTES, every=2)
        except AssertionError:
            self.complaints.append(f"{left()} studies are not done {DEADLINE_MINUTES} minutes after the last image")
        finally:
            database.dispose()

    def _resident_mb(self) -> float:
        """Of all processes of the node, each page that they share counted once (PSS)."""
        total = 0
        for pid in _family(os.getpid()):
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:  # it has ended meanwhile
                continue
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def figures(self) -> dict[str, Any]:
        middle = self._memory[len(self._memory) // 2][1]
        last = self._memory[-1][1]
        if self._trials.count >= WARM_SECONDS and last > middle * MOST_GROWTH:
            self.complaints.append(f"{middle:.0f} MB of memory in the middle became {last:.0f} MB at the end")
        return {
            "studies": dict(self._sent),
            "memory of all processes, MB, at each second": {round(at): round(mb) for at, mb in self._memory},
            "longest that a sender was behind, s": round(self._behind, 1),
        }


def _family(root: int) -> Iterator[int]:
    """The processes below one, but not itself."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    fresh = [root]
    while fresh:
        fresh = [pid for pid, parent in parents.items() if parent in fresh]
        yield from fresh


def _kept_waiting(home: Path, tally: Tally) -> dict[str, Any]:
    """Seconds from the last image of a study until its results were delivered; who was late is a complaint."""
    asked = sa.text(
        "SELECT study.last_image, input_set.deadline, max(delivery.delivered) AS delivered FROM delivery"
        " JOIN result ON result.id = delivery.result_id JOIN input_set ON input_set.id = result.input_set_id"
        " JOIN study ON study.id = input_set.study_id GROUP BY study.id, study.last_image, input_set.deadline"
    )
    database = open_database(sqlite_url(home / "planimeter.db"))
    with database.read() as tx:
        rows = tx.execute(asked).all()
        still = int(tx.execute(sa.text("SELECT count(*) FROM job WHERE state IN ('waiting', 'running')")).scalar_one())
    database.dispose()
    late = sum(row.delivered is None or row.delivered > row.deadline for row in rows)
    waited = sorted(row.delivered - row.last_image for row in rows if row.delivered is not None)
    if late:
        tally.complaints.append(f"{late} studies were delivered after their deadline")
    if still:
        tally.complaints.append(f"{still} jobs are still in the queue")
    return {
        "late": late,
        "deadline, s": DEADLINE_MINUTES * 60,
        "seconds until delivered, median": round(statistics.median(waited), 1) if waited else None,
        "seconds until delivered, most": round(waited[-1], 1) if waited else None,
    }
