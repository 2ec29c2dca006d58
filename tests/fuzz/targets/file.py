"""Part 10 files that come without an association: their meta information is replaced, their header read (PS3.10 7)."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from node.errors import Refused
from node.inbound.association.data_set import file_meta
from node.inbound.files import spool_file
from node.inbound.header import WANTED, data_set_start, looked_at, read_header, text
from node.inbound.opened import mapped
from node.inbound.syntaxes import ACCEPTED
from tests.fuzz import words
from tests.fuzz.target import Reader, Target
from tests.fuzz.targets import elements

CODES = {"no-file-meta", "transfer-syntax-refused", "uid-missing", "uid-illegal", "truncated", "malformed"}
UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class Spool:
    """As much of an inbox as a file needs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"planimeter-fuzz-{os.getpid()}-", dir="/dev/shm"))
        self.archive = self

    def new_spool_file(self) -> Path:
        return self.folder / "spooled"


@cache
def spool() -> Any:
    return Spool()


def read(file: Path) -> Dataset:
    """Spool a file, and look at what lies there."""
    return looked_at(*spool_file(spool(), file))


def check(read: Reader, data: bytes) -> bool:
    file, spooled = spool().folder / "file", spool().new_spool_file()
    file.write_bytes(data)
    try:
        header: Dataset = read(file)
        with spooled.open("rb") as stream, mapped(stream.fileno()) as view:
            assert bytes(view[:132]) == b"\0" * 128 + b"DICM", "a preamble that is not ours"
            start = data_set_start(view)
            stored, kept = bytes(view), bytes(view[start:])
    except Refused as refusal:
        assert refusal.code in CODES
        assert refusal.sentence.isprintable()
        return False
    finally:
        spooled.unlink(missing_ok=True)
    for keyword in UIDS:
        uid = text(header, keyword)
        assert 1 <= len(uid) <= 64 and not set(uid) - set("0123456789."), f"{uid!r} is a {keyword}"
    assert data.endswith(kept), "the data set is not kept as it came"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = dcmread(BytesIO(stored))
    assert theirs.file_meta.TransferSyntaxUID in ACCEPTED
    for keyword in UIDS:
        assert text(header, keyword) == text(theirs, keyword), f"pydicom reads another {keyword}"
    return True


def unchecked(file: Path) -> Dataset:
    """Does not look at the UIDs."""
    spooled, syntax = spool_file(spool(), file)
    with spooled.open("rb") as stream, mapped(stream.fileno()) as data:
        return read_header(data, data_set_start(data), syntax, WANTED)


def seeds() -> Iterable[bytes]:
    for syntax in elements.SYNTAXES:
        yield file_meta("1.2", "1.2.3", syntax) + elements.data_set(syntax)
    yield file_meta("1.2", "1.2.3", UID("1.2.840.10008.1.2.1.99")) + b"x" * 99
    whole = file_meta("1.2", "1.2.3", elements.SYNTAXES[0]) + elements.data_set(elements.SYNTAXES[0])
    yield b"MZ" + whole[2:]
    yield whole[:150]


TARGET = Target(
    read=read,
    check=check,
    seeds=seeds,
    faults={"does not look at the UIDs": unchecked},
    words=[*words.ELEMENTS, *words.LENGTHS, b"DICM", b"1.2.840.10008.1.2", b"\x02\x00\x10\x00UI"],
)
