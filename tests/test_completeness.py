"""A study is complete when the PACS's images are here, or after a silence; whatever the PACS says, nothing blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from db import completeness, studies
from db.arrivals import Kind
from db.database import Clock, Database
from db.tables import job, study
from node.operations import completeness as counting
from node.pull.pacs import Limits
from tests.fake_archive import FakeArchive
from tests.pulling import dimse
from tests.pulling import study as images_of
from tests.test_settling import arrival, arrive

QUIET, WAIT = 60.0, {"pacs": 600.0}


def came(database: Database, images: int, ago: float) -> None:
    """A study of so many images, the last of which came so many seconds ago."""
    arrive(database, *(arrival(number) for number in range(images)))
    arrive(database, arrival(99, Kind.OTHER))
    with database.write() as tx:
        tx.execute(sa.update(study).values(last_image=Clock() - ago))


def said(database: Database, images: int | None, *, asked: float = 0, since: float = 0, pacs: str = "pacs") -> None:
    """What the PACS said, so many seconds ago."""
    with database.write() as tx:
        tx.execute(
            sa.update(study).values(
                pacs_images=images, pacs_name=pacs, pacs_asked=Clock() - asked, pacs_since=Clock() - since
            )
        )


def settled(database: Database) -> str | None:
    """Why the study was closed, if it was; its job is there then."""
    with database.read() as tx:
        due = studies.any_due(tx, QUIET, WAIT)
    with database.write() as tx:
        closed = studies.settle(tx, QUIET, 3, WAIT)
        assert bool(closed) is due
        assert tx.execute(sa.select(sa.func.count()).select_from(job)).scalar() == len(closed)
        return str(tx.execute(sa.select(study.c.closed_because)).scalar()) if closed else None


def test_all_that_the_pacs_has_is_complete_before_it_is_quiet(database: Database) -> None:
    came(database, 3, ago=12)
    said(database, 3, asked=1, since=11)
    assert settled(database) == "all 3 images that pacs has are here"


@pytest.mark.parametrize(
    ("images", "asked", "since"),
    [
        (3, 1, 5),  # it may still be receiving itself
        (3, 60, 90),  # the last image came after the answer
        (2, 1, 11),  # it is behind us
        (4, 1, 11),
        (None, 1, 11),
        (0, 1, 11),
    ],
)
def test_what_is_not_sure_waits_for_the_silence(
    database: Database, images: int | None, asked: float, since: float
) -> None:
    came(database, 3, ago=12)
    said(database, images, asked=asked, since=since)
    assert settled(database) is None


@pytest.mark.parametrize(
    ("ago", "images", "asked", "because"),
    [
        (61, None, 1, "no image for 60 s"),
        (61, 4, 1, None),
        (500, 4, 1, None),
        (601, 4, 1, "no image for 60 s; 3 of the 4 images that pacs has came in time"),
        (61, 2, 1, "no image for 60 s; all 2 images that pacs has are here"),
        (130, 4, 121, "no image for 60 s; pacs does not say any more how many there are"),
    ],
)
def test_a_quiet_study_waits_for_what_the_pacs_has_but_not_for_ever(
    database: Database, ago: float, images: int | None, asked: float, because: str | None
) -> None:
    came(database, 3, ago)
    said(database, images, asked=asked, since=asked)
    assert settled(database) == because


def test_a_pacs_that_left_the_configuration_holds_nothing(database: Database) -> None:
    came(database, 3, ago=61)
    said(database, 4, pacs="gone")
    assert settled(database) is not None


# -------------------------------------------------------------------- asking


@pytest.fixture(scope="module")
def server() -> Iterator[FakeArchive]:
    with FakeArchive() as made:
        yield made


@pytest.fixture
def archive(server: FakeArchive) -> Iterator[FakeArchive]:
    server.reset(images_of(1, 3))
    for ds in server.objects:
        ds.StudyInstanceUID = "1.2"
    yield server
    server.over.set()


def ask(database: Database, archive: FakeArchive, counts: bool = True) -> int:
    pacs = {"pacs": dataclasses.replace(dimse(archive, "get"), name="pacs", counts=counts)}
    return counting.ask(database, pacs, "PLANIMETER", Limits(timeout_seconds=60))


def noted(database: Database) -> int | None:
    with database.read() as tx:
        return tx.execute(sa.select(study.c.pacs_images)).scalar()


def test_the_pacs_is_asked_about_what_arrives(database: Database, archive: FakeArchive) -> None:
    came(database, 2, ago=-30)
    assert ask(database, archive) == 0  # more is coming at this moment
    came(database, 3, ago=12)
    assert ask(database, archive, counts=False) == 0
    assert ask(database, archive) == 1
    assert noted(database) == 3
    with database.write() as tx:
        tx.execute(sa.update(study).values(pacs_asked=Clock() + 30))
    assert ask(database, archive) == 0  # it was asked just now
    with database.write() as tx:
        tx.execute(sa.update(study).values(pacs_asked=Clock() - 11, pacs_since=Clock() - 11))
    assert settled(database) is None
    assert ask(database, archive) == 1
    assert settled(database) == "all 3 images that pacs has are here"
    assert ask(database, archive) == 0


def test_only_images_are_counted(database: Database, archive: FakeArchive) -> None:
    (report,) = images_of(1, 1, StudyInstanceUID="1.2", Modality="SR", SeriesInstanceUID="1.2.9")
    archive.objects.append(report)
    came(database, 3, ago=12)
    ask(database, archive)
    assert noted(database) == 3


@pytest.mark.parametrize(
    "fault", [{"find_status": 0xA700}, {"never_says": {"NumberOfSeriesRelatedInstances"}}, {"objects": []}]
)
def test_a_pacs_that_says_nothing_blocks_nothing(
    database: Database, archive: FakeArchive, fault: dict[str, object]
) -> None:
    for knob, value in fault.items():
        setattr(archive, knob, value)
    came(database, 3, ago=61)
    said(database, 4, asked=20)
    assert ask(database, archive) == 1
    assert noted(database) is None
    assert settled(database) == "no image for 60 s"
    with database.write() as tx:
        completeness.note(tx, 1, "pacs", 5)
        completeness.note(tx, 1, "pacs", 5)
