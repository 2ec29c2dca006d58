"""What a PACS is asked, and what it answers: of studies and of their series (PS3.4 C.6.2, Study Root).

Only keys that are needed are asked for: those that match, those that show what would come, and those that prove that an
answer is the one that was meant. Relational queries are not assumed: a query for series names its study.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from pydicom.dataset import Dataset

from ..errors import Refused
from ..objects.characters import UNREADABLE, texts
from ..uids import UID_PATTERN

STUDY_KEYS = (
    "StudyInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyDate",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)
#: what a search for studies may ask to be matched
MATCHED = ("StudyInstanceUID", "PatientID", "AccessionNumber", "StudyDate", "ModalitiesInStudy")
SERIES_KEYS = ("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")
#: PS3.4 C.2.2.2: these would match more than was meant
WILD = re.compile(r"[*?\\\x00-\x1f]")
MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")


@dataclass(frozen=True)
class Query:
    """One question.

    Attributes:
        level: of the answers.
        matching: keyword -> value that answers have to match.
        returned: keywords that answers are to have.
    """

    level: Literal["STUDY", "SERIES"]
    matching: Mapping[str, str]
    returned: Sequence[str]

    def identifier(self) -> Dataset:
        """As the data set of a C-FIND request."""
        ds = Dataset()
        if any(not value.isascii() for value in self.matching.values()):
            ds.SpecificCharacterSet = "ISO_IR 192"
        ds.QueryRetrieveLevel = self.level
        for keyword in (*self.returned, *self.matching):
            setattr(ds, keyword, self.matching.get(keyword) or None)
        return ds


@dataclass(frozen=True)
class Answers:
    """What a PACS answered.

    Attributes:
        found: a data set for each match.
        more: it has more than were asked for.
        unreadable: answers that are no data sets.
    """

    found: Sequence[Dataset]
    more: bool = False
    unreadable: int = 0


@dataclass(frozen=True)
class SeriesFound:
    """A series as the PACS describes it; `images` is None where it does not count them."""

    series_uid: str
    modality: str
    description: str
    images: int | None


@dataclass(frozen=True)
class StudyFound:
    """A study as the PACS describes it; empty or None is what it did not say."""

    study_uid: str
    patient_id: str = ""
    issuer: str = ""
    birth_date: str = ""
    accession: str = ""
    study_date: str = ""
    description: str = ""
    modalities: tuple[str, ...] = ()
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Which studies are looked for; what is empty does not matter."""

    accession: str = ""
    patient_id: str = ""
    study_uid: str = ""
    since: date | None = None
    until: date | None = None
    modality: str = ""

    def query(self) -> Query:
        """The question for it.

        Raises:
            Refused: `bad-query`: it would match anything, or not what was meant.
        """
        for name, value in (("accession number", self.accession), ("patient ID", self.patient_id)):
            if WILD.search(value):
                raise Refused("bad-query", f"the {name} holds a letter that would match other ones too: * ? or \\")
        if self.study_uid and not UID_PATTERN.fullmatch(self.study_uid):
            raise Refused("bad-query", f"{self.study_uid!r} is no Study Instance UID")
        if self.modality and not MODALITY.fullmatch(self.modality):
            raise Refused("bad-query", f"{self.modality!r} is no modality such as CT")
        if self.since and self.until and self.since > self.until:
            raise Refused("bad-query", f"the first day, {self.since}, is after the last one, {self.until}")
        if not (self.accession or self.patient_id or self.study_uid or (self.since and self.until)):
            raise Refused("bad-query", "say which studies: an accession number, a patient ID, a study UID, or days")
        days = "-".join(f"{day:%Y%m%d}" for day in (self.since, self.until) if day) if self.since else ""
        if self.since == self.until and self.since:
            days = f"{self.since:%Y%m%d}"
        matching = zip(MATCHED, (self.study_uid, self.patient_id, self.accession, days, self.modality), strict=True)
        return Query("STUDY", {key: value for key, value in matching if value}, STUDY_KEYS)

    def is_met_by(self, study: StudyFound) -> bool:
        """Whether an answer proves to be what was asked for.

        A server that does not know a key answers with everything, and one that leaves a key out proves nothing. Only
        the modalities of a study are optional (PS3.4 table C.6-5): without them, the series have to tell.
        """
        day = f"{self.since:%Y%m%d}" if self.since else ""
        last = f"{self.until:%Y%m%d}" if self.until else "9" * 8
        return (
            self.study_uid in ("", study.study_uid)
            and self.patient_id in ("", study.patient_id)
            and self.accession in ("", study.accession)
            and (not day or day <= study.study_date <= last)
            and (not self.modality or not study.modalities or self.modality in study.modalities)
        )


@dataclass(frozen=True)
class Search:
    """What came of a search.

    Attributes:
        studies: newest first.
        left_out: answers that were not what was asked for, or did not prove it.
        more: the PACS has more.
    """

    studies: Sequence[StudyFound] = field(default_factory=tuple)
    left_out: int = 0
    more: bool = False


def study_of(ds: Dataset) -> StudyFound | None:
    """A study out of an answer; None where it names none."""
    uid = _text(ds, "StudyInstanceUID")
    if not UID_PATTERN.fullmatch(uid):
        return None
    return StudyFound(
        study_uid=uid,
        patient_id=_text(ds, "PatientID"),
        issuer=_text(ds, "IssuerOfPatientID"),
        birth_date=_text(ds, "PatientBirthDate"),
        accession=_text(ds, "AccessionNumber"),
        study_date=_text(ds, "StudyDate").replace(".", ""),
        description=_text(ds, "StudyDescription"),
        modalities=tuple(sorted({one for one in texts(ds, "ModalitiesInStudy") if one})),
        images=_count(ds, "NumberOfStudyRelatedInstances"),
    )


def series_of(ds: Dataset) -> SeriesFound | None:
    """A series out of an answer; None where it names none."""
    uid = _text(ds, "SeriesInstanceUID")
    if not UID_PATTERN.fullmatch(uid):
        return None
    described = _text(ds, "SeriesDescription")
    return SeriesFound(uid, _text(ds, "Modality"), described, _count(ds, "NumberOfSeriesRelatedInstances"))


def _text(ds: Dataset, keyword: str) -> str:
    """One value; what cannot be read is no value: an identifier that is damaged proves nothing."""
    found = texts(ds, keyword)
    return "" if not found or UNREADABLE in found[0] else found[0]


def _count(ds: Dataset, keyword: str) -> int | None:
    text = _text(ds, keyword)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
