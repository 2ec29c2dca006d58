"""What a PACS has of a day that never came is found, shown until it comes, and fetched where that is wanted."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from db import reconciliations
from db.database import Clock
from db.job_states import JobKind
from db.tables import job
from node import cli, reconciling
from node.app import Node
from node.errors import Refused
from node.operations import reconcile
from node.operations.status import overview
from tests.driving import jobs_of, take_in, work_off
from tests.fake_archive import FakeArchive
from tests.pulling import study
from tests.sites import REST, Site

REPORT = {"Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.34"}
DAYS = [date(2026, 1, 3), date(2026, 1, 2), date(2026, 1, 1)]


@pytest.fixture(autouse=True)
def _tempdir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)  # who receives sets it for the whole process


@pytest.fixture
def _noon() -> Iterator[None]:
    """It is about noon here: no day ends within the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", f"HERE{datetime.now(UTC).hour - 12:+d}")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with FakeArchive([ds for number in (1, 2, 3) for ds in study(number)]) as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, migrated: Path, archive: FakeArchive) -> Site:
    made = Site(tmp_path, migrated)
    query = f'query = {{ host = "127.0.0.1", port = {archive.port}, retrieve = "get", reconcile = true }}'
    archive_peer = f'\n[[peer]]\nname = "archive"\nae_title = "ARCHIVE"\n{query}\n'
    made.write(archive_peer, rest=f'{REST}[fetch]\nwindow = ""\nreconcile = "03:30"\nreconcile_fetch = true\n')
    return made


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    with site.started() as opened:
        yield opened


def gone_through(node: Node, *modalities: str) -> reconcile.Reconciled:
    pacs = node.fetch.pacs["archive"]
    return reconcile.reconcile(node.database, pacs, node.ae_title, node.fetch.limits, DAYS, modalities)


def shown(node: Node) -> list[tuple[str, int | None, int]]:
    return [(one["study_uid"][-1], one["images"], one["here"]) for one in overview(node.database)["lacking"]]


def test_what_never_came_and_what_is_not_whole_is_shown_until_it_comes(node: Node) -> None:
    take_in(node, study(1))
    take_in(node, study(2)[:2])
    found = gone_through(node)
    assert found.sentence == "2 of 3 studies are not here, or not whole"
    assert shown(node) == [("3", 3, 0), ("2", 3, 2)]
    take_in(node, study(2)[2:])
    assert shown(node) == [("3", 3, 0)]
    take_in(node, study(3))
    assert shown(node) == []
    assert gone_through(node).lacking == ()


def test_what_is_no_image_and_what_this_node_made_is_not_missed(node: Node, archive: FakeArchive) -> None:
    take_in(node, study(1))
    dose = study(1, 1)[0]
    dose.SOPInstanceUID, dose.SeriesInstanceUID = "1.2.3.9", "1.2.3.8"
    for keyword, value in REPORT.items():
        setattr(dose, keyword, value)
    archive.objects.append(dose)
    assert "1" not in {one.study_uid[-1] for one in gone_through(node).lacking}


def test_only_the_modalities_that_matter_are_asked_for(node: Node, archive: FakeArchive) -> None:
    archive.objects += study(4, StudyDate="20260103", Modality="CR")
    assert {one.study_uid[-1] for one in gone_through(node, "CR").lacking} == {"4"}
    assert len(gone_through(node).lacking) == 4


def test_a_pacs_that_answers_everything_to_everything_makes_nobody_lack_anything(
    node: Node, archive: FakeArchive
) -> None:
    archive.deaf = True
    archive.objects = study(9)
    found = gone_through(node)
    assert (found.studies, found.left_out) == (0, 3)
    assert "3 answers were left out" in found.sentence


@pytest.mark.usefixtures("_noon")
def test_it_is_asked_once_a_day_when_its_time_has_come_and_then_fetched(node: Node, archive: FakeArchive) -> None:
    now = datetime(2026, 1, 4, 3, 29, tzinfo=UTC)
    reconciling.ask(node, now)
    assert not jobs_of(node, JobKind.RECONCILE)
    for minute in (30, 31):
        reconciling.ask(node, now.replace(minute=minute))
    assert len(jobs_of(node, JobKind.RECONCILE)) == 1
    yesterday = f"{datetime.now().astimezone().date() - timedelta(days=1):%Y%m%d}"
    for ds in archive.objects:
        ds.StudyDate = yesterday
    work_off(node, JobKind.RECONCILE)
    (done,) = jobs_of(node, JobKind.RECONCILE)
    assert (done["state"], done["reason"]) == (
        "done",
        "reconciled: 3 of 3 studies are not here, or not whole; they are fetched",
    )
    work_off(node, JobKind.FETCH)
    assert shown(node) == []
    reconciling.ask(node, now.replace(day=5, minute=30))
    assert len(jobs_of(node, JobKind.RECONCILE)) == 2


def test_a_pacs_that_is_away_is_asked_again_later(node: Node, archive: FakeArchive) -> None:
    archive.find_status = 0xA700
    reconciling.ask(node, datetime(2026, 1, 4, 4, tzinfo=UTC))
    work_off(node, JobKind.RECONCILE)
    (waits,) = jobs_of(node, JobKind.RECONCILE)
    assert (waits["state"], waits["attempts"]) == ("waiting", 0)
    with node.database.read() as tx:
        assert tx.execute(sa.select(job.c.run_after - Clock())).scalar_one() > 0
        assert reconciliations.days(tx, 10) == []


@pytest.mark.usefixtures("_noon")
def test_the_command(node: Node, site: Site, archive: FakeArchive, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(site.file), "--home", str(site.folder / "home")]
    yesterday = f"{datetime.now().astimezone().date() - timedelta(days=1):%Y%m%d}"
    for ds in archive.objects[:3]:
        ds.StudyDate = yesterday
    assert cli.main(["reconcile", "--json", *arguments]) == 0
    assert [one["images"] for one in json.loads(capsys.readouterr().out)["lacking"]] == [3]
    assert cli.main(["reconcile", "--fetch", *arguments]) == 0
    assert "1 of 1 studies are not here, or not whole; 1 are fetched" in capsys.readouterr().out
    for wrong, said in (
        (["--from", "nobody"], "no [[peer]] of that name has a `query`; those that have one: archive"),
        (["--days", "0"], "1 to 366 days"),
        (["--modality", "C*"], "no modality such as CT"),
    ):
        assert cli.main(["reconcile", *wrong, *arguments]) == 1
        assert said in capsys.readouterr().err


def test_the_days_are_those_before_today() -> None:
    assert reconcile.days_before(date(2026, 3, 2), 2) == [date(2026, 3, 1), date(2026, 2, 28)]
    with pytest.raises(Refused):
        reconcile.days_before(date(2026, 3, 2), 400)
