"""Whose study it is, and of what: read from one image when somebody looks. Every string is hostile, and a patient's."""

from __future__ import annotations

from dataclasses import dataclass

from db import one_study
from db.database import Database

from ...errors import NodeError
from ...study import facts
from ...study.archive import Archive

READ = {
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "description": "StudyDescription",
    "institution": "InstitutionName",
}
LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Heading:
    """As the header of one image has it; empty where it has none, or where the image is not kept any more."""

    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    study_date: str = ""
    description: str = ""
    institution: str = ""


def heading(database: Database, archive: Archive, study_uid: str) -> Heading:
    """Of any image of the study."""
    with database.read() as tx:
        row = one_study.find(tx, study_uid)
        series = one_study.series_of(tx, row["id"]) if row is not None else ()
    paths = [one["path"] for one in sorted(series, key=lambda one: str(one["kind"]) != "image")]
    for path in paths[:1]:
        try:
            header = facts.read(archive.at(path), also=tuple(READ.values()))
        except (NodeError, OSError):  # nothing of it can be read, or it is gone: the rows say all there is
            return Heading()
        return Heading(**{name: facts.text(header, keyword)[:LONGEST] for name, keyword in READ.items()})
    return Heading()
