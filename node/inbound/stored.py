"""Whether a stored file has the data set that came again.

It is read and not mapped: a page of a map that the disk cannot give (a bad sector, a file server that has forgotten the
file) ends the process, and the sender who comes again would end the next one.
"""

from __future__ import annotations

import errno
from enum import Enum, auto
from pathlib import Path

import xxhash
from pydicom.uid import UID

from ..errors import Refused
from .header import data_set_start, digest_of

#: so much of a file is read and compared at once
STEP = 1 << 20
#: what is before the data set is no longer than this; ours has some 350 bytes
LONGEST_META = 1 << 16
#: an error of the medium: these bytes do not come back
UNREADABLE = frozenset({errno.EIO, errno.ESTALE})


class Stored(Enum):
    """What a stored file is to the data set that came."""

    SAME = auto()
    OTHER = auto()
    """another object with the same digest"""
    LOST = auto()
    """the object that came, once: the file is not there, cannot be read, or has not the bytes any more"""


def compared(file: Path, digest: str, transfer_syntax: UID, data: memoryview) -> Stored:
    """Compare a stored file with a data set that has the digest of its row.

    Args:
        digest: `header.digest_of` the data set, as it is in the row.

    Raises:
        OSError: the file cannot be opened or read now, for a reason that may pass.
    """
    try:
        found = _same(file, transfer_syntax, data)
    except FileNotFoundError:
        return Stored.LOST
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return Stored.LOST
    if found is None:
        return Stored.SAME
    was_told = digest != digest_of(transfer_syntax, data)  # the caller's own word, by which no file can be judged
    return Stored.OTHER if found == digest or was_told else Stored.LOST


def _same(file: Path, transfer_syntax: UID, data: memoryview) -> str | None:
    """None where a file has this data set; otherwise the digest of the one that it has, empty where it has none."""
    is_same, at, digest = True, 0, xxhash.xxh3_128(str(transfer_syntax).encode())
    with file.open("rb", buffering=0) as stream:
        try:
            start = data_set_start(memoryview(stream.read(LONGEST_META) or b""))
        except Refused:
            return ""
        stream.seek(start)
        while piece := stream.read(STEP):
            with data[at : at + len(piece)] as here:
                is_same = is_same and piece == bytes(here)  # views are compared byte by byte, and nobody runs meanwhile
            at += len(piece)
            digest.update(piece)
    return None if is_same and at == len(data) else digest.hexdigest()
