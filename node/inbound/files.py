"""Take in Part 10 files that come without an association: from a disk, or from a DICOMweb server."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

from db.arrivals import Seen

from ..audit.transfer import Transfer
from ..errors import Refused
from ..study.facts import UNREADABLE
from .inbox import LOCAL, Inbox, Source
from .peers import printable
from .syntaxes import ACCEPTED

SUBMITTED = Source("SUBMIT", LOCAL)


def take_file(inbox: Inbox, file: Path, source: Source = SUBMITTED, transfer: Transfer | None = None) -> Seen:
    """Take in one Part 10 file. Its preamble and file meta information are not kept: ours are written instead.

    Args:
        source: whom it is taken in for.
        transfer: what it belongs to, for the audit trail.

    Raises:
        Refused: it is no Part 10 file, its transfer syntax is not taken, or `Inbox.take` refuses it.
    """
    spooled, syntax = spool_file(inbox, file)
    return inbox.take(spooled, syntax, source, transfer=transfer)


def spool_file(inbox: Inbox, file: Path) -> tuple[Path, UID]:
    """A copy of a Part 10 file in the spool, with file meta information of our own; and its transfer syntax.

    Raises:
        Refused: it is no Part 10 file, or its transfer syntax is not taken.
    """
    spooled = inbox.archive.new_spool_file()
    try:
        with file.open("rb") as stream, spooled.open("xb") as target:
            meta = submitted_meta(stream, file)
            target.write(b"\0" * 128 + b"DICM")
            write_file_meta_info(target, meta)
            shutil.copyfileobj(stream, target, 1 << 20)
    except BaseException:
        spooled.unlink(missing_ok=True)
        raise
    return spooled, meta.TransferSyntaxUID


def submitted_meta(source: object, file: Path) -> FileMetaDataset:
    """File meta information of our own, with the file's transfer syntax and UIDs; the stream stands at the data set."""
    try:
        read_preamble(source, force=False)
        found = read_file_meta_info(file)
        length = 144 + int(found.FileMetaInformationGroupLength)
        syntax = UID(found.TransferSyntaxUID)
        sop_class, sop_uid = UID(found.MediaStorageSOPClassUID), UID(found.MediaStorageSOPInstanceUID)
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise Refused("no-file-meta", "this is no DICOM file: it has no file meta information (PS3.10 7.1)") from error
    if syntax not in ACCEPTED:
        raise Refused("transfer-syntax-refused", f"its transfer syntax, {printable(syntax.name)}, is not taken")
    if not sop_class or not sop_uid:
        raise Refused("uid-missing", "its file meta information names no SOP class or instance")
    source.seek(length)  # type: ignore[attr-defined]
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_uid
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta
