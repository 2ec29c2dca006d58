"""Take an instance in: from a file in the spool to a file in the archive and a row, or a refusal.

C-STORE and `planimeter submit` both come through here. When `take` returns, the instance is durable: Success may be
answered (promise 1).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from db import arrivals, labels, refusals, results
from db.arrivals import Arrival, Kind, Seen
from db.database import Conflict, Database

from ..audit.transfer import Transfer, unheard
from ..errors import Refused
from ..failpoints import reach
from ..study.archive import Archive
from .kinds import LABELS, kind_of
from .whole import read_header

#: elements that say how many images a series, or its acquisition, has
ANNOUNCING = ("NumberOfSeriesRelatedInstances", "ImagesInAcquisition")
KEYWORDS = (
    *ANNOUNCING,
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ContributingEquipmentSequence",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
WANTED = frozenset(tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)
NOT_TAUGHT = (
    "its segmentations and structure sets are kept, and nothing is learnt from them; "
    "to let it teach, set may_send_labels = true in its [[peer]]"
)
UID_PATTERN = re.compile(r"[0-9.]{1,64}")


#: the address of what comes from this machine's own disks
LOCAL = "local"


@dataclass(frozen=True)
class Source:
    """Where an instance comes from.

    Attributes:
        teaches: whether outlines of it may become labels.
    """

    calling_ae: str
    address: str
    teaches: bool = False


@dataclass(frozen=True)
class Inbox:
    """The way in.

    Attributes:
        attempts: of the jobs that read labels.
    """

    archive: Archive
    database: Database
    attempts: int = 3

    def take(
        self,
        spooled: Path,
        transfer_syntax: UID,
        source: Source,
        command: tuple[str, str] | None = None,
        transfer: Transfer | None = None,
    ) -> Seen:
        """Take in one Part 10 file that lies in the spool; it is gone from there afterwards, however this ends.

        Args:
            spooled: the file, with file meta information of our own writing.
            transfer_syntax: of its data set.
            source: who sent it.
            command: SOP class and instance UID of the C-STORE request, which the data set must agree with.
            transfer: what it belongs to, for the audit trail.

        Raises:
            Refused: it cannot be stored; the code and sentence say why.
            DatabaseUnreachable, OSError: it could not be stored now; nothing was acknowledged.
        """
        try:
            transfer = transfer or unheard()
            with spooled.open("rb") as stream, _mapped(stream.fileno()) as data:
                start = data_set_start(data)
                header = read_header(data, start, transfer_syntax, WANTED)
                check_uids(header, command)
                with data[start:] as body:  # released whatever is raised: a slice that lives on keeps the map open
                    digest = _digest(transfer_syntax, body)
                    known, digest = self._known(header.SOPInstanceUID, digest, body)
                if known is not None:
                    there = self._still_here(known, spooled, stream.fileno())
                    self._teach_again(header.SOPClassUID, there, source)
                    transfer.took(header.StudyInstanceUID, header.SOPClassUID)
                    return Seen.SAME
                path = self.archive.keep(spooled, stream.fileno())
                size = len(data)
            reach("stored-before-row")
            arrival = self._arrival(header, transfer_syntax, digest, path, size, source)
            seen = self._record(arrival, source, transfer)
        finally:
            with suppress(FileNotFoundError):
                spooled.unlink()
        if seen is Seen.SAME:  # two senders, the same instance, the same moment
            self.archive.discard(path)
        return seen

    def _still_here(self, known: Any, spooled: Path, descriptor: int) -> str:
        """The path of an instance that is known; one whose file was given up, or is lost, gets this one."""
        if known["purged"] is None and self.archive.at(known["path"]).exists():
            return str(known["path"])
        path = self.archive.keep(spooled, descriptor)
        with self.database.write() as tx:
            if arrivals.came_back(tx, known, path):
                return path
            quicker = arrivals.stored(tx, known["sop_uid"], known["digest"])
        self.archive.discard(path)
        if quicker is None:
            raise OSError("it was erased while it came again")
        return str(quicker["path"])

    def _known(self, sop_uid: str, digest: str, data: memoryview) -> tuple[Any, str]:
        """The row of the instance that has these very bytes, and a digest that is free for them otherwise."""
        for number in range(16):
            marked = digest if not number else f"{digest}~{number}"
            with self.database.read() as tx:
                row = arrivals.stored(tx, sop_uid, marked)
            if row is None or self._equal(row["path"], data):
                return row, marked
        raise Refused("digest-collision", "sixteen different objects with this SOP Instance UID have the same digest")

    def _equal(self, path: str, data: memoryview) -> bool:
        """Whether a stored file has exactly this data set; a file that has gone is made good by the new one."""
        try:
            with (
                self.archive.at(path).open("rb") as stream,
                _mapped(stream.fileno()) as stored,
                stored[data_set_start(stored) :] as body,
            ):
                return body == data
        except FileNotFoundError:
            return True

    def _arrival(
        self, header: Dataset, transfer_syntax: UID, digest: str, path: str, size: int, source: Source
    ) -> Arrival:
        kind = kind_of(header.SOPClassUID)
        if kind is not Kind.IMAGE and self._is_ours(header):
            kind = Kind.OURS
        return Arrival(
            sop_uid=header.SOPInstanceUID,
            sop_class=header.SOPClassUID,
            study_uid=header.StudyInstanceUID,
            series_uid=header.SeriesInstanceUID,
            modality=_text(header, "Modality"),
            kind=kind,
            transfer_syntax=transfer_syntax,
            patient_id=_text(header, "PatientID"),
            issuer=_text(header, "IssuerOfPatientID"),
            birth_date=_text(header, "PatientBirthDate"),
            accession=_text(header, "AccessionNumber").strip(),
            digest=digest,
            path=path,
            size=size,
            calling_ae=source.calling_ae,
            address=source.address,
            announced=max((_count(header, keyword) for keyword in ANNOUNCING), default=0) or None,
        )

    def _is_ours(self, header: Dataset) -> bool:
        devices = [
            str(uid)
            for item in header.get("ContributingEquipmentSequence") or []
            for uid in (item.get("DeviceUID"),)
            if uid and not isinstance(uid, (list, tuple))
        ]
        with self.database.read() as tx:
            return results.is_ours(tx, header.SOPInstanceUID, devices)

    def _record(self, arrival: Arrival, source: Source, transfer: Transfer) -> Seen:
        for _ in range(20):  # two revisions of one instance that come at once: one of them goes again
            with suppress(Conflict):
                with self.database.write() as tx:
                    seen = arrivals.record(tx, arrival)
                    if seen is not Seen.SAME and arrival.sop_class in LABELS:
                        self._teach(tx, arrival, source)
                    transfer.opens(tx, arrival.study_uid)
                transfer.took(arrival.study_uid, arrival.sop_class)
                return seen
        raise OSError("the database kept refusing the row")

    def _teach(self, tx: Any, arrival: Arrival, source: Source) -> None:
        """An outline is a label from those who may teach; from others it is kept, and counted."""
        if source.teaches:
            self._ask(tx, arrival.path, source)
        elif arrival.kind is Kind.LABEL and source.address != LOCAL:
            refusals.count_caller(tx, source.address, source.calling_ae, "labels-not-taken", NOT_TAUGHT)

    def _teach_again(self, sop_class: str, path: str, source: Source) -> None:
        """What was here already comes from somebody who may teach."""
        if source.teaches and sop_class in LABELS:
            with self.database.write() as tx:
                self._ask(tx, path, source)

    def _ask(self, tx: Any, path: str, source: Source) -> None:
        with self.archive.at(path).open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        came = "added" if source.address == LOCAL else "received"
        labels.arrived(tx, path, sha256, came, source.calling_ae, self.attempts)

    def refuse(self, source: Source, subject: str, refusal: Refused) -> None:
        """Keep a refusal of `take`, counted under its sender."""
        with self.database.write() as tx:
            refusals.record(tx, "instance", subject, refusal.code, refusal.sentence)
            refusals.count_caller(tx, source.address, source.calling_ae, refusal.code, refusal.sentence)


def looked_at(spooled: Path, transfer_syntax: UID) -> Dataset:
    """The header of a file in the spool that may be taken in: whole, and with UIDs that are some.

    Raises:
        Refused: as `Inbox.take`, of what can be seen in the file alone.
    """
    with spooled.open("rb") as stream, _mapped(stream.fileno()) as data:
        header = read_header(data, data_set_start(data), transfer_syntax, WANTED)
    check_uids(header, None)
    return header


@contextmanager
def _mapped(descriptor: int) -> Iterator[memoryview]:
    if not os.fstat(descriptor).st_size:
        raise Refused("truncated", "the object is empty")
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        yield data


def data_set_start(data: memoryview) -> int:
    """Where the data set of a Part 10 file of our own writing begins (PS3.10 7.1)."""
    if len(data) < 144 or bytes(data[128:138]) != b"DICM\x02\x00\x00\x00UL":
        raise Refused("no-file-meta", "the file has no DICOM file meta information")
    return 144 + int.from_bytes(data[140:144], "little")


def _digest(transfer_syntax: UID, data: memoryview) -> str:
    digest = xxhash.xxh3_128(str(transfer_syntax).encode())
    digest.update(data)
    return digest.hexdigest()


def _text(header: Dataset, keyword: str) -> str:
    """An element as text for a row; PostgreSQL has no NUL in text, and no header should."""
    return str(header.get(keyword) or "").replace("\0", "")


def _count(header: Dataset, keyword: str) -> int:
    """A number of images; 0 where there is none, or none that can be true."""
    text = _text(header, keyword).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0


def check_uids(header: Dataset, command: tuple[str, str] | None) -> None:
    """Refuse an object whose UIDs are none, or not those of its C-STORE request."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        value = header.get(keyword) or ""
        if value == "":
            raise Refused("uid-missing", f"the object has no {keyword}")
        if not isinstance(value, str) or not UID_PATTERN.fullmatch(value):
            raise Refused("uid-illegal", f"the object's {keyword} is not a UID")
    if command is not None and command != (header.SOPClassUID, header.SOPInstanceUID):
        raise Refused("uid-mismatch", "the object's SOP class or instance UID is not that of the C-STORE request")
