"""Look for studies at a PACS: the answers, judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ..audit import question
from ..audit.trail import SILENT, Trail
from ..errors import Refused
from ..objects.characters import texts
from .find import FIND, Finder
from .pacs import Limits, Pacs
from .query import SERIES_KEYS, STUDY_KEYS, Answers, Query, Search, SeriesFound, StudyFound, Wish, series_of, study_of
from .web import WebFinder


class Asks(Protocol):
    """C-FIND or QIDO-RS."""

    def ask(self, query: Query) -> Answers:
        """What the PACS answers."""

    def close(self) -> None:
        """No more questions."""


@dataclass(frozen=True)
class _Audited:
    """The audit trail is told of every question."""

    finder: Asks
    pacs: Pacs
    trail: Trail

    def ask(self, query: Query) -> Answers:
        to = self.pacs.target
        of = dict(peer=self.pacs.name, ae=to.ae_title, address=to.machine, sop_class=FIND)
        question.tell(self.trail, query.identifier(), **of)
        return self.finder.ask(query)

    def close(self) -> None:
        self.finder.close()


@contextmanager
def asking(pacs: Pacs, ae_title: str, limits: Limits, trail: Trail = SILENT) -> Iterator[Asks]:
    """Something that asks this PACS; nothing is sent before the first question."""
    finder: Asks = WebFinder(pacs, ae_title, limits) if pacs.target.web else Finder(pacs, ae_title, limits)
    finder = _Audited(finder, pacs, trail)
    try:
        yield finder
    finally:
        finder.close()


def studies(finder: Asks, wish: Wish) -> Search:
    """The studies that are wished for, newest first.

    Raises:
        Refused: `bad-query`; as `ask`.
        Unavailable, Failed: as `ask`.
    """
    answers = finder.ask(wish.query())
    found: dict[str, StudyFound] = {}
    left_out = answers.unreadable
    for ds in answers.found:
        study = study_of(ds)
        if study is None or not wish.is_met_by(study) or not _has_modality(finder, study, wish.modality):
            left_out += 1
        else:
            found[study.study_uid] = study
    newest_first = sorted(found.values(), key=lambda one: (one.study_date, one.study_uid), reverse=True)
    return Search(tuple(newest_first), left_out, answers.more)


def _has_modality(finder: Asks, study: StudyFound, modality: str) -> bool:
    """Where the PACS does not say what a study has, its series do."""
    if not modality or study.modalities:
        return True
    return any(one.modality == modality for one in series(finder, study.study_uid))


def series(finder: Asks, study_uid: str) -> Sequence[SeriesFound]:
    """The series of a study.

    Raises:
        Refused, Unavailable, Failed: as `ask`.
    """
    answers = finder.ask(Query("SERIES", {"StudyInstanceUID": study_uid}, SERIES_KEYS))
    found = {one.series_uid: one for ds in answers.found if (one := series_of(ds)) is not None}
    return list(found.values())


def priors(finder: Asks, study: StudyFound, most: int) -> Sequence[StudyFound]:
    """Earlier studies of the same patient with a modality in common, newest first.

    The same patient is the same PatientID of the same issuer, where the PACS says that, and of the same birth date.
    """
    if not study.patient_id or not study.study_date:
        return ()
    same = studies(finder, Wish(patient_id=study.patient_id)).studies
    return [
        one
        for one in same
        if one.study_uid != study.study_uid
        and "" < one.study_date <= study.study_date
        and one.issuer == study.issuer
        and one.birth_date == study.birth_date
        and set(one.modalities) & set(study.modalities)
    ][:most]


def sop_classes(finder: Asks, study_uid: str) -> tuple[str, ...]:
    """The SOP classes of a study's objects; none where the PACS does not say."""
    answers = finder.ask(Query("STUDY", {"StudyInstanceUID": study_uid}, ("SOPClassesInStudy",)))
    return tuple(uid for ds in answers.found for uid in texts(ds, "SOPClassesInStudy"))


def images(finder: Asks, study_uid: str) -> int | None:
    """How many objects a study has, by its study or else by its series; None where the PACS does not count.

    Raises:
        Refused: `not-at-pacs`; as `ask`.
    """
    answers = finder.ask(Query("STUDY", {"StudyInstanceUID": study_uid}, STUDY_KEYS))
    found = [one for ds in answers.found if (one := study_of(ds)) is not None and one.study_uid == study_uid]
    if not found:
        raise Refused("not-at-pacs", "the PACS has no such study")
    if found[0].images is not None:
        return found[0].images
    counts = [one.images for one in series(finder, study_uid)]
    return sum(one for one in counts if one is not None) if counts and None not in counts else None
