"""Asking a PACS and retrieving from it by DIMSE: what it does right, and what it does wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, CTImageStorage

from node.errors import Failed, NodeError, Refused, Unavailable
from node.pull import get, search
from node.pull.pacs import Limits, Way
from node.pull.query import Wish
from node.pull.retrieved import Follower
from node.pull.watch import Watch
from tests.fake_archive import FIND, GET, MOVE, FakeArchive
from tests.fake_pacs import FakePacs
from tests.pulling import QUICK, Here, dimse, look, opened, study
from tests.waiting import wait_until

WAYS: tuple[Way, ...] = ("move", "get")


@pytest.fixture
def here(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(tempfile, "tempdir", None)  # who receives sets it for the whole process
    with opened(tmp_path, migrated) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[FakeArchive]:
    with FakeArchive() as made:
        yield made


@pytest.fixture
def archive(server: FakeArchive) -> Iterator[FakeArchive]:
    server.reset([*study(1), *study(2), *study(3, PatientID="P2")])
    yield server
    server.over.set()


UID = study(1)[0].StudyInstanceUID

# ------------------------------------------------------------------- queries


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ({"accession": "A2"}, ["A2"]),
        ({"patient_id": "P1"}, ["A2", "A1"]),
        ({"study_uid": UID}, ["A1"]),
        ({"patient_id": "P1", "modality": "MR"}, []),
        ({"since": date(2026, 1, 2), "until": date(2026, 1, 3)}, ["A3", "A2"]),
        ({"since": date(2026, 1, 2), "until": date(2026, 1, 2), "modality": "CT"}, ["A2"]),
    ],
)
def test_a_study_is_found_by_what_a_person_knows(archive: FakeArchive, wish: dict[str, Any], wanted: list[str]) -> None:
    found = look(dimse(archive, "get"), **wish)
    assert [one.accession for one in found.studies] == wanted
    assert [one.images for one in found.studies] == [3] * len(wanted)
    assert not found.left_out
    asked = archive.asked[-1]
    assert asked.QueryRetrieveLevel == "STUDY"
    assert "PatientName" not in asked
    assert "SpecificCharacterSet" not in asked


def test_what_was_not_asked_for_is_never_taken(archive: FakeArchive) -> None:
    """A server that does not know a key answers with everything."""
    archive.deaf = True
    found = look(dimse(archive, "get"), accession="A2")
    assert [one.accession for one in found.studies] == ["A2"]
    assert found.left_out == 2


@pytest.mark.parametrize(
    ("never_says", "found", "left_out"),
    [
        ({"AccessionNumber"}, 0, 1),
        ({"StudyInstanceUID"}, 0, 1),
        ({"ModalitiesInStudy", "NumberOfStudyRelatedInstances", "StudyDescription"}, 1, 0),
    ],
)
def test_an_answer_without_the_key_that_was_asked_for_proves_nothing(
    archive: FakeArchive, never_says: set[str], found: int, left_out: int
) -> None:
    archive.never_says = never_says
    seen = look(dimse(archive, "get"), accession="A2", modality="CT")
    assert (len(seen.studies), seen.left_out) == (found, left_out)


def test_where_studies_are_not_counted_their_series_are(archive: FakeArchive) -> None:
    archive.never_says = {"NumberOfStudyRelatedInstances"}
    with search.asking(dimse(archive, "get"), "PLANIMETER", QUICK) as finder:
        assert search.images(finder, UID) == 3
        archive.never_says |= {"NumberOfSeriesRelatedInstances"}
        assert search.images(finder, UID) is None
        with pytest.raises(Refused, match="not-at-pacs"):
            search.images(finder, "1.2.3")
    assert archive.asked[-2].StudyInstanceUID == UID  # a query for series names its study


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "GB18030"])
def test_other_character_sets_are_read(archive: FakeArchive, charset: str) -> None:
    said = {"ISO_IR 100": "Schädel", "ISO_IR 192": "頭部 Schädel", "GB18030": "头部"}[charset]
    for ds in archive.objects:
        ds.StudyDescription = said
    archive.charset = charset
    (one,) = look(dimse(archive, "get"), accession="A1").studies
    assert one.description == said


def test_an_identifier_outside_of_ascii_says_its_character_set(archive: FakeArchive) -> None:
    for ds in archive.objects:
        ds.SpecificCharacterSet, ds.PatientID = "ISO_IR 192", "Ä1"
    archive.charset = "ISO_IR 192"
    assert len(look(dimse(archive, "get"), patient_id="Ä1").studies) == 3
    assert archive.asked[-1].SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    "wish",
    [
        {"accession": "A*"},
        {"patient_id": "P?"},
        {"accession": "A\\B"},
        {"study_uid": "1.2.x"},
        {"modality": "CT"},
        {},
        {"since": date(2026, 1, 2), "until": date(2026, 1, 1)},
        {"accession": "A1", "modality": "CT*"},
    ],
)
def test_a_question_that_would_match_more_than_was_meant_is_not_asked(
    archive: FakeArchive, wish: dict[str, Any]
) -> None:
    with pytest.raises(Refused, match="bad-query"):
        look(dimse(archive, "get"), **wish)
    assert not archive.asked


def test_more_matches_than_wanted_are_cancelled(archive: FakeArchive) -> None:
    archive.objects = [ds for number in range(1, 9) for ds in study(number, 1)]
    archive.endless = True
    found = look(dimse(archive, "get"), QUICK, patient_id="P1")
    assert found.more
    assert len(found.studies) == QUICK.most_matches
    assert archive.cancelled == 1


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (0xA700, Unavailable, "query-failed"),
        (0xFE00, Unavailable, "query-failed"),
        (0xA900, Refused, "query-refused"),
        (0xC001, Refused, "query-refused"),
        (0x0122, Refused, "query-refused"),
    ],
)
def test_a_status_of_a_query_is_an_outcome(
    archive: FakeArchive, status: int, error: type[NodeError], code: str
) -> None:
    archive.find_status, archive.find_comment = status, "no more licences"
    with pytest.raises(error, match=f"{code}.*0x{status:04X}"):
        look(dimse(archive, "get"), accession="A1")


def test_a_pacs_that_does_not_answer_a_query_is_left(archive: FakeArchive) -> None:
    archive.silent = True

    def asked() -> bool:
        """It is asked, where it is there within half a second too."""
        with pytest.raises(Unavailable) as unanswered:
            look(dimse(archive, "get"), Limits(timeout_seconds=0.5), accession="A1")
        return "did not answer in time" in str(unanswered.value)

    wait_until("no answer to a query", asked)
    with pytest.raises(Unavailable, match="unreachable"):
        look(dimse(FakeArchive(), "get"), QUICK, accession="A1")
    archive.silent, archive.refuse = False, {FIND}
    with pytest.raises(Refused, match=r"query-refused.*does not offer C-FIND"):
        look(dimse(archive, "get"), accession="A1")


def test_an_answer_without_end_is_not_read_to_its_end(archive: FakeArchive) -> None:
    archive.bloat = 1 << 26
    with pytest.raises(Unavailable, match="more than 16 MiB"):
        look(dimse(archive, "get"), accession="A1")


def test_priors_are_of_the_same_person_and_earlier(archive: FakeArchive) -> None:
    archive.objects = [
        *study(5),
        *study(1),
        *study(2, PatientBirthDate="19991231"),
        *study(3, IssuerOfPatientID="OTHER"),
        *study(4, Modality="MR"),
        *study(6),
        *study(8, StudyDate="20250101"),
    ]
    with search.asking(dimse(archive, "get"), "PLANIMETER", QUICK.__class__()) as finder:
        (now,) = search.studies(finder, Wish(accession="A5")).studies
        assert [one.accession for one in search.priors(finder, now, 5)] == ["A1", "A8"]
        assert [one.accession for one in search.priors(finder, now, 1)] == ["A1"]
        assert search.priors(finder, now, 0) == []


# ---------------------------------------------------------------- retrievals


@pytest.mark.parametrize("way", WAYS)
def test_a_study_comes_whole_and_through_the_durable_door(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    said = here.fetch(dimse(archive, way), UID, expected=3)
    assert said == "3 objects are here, 3 of them new"
    assert here.here(UID, "") == here.here(UID, f"{UID}.1") == 3
    assert here.here(study(2)[0].StudyInstanceUID, "") == 0
    files = list((here.archive.home / "store").rglob("*.dcm"))
    assert len(files) == 3
    assert not list(here.archive.spool.iterdir())
    assert here.progress[-1] == (3, 3)
    assert here.fetch(dimse(archive, way), UID, expected=3) == "3 objects are here, 0 of them new"
    assert len(list((here.archive.home / "store").rglob("*.dcm"))) == 3


@pytest.mark.parametrize("way", WAYS)
def test_one_series_comes_alone(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    other = study(1, 2)
    for ds in other:
        ds.SeriesInstanceUID = f"{UID}.2"
    archive.objects += other
    here.fetch(dimse(archive, way), UID, f"{UID}.2")
    assert (here.here(UID, f"{UID}.2"), here.here(UID, "")) == (2, 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (0xA702, Failed, "fetch-failed"),  # three sub-operations failed
        (0xA701, Unavailable, "fetch-failed"),
        (0xA900, Refused, "fetch-refused"),
        (0xC002, Failed, "fetch-failed"),
    ],
)
def test_a_status_of_a_retrieval_is_an_outcome(
    here: Here, archive: FakeArchive, way: Way, status: int, error: type[NodeError], code: str
) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    archive.status = status
    with pytest.raises(error, match=f"{code}.*0x{status:04X}"):
        here.fetch(dimse(archive, way), UID)


@pytest.mark.parametrize(("failed", "error"), [(3, Failed), (0, Unavailable), (None, Unavailable)])
def test_without_room_for_any_suboperation_a_pacs_is_busy_and_else_it_cannot_send(
    failed: int | None, error: type[NodeError]
) -> None:
    last = Dataset()
    last.Status = 0xA702
    if failed is not None:
        last.NumberOfFailedSuboperations = failed
    with pytest.raises(error, match=r"fetch-failed.*0xA702"):
        Follower("archive", "PLANIMETER", lambda *_: None).follow(
            [(last, None)], Watch(None, "archive", total_seconds=60)
        )


def test_a_pacs_that_does_not_know_us_says_what_to_register(here: Here, archive: FakeArchive) -> None:
    with pytest.raises(Unavailable, match=r"move-destination-unknown.*0xA801.*PLANIMETER.*port 11112") as caught:
        here.fetch(dimse(archive, "move"), UID)
    assert caught.value.retry_seconds == 900


def test_what_the_pacs_sends_somewhere_else_is_noticed(here: Here, archive: FakeArchive, pacs: FakePacs) -> None:
    here.receive()
    archive.knows["PLANIMETER"] = pacs.port
    with pytest.raises(Unavailable, match=r"sent-elsewhere.*sent 3 objects, and none came here"):
        here.fetch(dimse(archive, "move"), UID)
    assert len(pacs.objects) == 3


def test_a_receiver_that_is_down_is_thought_of(here: Here, archive: FakeArchive) -> None:
    with FakePacs() as gone:
        port = gone.port
    archive.knows["PLANIMETER"] = port
    with pytest.raises(NodeError, match=r"PLANIMETER.*port 11112"):
        here.fetch(dimse(archive, "move"), UID)


@pytest.mark.parametrize("way", WAYS)
def test_a_part_that_the_pacs_cannot_send_makes_it_incomplete(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    archive.fails = {archive.objects[1].SOPInstanceUID}
    with pytest.raises(Failed, match="fetch-incomplete: 2 of 3 objects are here"):
        here.fetch(dimse(archive, way), UID, expected=3)
    archive.fails = set()
    assert here.fetch(dimse(archive, way), UID, expected=3) == "3 objects are here, 1 of them new"


@pytest.mark.parametrize("way", WAYS)
def test_an_abort_in_the_middle_loses_nothing_that_came(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    archive.abort_after = 2
    with pytest.raises(Failed, match=r"fetch-failed.*in the middle.*2 objects were sent"):
        here.fetch(dimse(archive, way), UID, expected=3)
    assert here.here(UID, "") == 2
    archive.abort_after = None
    assert here.fetch(dimse(archive, way), UID, expected=3) == "3 objects are here, 1 of them new"


@pytest.mark.parametrize("way", WAYS)
def test_silence_is_not_waited_out(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    archive.stalls = True
    with pytest.raises(Failed, match=r"fetch-stalled.*no sign of life"):
        here.fetch(dimse(archive, way), UID, limits=QUICK)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_pacs_does_not_offer_is_refused(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.refuse = {MOVE, GET}
    with pytest.raises(Refused, match=r"fetch-refused.*does not offer"):
        here.fetch(dimse(archive, way), UID)


@pytest.mark.parametrize("way", WAYS)
def test_a_study_that_is_not_there_any_more_is_said_to_be_gone(here: Here, archive: FakeArchive, way: Way) -> None:
    archive.knows["PLANIMETER"] = here.receive()
    with pytest.raises(Refused, match="not-at-pacs"):
        here.fetch(dimse(archive, way), "1.2.3.4")


def test_a_study_larger_than_any_sane_one_is_not_begun(here: Here, archive: FakeArchive) -> None:
    with pytest.raises(Refused, match="too-many-images"):
        here.fetch(dimse(archive, "get"), UID, expected=101, limits=QUICK)
    assert archive.retrievals == 0


def test_an_object_that_is_refused_is_kept_out_and_said(here: Here, archive: FakeArchive) -> None:
    archive.objects[0].SeriesInstanceUID = "not a uid"
    said = here.fetch(dimse(archive, "get"), UID, expected=3)
    assert said == "2 objects are here, 2 of them new; 1 were kept out (uid-illegal)"


def test_a_full_disk_ends_a_retrieval_without_harm(here: Here, archive: FakeArchive) -> None:
    more_than_there_is = Limits(reserve_bytes=1 << 60)
    with pytest.raises(Unavailable, match="disk-reserve"):
        here.fetch(dimse(archive, "get"), UID, limits=more_than_there_is)


def test_a_disk_that_is_gone_begins_no_retrieval(here: Here, archive: FakeArchive) -> None:
    here.archive.home.rename(away := here.archive.home.with_name("away"))
    with pytest.raises(Unavailable, match="does not say how much is free: No such file"):
        here.fetch(dimse(archive, "get"), UID)
    away.rename(here.archive.home)
    assert archive.retrievals == 0


def test_what_cannot_be_kept_is_not_answered_with_success(here: Here, archive: FakeArchive) -> None:
    (here.archive.home / "store").rmdir()
    (here.archive.home / "store").write_text("no folder")  # whatever is to be kept cannot be
    with pytest.raises(Unavailable, match="not-stored"):
        here.fetch(dimse(archive, "get"), UID)
    assert here.here(UID, "") == 0


def test_few_kinds_are_offered_in_every_syntax_and_many_in_one_context_each() -> None:
    few, classes = get.offered([CTImageStorage])
    assert classes == [CTImageStorage]
    assert len(few) > 10
    assert all(isinstance(syntax, str) for _, syntax in few)
    many, classes = get.offered([])
    assert len(many) == len(classes) == get.MOST_CONTEXTS - 1
    assert len(many) + len(get.CONTEXTS) <= 128  # PS3.8 9.3.2.2: odd numbers up to 255
    assert CTImageStorage in classes


def test_objects_of_several_kinds_come_by_c_get(here: Here, archive: FakeArchive) -> None:
    archive.never_says = {"SOPClassesInStudy"}
    other = Dataset()
    other.update(study(1, 1)[0])
    other.file_meta = study(1, 1)[0].file_meta
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = Comprehensive3DSRStorage
    other.Modality, other.SeriesInstanceUID = "SR", f"{UID}.9"
    del other.PixelData
    archive.objects.append(other)
    assert here.fetch(dimse(archive, "get"), UID, expected=4) == "4 objects are here, 4 of them new"
