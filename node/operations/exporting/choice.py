"""Which studies of those that are here are to be exported: asked for as one asks a PACS, by keywords and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db import exports
from db.database import Database

from ...errors import Refused
from ...study.archive import Archive
from ..one_study.heading import heading

#: keyword -> what `db.exports.studies` calls it
COLUMNS = {
    "AccessionNumber": "accession",
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer",
    "Modality": "modality",
    "ModalitiesInStudy": "modality",
}
STUDY_DATE = "StudyDate"


def find(database: Database, archive: Archive, asked: Sequence[str], **which: Any) -> list[str]:
    """The UIDs of the studies of which all of it holds, the oldest first.

    Args:
        asked: KEYWORD=VALUE each; of StudyDate a day or a range (PS3.4 C.2.2.2.5), as 20260101-20260331.
        which: as `db.exports.studies` takes it; None: not asked.

    Raises:
        Refused: `unknown-query`, `no-such-time`, `nothing-to-export`: no study is so.
    """
    wanted = {name: value for name, value in which.items() if value is not None}
    days = None
    for one in asked:
        keyword, equals, value = (part.strip() for part in one.partition("="))
        if not equals or not value or (keyword != STUDY_DATE and keyword not in COLUMNS):
            known = ", ".join([*COLUMNS, STUDY_DATE])
            raise Refused("unknown-query", f"--query takes KEYWORD=VALUE, with one of {known}")
        if keyword == STUDY_DATE:
            days = _days(value)
        elif wanted.setdefault(COLUMNS[keyword], value) != value:
            raise Refused("unknown-query", f"{keyword} is asked for twice, with two values")
    with database.read() as tx:
        found = exports.studies(tx, **wanted)
    if days is not None:
        first, last = days
        dates = {uid: heading(database, archive, uid).study_date for uid in found}
        found = [uid for uid in found if dates[uid] and first <= dates[uid] <= last]
    if not found:
        raise Refused("nothing-to-export", "no study that has settled is so")
    return found


def _days(value: str) -> tuple[str, str]:
    first, dash, last = (part.strip() for part in value.partition("-"))
    if not dash:
        last = first
    if not (first or last) or any(part and not (len(part) == 8 and part.isdecimal()) for part in (first, last)):
        raise Refused("no-such-time", f"{value!r} is no day and no range of days, such as 20260101-20260331")
    return first or "0", last or "99999999"
