"""What a route says beside its conditions: which objects go where, by when, at which hours, and what is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from config.settings import SettingsError, load
from db import deadlines
from db.database import Clock
from db.job_states import JobKind
from db.tables import delivery, job, result, study
from node.app import Node
from node.operations import control
from node.operations.status import overview
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.sites import REST, Site, route
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts

STUDY = "1.2.826.7"


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Site:
    return Site(tmp_path, migrated)


def sent(node: Node) -> dict[str, set[str]]:
    """Destination -> the kinds of object that go there."""
    query = sa.select(delivery.c.destination, result.c.kind).join(result, result.c.id == delivery.c.result_id)
    found: dict[str, set[str]] = {}
    with node.database.read() as tx:
        for row in tx.execute(query):
            found.setdefault(row.destination, set()).add(row.kind)
    return found


def test_a_route_says_what_each_of_its_destinations_gets(site: Site, threshold_hosts: ThresholdHosts) -> None:
    site.hosts = threshold_hosts.address
    site.write(
        route(destinations='["pacs", "viewer"]', objects='{ viewer = ["SC"] }'),
        route("also", destinations='["viewer"]', objects='["SR"]'),
    )
    with site.started() as node:
        take_in(node, small_series())
        work_off(node, JobKind.CHOOSE)
        work_off(node, JobKind.SEGMENT)
        assert sent(node) == {"pacs": {"SEG", "SR"}, "viewer": {"SC", "SR"}}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"destinations": "[]", "objects": '["SEG"]'}, "there are no `destinations`"),
        ({"objects": '{ vieuwer = ["SC"] }'}, "`objects` names vieuwer, which is none of its `destinations`"),
        ({"objects": '["SG"]'}, "route.0.objects"),
        ({"deadline_minutes": "0"}, ": route.0.deadline_minutes: Input should be greater than 0"),
        ({"per": '"instance"'}, ": route.0.per: "),
        ({"quiet_seconds": "3"}, '`quiet_seconds` of a route belongs to per = "series"'),
        ({"expects": "{ series = [] }"}, "route.0.expects.series"),
        ({"expects": '{ series = [{ when = [{ modality = "MR" }], atleast = 2 }] }'}, "did you mean `at_least`?"),
    ],
)
def test_what_a_route_cannot_mean_is_refused_with_its_line(site: Site, keys: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(site.write(route(**keys)))
    assert said in str(caught.value)
    assert str(site.file) in str(caught.value)


# ----------------------------------------------------------------------- deadlines


def test_what_is_late_and_what_will_be_is_shown_until_it_is_delivered(site: Site) -> None:
    site.write(route(deadline_minutes="30"), route("slow", networks='["pet_sarcoma"]', deadline_minutes="60"))
    with site.started() as node:
        take_in(node, small_series())
        work_off(node, JobKind.CHOOSE)
        with node.database.read() as tx:
            assert deadlines.overdue(tx) == []
            (soon,) = deadlines.due(tx, 1801)
        assert 1700 < soon.left_seconds <= 1800
        _later(node, 25)
        assert [(one["state"], one["network"]) for one in overview(node.database)["due"]] == [("due soon", "ct_lungs")]
        _later(node, 10)
        (late,) = overview(node.database)["due"]
        assert (late["state"], late["waits_for"]) == ("late", "segment")
        assert late["minutes"] == pytest.approx(-5, abs=1)
        with node.database.write() as tx:
            tx.execute(sa.update(job).values(state="done"))
        assert overview(node.database)["due"] == []


def _later(node: Node, minutes: float) -> None:
    from db.tables import input_set

    with node.database.write() as tx:
        tx.execute(sa.update(input_set).values(deadline=input_set.c.deadline - minutes * 60))


def test_a_promise_is_not_moved_by_an_image_that_changes_nothing(site: Site) -> None:
    site.write(route(deadline_minutes="30"))
    with site.started() as node:
        take_in(node, small_series(study_uid=STUDY))
        work_off(node, JobKind.CHOOSE)
        with node.database.read() as tx:
            (before,) = deadlines.due(tx, 1e6)
        take_in(node, small_series((24, 20, 2), study_uid=STUDY, series_number=9))
        work_off(node, JobKind.CHOOSE)
        with node.database.read() as tx:
            (after,) = deadlines.due(tx, 1e6)
        assert after.deadline == before.deadline


# --------------------------------------------------------------------------- night


def test_what_may_wait_for_the_night_does(site: Site) -> None:
    now = datetime.now().astimezone()
    hours = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"
    site.write(route(priority='"night"'), rest=f'{REST}[work]\nnight = "{hours}"\n')
    with site.started() as node:
        take_in(node, small_series())
        work_off(node)
        (waits,) = jobs_of(node, JobKind.SEGMENT)
        assert (waits["state"], waits["attempts"]) == ("waiting", 0)
        assert "outside-night" in waits["reason"]
        with node.database.read() as tx:
            left = tx.execute(sa.select(job.c.run_after - Clock()).where(job.c.kind == JobKind.SEGMENT)).scalar_one()
        assert 6900 < left < 7260
        assert only_study(node)["state"] == "waiting"


# ------------------------------------------------------------------------- expects

PET = 'expects = { series = [{ when = [{ keyword = "SeriesDescription", matches = "PET" }] }]'


@pytest.fixture
def expecting(site: Site) -> Iterator[Node]:
    site.write(route() + PET + ", wait_minutes = 30 }\n")
    with site.started() as node:
        yield node


def series_of(description: str, number: int) -> list[Dataset]:
    return small_series(study_uid=STUDY, description=description, series_number=number)


def reason(node: Node) -> tuple[str, str]:
    found: dict[str, Any] = only_study(node)
    return found["state"], str(found["reason"])


def long_ago(node: Node) -> None:
    with node.database.write() as tx:
        tx.execute(sa.update(study).values(last_image=Clock() - 1801))
        tx.execute(sa.update(job).where(job.c.kind == JobKind.CHOOSE).values(run_after=Clock()))


def test_a_study_waits_for_a_series_that_belongs_to_it_and_goes_on_at_once_when_it_comes(expecting: Node) -> None:
    take_in(expecting, series_of("CT", 1))
    work_off(expecting, JobKind.CHOOSE)
    state, why = reason(expecting)
    assert state == "waiting"
    assert "series-awaited: route chest expects 1 × SeriesDescription matches 'PET' (0 here); it waits until" in why
    assert not jobs_of(expecting, JobKind.SEGMENT)
    take_in(expecting, series_of("PET", 2))
    work_off(expecting, JobKind.CHOOSE)
    assert len(jobs_of(expecting, JobKind.SEGMENT)) == 1


def test_it_does_not_wait_for_ever(expecting: Node) -> None:
    take_in(expecting, series_of("CT", 1))
    work_off(expecting, JobKind.CHOOSE)
    long_ago(expecting)
    work_off(expecting, JobKind.CHOOSE)
    assert len(jobs_of(expecting, JobKind.SEGMENT)) == 1


def test_a_person_need_not_wait(expecting: Node) -> None:
    take_in(expecting, series_of("CT", 1))
    work_off(expecting, JobKind.CHOOSE)
    control.close(expecting.database, STUDY, "ann", 3)
    work_off(expecting, JobKind.CHOOSE)
    assert len(jobs_of(expecting, JobKind.SEGMENT)) == 1
    take_in(expecting, small_series((24, 20, 9), study_uid=STUDY, description="CT", series_number=3))
    work_off(expecting, JobKind.CHOOSE)
    assert reason(expecting)[0] == "waiting", "the next generation is judged anew"
    assert len(jobs_of(expecting, JobKind.SEGMENT)) == 1


def test_where_it_is_said_so_a_person_decides_about_what_never_became_whole(site: Site) -> None:
    site.write(route() + PET + ', wait_minutes = 30, otherwise = "hold" }\n')
    with site.started() as node:
        take_in(node, series_of("CT", 1))
        work_off(node, JobKind.CHOOSE)
        long_ago(node)
        work_off(node, JobKind.CHOOSE)
        state, why = reason(node)
        assert state == "held"
        assert "which did not come within 30 minutes" in why
        control.close(node.database, STUDY, "ann", 3)
        work_off(node, JobKind.CHOOSE)
        assert len(jobs_of(node, JobKind.SEGMENT)) == 1


def test_a_peer_says_what_belongs_to_its_studies(site: Site) -> None:
    scanner = (
        '\n[[peer]]\nname = "petct"\nae_title = "SUBMIT"\naddress = "127.0.0.1"\nmay_send = true\n'
        'expects = { series = [{ when = [{ modality = "PT" }] }] }\n'
    )
    site.write(scanner, route())
    with site.started() as node:
        take_in(node, series_of("CT", 1))
        work_off(node, JobKind.CHOOSE)
        assert "peer petct expects 1 × Modality is PT (0 here)" in reason(node)[1]
