"""Files of the store that no row names: received whole, and never acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from rich.console import Console
from rich.progress import track

from db import arrivals
from db.database import Database

from ..errors import Refused
from ..inbound.header import looked_at, text
from ..study.archive import SUFFIX, Archive

logger = logging.getLogger(__name__)


def of_persons(
    archive: Archive, database: Database, persons: Collection[tuple[str, str]], console: Console | None = None
) -> Iterator[Path]:
    """Those whose header names one of these persons. All folders are looked through, and few headers read.

    Args:
        persons: issuer and PatientID of each, as rows have them.
    """
    shelves = sorted((archive.home / "store").glob("*/*/"))
    for shelf in track(
        shelves, "looking for files without a row", console=console or Console(quiet=True), transient=True
    ):
        files = {file.relative_to(archive.home).as_posix(): file for file in shelf.glob(f"*{SUFFIX}")}
        with database.read() as tx:
            named = arrivals.named(tx, files)
        for path in sorted(files.keys() - named):
            if _person(files[path]) in persons:
                yield files[path]


def _person(file: Path) -> tuple[str, str] | None:
    try:
        header = looked_at(file, read_file_meta_info(file).TransferSyntaxUID)
    except (Refused, InvalidDicomError, AttributeError, OSError) as error:
        logger.warning("a file of the store without a row cannot be read: %s", type(error).__name__)
        return None
    return text(header, "IssuerOfPatientID"), text(header, "PatientID").strip()
