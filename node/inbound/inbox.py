"""Take an instance in: from a file in the spool to a file in the archive and a row, or a refusal.

C-STORE and `planimeter submit` both come through here. When `take` returns, the instance is durable: Success may be
answered (promise 1).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.sequence import Sequence
from pydicom.uid import UID

from db import arrivals, labels, refusals, results
from db.arrivals import Arrival, Kind, Seen
from db.database import Database

from ..audit.transfer import Transfer, unheard
from ..errors import Refused
from ..study.archive import Archive
from ..uids import UID_PATTERN
from .filing import Coming, Filing
from .header import Header, announced, check_texts, check_uids, data_set_start, digest_of, header_of, text
from .kinds import LABELS, kind_of
from .opened import Opened
from .stored import Stored, compared

logger = logging.getLogger(__name__)

NOT_TAUGHT = (
    "its segmentations and structure sets are kept, and nothing is learnt from them; "
    "to let it teach, set may_send_labels = true in its [[peer]]"
)

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


class Inbox:
    """The way in. Many threads may use it at once.

    Args:
        attempts: of the jobs that read labels.
    """

    def __init__(self, archive: Archive, database: Database, attempts: int = 3) -> None:
        self.archive, self.database, self.attempts = archive, database, attempts
        self._filing = Filing(archive, database)

    def take(
        self,
        spooled: Path,
        transfer_syntax: UID,
        source: Source,
        command: tuple[str, str] | None = None,
        *,
        digest: str | None = None,
        descriptor: int | None = None,
        transfer: Transfer | None = None,
    ) -> Seen:
        """Take in one Part 10 file that lies in the spool; it is gone from there afterwards, however this ends.

        Args:
            spooled: the file, with file meta information of our own writing.
            transfer_syntax: of its data set.
            source: who sent it.
            command: SOP class and instance UID of the C-STORE request, which the data set must agree with.
            digest: `header.digest_of` it, where that was made while it came.
            descriptor: of the same file, where it is open for reading; it stays open.
            transfer: what it belongs to, for the audit trail.

        Raises:
            Refused: it cannot be stored; the code and sentence say why.
            DatabaseUnreachable, OSError: it could not be stored now; nothing was acknowledged.
        """
        transfer = transfer or unheard()
        transfer.begins()
        usual, left = transfer.lately_new, True
        try:
            with _open(spooled, descriptor) as held, Opened(held) as file:
                if usual:
                    self.archive.begin_sync(held)  # the disk begins while the header is read
                start = data_set_start(file.beginning)
                header = header_of(file, start, transfer_syntax)
                check_uids(header, command)
                check_texts(header)
                sop_uid, sop_class, study_uid = (
                    header["SOPInstanceUID"],
                    header["SOPClassUID"],
                    header["StudyInstanceUID"],
                )
                if digest is None:
                    with file.data[start:] as body:  # released whatever is raised: a slice that lives on keeps the map
                        digest = digest_of(transfer_syntax, body)
                find = partial(self._known, sop_uid, digest, transfer_syntax, file, start)
                known, free, is_lost = (None, digest, False) if usual else find()
                if known is None:
                    self.archive.sync(held)
                came = None
                while known is None:
                    if came is None:
                        sha256 = hashlib.sha256(file.data).hexdigest() if _teaches(source, sop_class) else ""
                        came = self._coming(spooled, header, transfer_syntax, file.size, source, transfer, sha256, free)
                    elif came.arrival.digest != free:
                        came.arrival = replace(came.arrival, digest=free)
                    seen = self._filing.file(came)
                    left = not came.named
                    if seen is not Seen.SAME:
                        transfer.took(study_uid, sop_class, new=seen is Seen.NEW)
                        return seen
                    # it was here, or another sender was quicker; if the same, the bytes say
                    known, free, is_lost = find()
                path = self._still_here(known, is_lost, came, file, partial(self.archive.keep, spooled, held))
                self._teach_again(sop_class, path, source)
                transfer.took(study_uid, sop_class, new=False)
                return Seen.SAME
        finally:
            if left:
                with suppress(OSError):  # on a read-only disk too the caller is told why; `sweep` removes it
                    spooled.unlink()

    def _still_here(self, known: Any, is_lost: bool, came: Coming | None, file: Opened, keep: Callable[[], str]) -> str:
        """The path of an instance that is known; one whose file was given up, or is lost, gets this one.

        Args:
            came: it has its name in the store already; else `keep` gives it one.
            file: what came.
        """
        if known["purged"] is None and not is_lost:
            if came is not None and came.arrival.path != known["path"]:  # the answer to our own commit may be lost
                self.archive.discard(came.arrival.path)
            return str(known["path"])
        path = came.arrival.path if came is not None else keep()
        if path == known["path"]:
            raise OSError("what was written just now cannot be read back")
        sha256 = hashlib.sha256(file.data).hexdigest()
        with self.database.write() as tx:
            is_back = arrivals.came_back(tx, known, path, file.size, sha256)
            quicker = None if is_back else arrivals.stored(tx, known["sop_uid"], known["digest"])
        if is_back:
            if known["purged"] is None:
                logger.warning("the stored file of an instance was lost or damaged; what came again takes its place")
            with suppress(OSError):  # where a broken disk does not even let it go, `sweep` meets it again
                self.archive.discard(known["path"])
            return path
        self.archive.discard(path)
        if quicker is None:
            raise OSError("it was erased while it came again")
        return str(quicker["path"])

    def _known(self, sop_uid: str, digest: str, syntax: UID, file: Opened, start: int) -> tuple[Any, str, bool]:
        """The row of the instance that has these very bytes; a digest that is free for them otherwise; and whether the
        file of that row has them no more."""
        for number in range(16):
            marked = digest if not number else f"{digest}~{number}"
            with self.database.read() as tx:
                row = arrivals.stored(tx, sop_uid, marked)
            if row is None:
                return None, marked, False
            with file.data[start:] as data:
                found = compared(self.archive.at(row["path"]), digest, syntax, data)
            if found is not Stored.OTHER:
                return row, marked, found is Stored.LOST
        raise Refused("digest-collision", "sixteen different objects with this SOP Instance UID have the same digest")

    def _coming(
        self,
        spooled: Path,
        header: Header,
        transfer_syntax: UID,
        size: int,
        source: Source,
        transfer: Transfer,
        sha256: str,
        digest: str,
    ) -> Coming:
        sop_class = str(header["SOPClassUID"])
        kind = kind_of(sop_class)
        if kind is not Kind.IMAGE and self._is_ours(header):
            kind = Kind.OURS
        arrival = Arrival(
            sop_uid=str(header["SOPInstanceUID"]),
            sop_class=sop_class,
            study_uid=str(header["StudyInstanceUID"]),
            series_uid=str(header["SeriesInstanceUID"]),
            modality=text(header, "Modality"),
            kind=kind,
            transfer_syntax=str(transfer_syntax),
            patient_id=text(header, "PatientID"),
            issuer=text(header, "IssuerOfPatientID"),
            birth_date=text(header, "PatientBirthDate"),
            accession=text(header, "AccessionNumber").strip(),
            digest=digest,
            path=self._filing.new_path(),
            size=size,
            calling_ae=source.calling_ae,
            address=source.address,
            announced=announced(header),
        )
        also = partial(self._also, arrival=arrival, source=source, transfer=transfer, sha256=sha256)
        has_more = sop_class in LABELS or transfer.is_to_open(arrival.study_uid)
        return Coming(spooled, arrival, also if has_more else None, is_usual=transfer.lately_new)

    def _is_ours(self, header: Header) -> bool:
        said = header.get("ContributingEquipmentSequence")
        items = said if isinstance(said, Sequence) else []  # whoever sends it says what it is
        named = [item.get("DeviceUID") for item in items]
        devices = [str(uid) for uid in named if isinstance(uid, str) and UID_PATTERN.fullmatch(uid)]
        with self.database.read() as tx:
            return results.is_ours(tx, header["SOPInstanceUID"], devices)

    def _also(self, tx: Any, arrival: Arrival, source: Source, transfer: Transfer, sha256: str) -> None:
        """What is written with the row of an instance that is new; `sha256` of its file, where it teaches: others wait
        for this transaction, and read nothing in it."""
        if arrival.sop_class in LABELS:
            self._teach(tx, arrival, source, sha256)
        transfer.opens(tx, arrival.study_uid)

    def _teach(self, tx: Any, arrival: Arrival, source: Source, sha256: str) -> None:
        """An outline is a label from those who may teach; from others it is kept, and counted."""
        if source.teaches:
            self._ask(tx, arrival.path, source, sha256)
        elif arrival.kind is Kind.LABEL and source.address != LOCAL:
            refusals.count_caller(tx, source.address, source.calling_ae, "labels-not-taken", NOT_TAUGHT)

    def _teach_again(self, sop_class: str, path: str, source: Source) -> None:
        """What was here already comes from somebody who may teach."""
        if _teaches(source, sop_class):
            with self.archive.at(path).open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            with self.database.write() as tx:
                self._ask(tx, path, source, sha256)

    def _ask(self, tx: Any, path: str, source: Source, sha256: str) -> None:
        came = "added" if source.address == LOCAL else "received"
        labels.arrived(tx, path, sha256, came, source.calling_ae, self.attempts)

    def refuse(self, source: Source, subject: str, refusal: Refused) -> None:
        """Keep a refusal of `take`, counted under its sender."""
        with self.database.write() as tx:
            refusals.record(tx, "instance", subject, refusal.code, refusal.sentence)
            refusals.count_caller(tx, source.address, source.calling_ae, refusal.code, refusal.sentence)


def _teaches(source: Source, sop_class: str) -> bool:
    """Whether an object of this source becomes a label."""
    return source.teaches and sop_class in LABELS


@contextmanager
def _open(spooled: Path, descriptor: int | None) -> Iterator[int]:
    if descriptor is not None:
        yield descriptor
        return
    with spooled.open("rb") as stream:
        yield stream.fileno()
