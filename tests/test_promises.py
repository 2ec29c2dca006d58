"""Deadlines of routes: on the queue, the most urgent first, and late also where nothing was chosen from yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, expect

from db import jobs, trials
from db.database import Clock
from db.job_states import JobKind
from db.queue import Wanted
from db.tables import input_set, job, study
from node import schedule
from node.app import Node
from node.operations import promises, queue
from node.operations.alarms.findings import World, look
from node.operations.status import overview
from node.web import shown
from tests.driving import take_in, work_off
from tests.pages import Role, serving
from tests.sites import REST, Site, route
from tests.synthetic import small_series

WAITS = REST.replace("quiet_seconds = 0", "quiet_seconds = 86400")
#: of a CT and an MR, and of one scanner
ROUTES = (
    route("routine", deadline_minutes="60", when='[{ modality = "CT" }]'),
    route("stroke", deadline_minutes="10", when='[{ modality = "CT" }, { calling_ae_title = "CT_ER" }]'),
    route("thin", deadline_minutes="30", when='[{ modality = "CT" }, { keyword = "SliceThickness", range = [0, 1] }]'),
    route("tumour", deadline_minutes="5", when='[{ modality = "MR" }]', unless='[{ calling_ae_title = "MR_9" }]'),
    route("never", when='[{ modality = "US" }]'),
)


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Site:
    return Site(tmp_path, migrated)


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    """One that settles nothing by itself."""
    site.write(*ROUTES, rest=WAITS)
    with site.started() as opened:
        yield opened


def later(node: Node, minutes: float) -> None:
    """Everything has been so for longer."""
    with node.database.write() as tx:
        tx.execute(sa.update(study).values(last_image=study.c.last_image - minutes * 60))
        tx.execute(sa.update(input_set).values(deadline=input_set.c.deadline - minutes * 60))


def late(node: Node) -> dict[str, int]:
    with node.database.read() as tx:
        found = look(tx, node.fresh().alarms, World(free_bytes=10**12, at=0.0))
    return {one.subject: one.count for one in found if one.kind == "queue-late"}


def test_the_shortest_deadline_counts_of_the_routes_that_may_take_it(node: Node) -> None:
    promise = promises.of(node.routes)
    assert promise({"CT"}, "CT_1") == 30 * 60  # whether it is thin nobody knows yet
    assert promise({"CT"}, "ct_er") == 10 * 60
    assert promise({"MR"}, "MR_1") == 5 * 60
    assert promise({"MR"}, "MR_9") is None
    assert promise({"MR", "CT"}, "MR_9") == 30 * 60
    assert promise({"US"}, "CT_ER") is None
    assert promises.of([one for one in node.routes if one.name == "never"]) is promises.nothing


def test_a_study_that_never_settles_or_is_never_chosen_from_is_late(node: Node) -> None:
    take_in(node, small_series())
    assert late(node) == {}
    later(node, 29)
    assert late(node) == {}
    (soon,) = overview(node.database, node.alarms.promise)["due"]
    assert (soon["state"], soon["waits_for"], soon["network"]) == ("due soon", "images", "")
    later(node, 2)
    assert late(node) == {"not settled": 1}
    with node.database.write() as tx:
        found = tx.execute(sa.select(study)).mappings().one()
        tx.execute(sa.update(study).values(state="closed", generation=1))
        jobs.enqueue(tx, JobKind.CHOOSE, found["study_uid"], max_attempts=3, study_id=found["id"])
    assert late(node) == {"not chosen": 1}  # no worker runs
    work_off(node, JobKind.CHOOSE)
    assert late(node) == {}  # it is not thin: the hour of the routine counts
    later(node, 30)
    assert late(node) == {"deadlines": 1}
    with node.database.write() as tx:
        tx.execute(sa.update(job).values(state="done"))
    assert late(node) == {}


def test_a_trial_is_never_late(node: Node) -> None:
    take_in(node, small_series(study_uid="2.25.77"))
    later(node, 100)
    assert late(node) == {"not settled": 1}
    with node.database.write() as tx:
        trials.begin(tx, "2.25.77", "ct_lungs", "physicist")
    assert late(node) == {}


def test_the_queue_says_how_long_there_is_and_the_most_urgent_comes_first(node: Node) -> None:
    for n in range(3):
        take_in(node, small_series(study_uid=f"1.2.{n}"))
        later(node, 40 if n == 0 else 15)  # the first one by 70 min, the second by 30, the third by 15
    work_of = {entry.study_uid: entry for entry in page(node)}
    with node.database.write() as tx:
        now = float(tx.execute(sa.select(Clock())).scalar_one())
    left = {uid: (entry.deadline or 0) - now for uid, entry in work_of.items()}
    minutes = {"1.2.2": 15, "1.2.1": 0, "1.2.0": -40}
    assert left == {uid: pytest.approx(number * 60, abs=59) for uid, number in minutes.items()}
    urgent = queue.urgent(node.database, Wanted(), node.alarms.promise)
    assert [entry.study_uid for entry in urgent.entries] == ["1.2.0", "1.2.1", "1.2.2"]
    with node.database.write() as tx:
        tx.execute(sa.update(study).where(study.c.study_uid == "1.2.2").values(state="closed", generation=1))
        jobs.enqueue(tx, JobKind.CHOOSE, "1.2.2", max_attempts=3, study_id=3)
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        tx.execute(sa.update(input_set).values(deadline=Clock() - 86_400))
    urgent = queue.urgent(node.database, Wanted(), node.alarms.promise)
    assert [entry.study_uid for entry in urgent.entries] == ["1.2.2", "1.2.0", "1.2.1"]
    only = queue.urgent(node.database, Wanted(network="ct_lungs"), node.alarms.promise)
    assert [entry.study_uid for entry in only.entries] == ["1.2.2"]
    with serving(node) as served, served.client(Role.VIEWER) as client:
        said = client.get("/queue?order=due").text
        assert said.index("1.2.2<") < said.index("1.2.0<") < said.index("1.2.1<")
        assert "late by 24 h" in said
        assert "late by 24 h" in client.get("/queue/rows?order=due", headers={"x-planimeter-fragment": "1"}).text
        assert "late by 24 h" in client.get("/queue?state=waiting").text


def test_deadlines_on_the_queue_go_on_while_nothing_is_written(node: Node, browser: Browser) -> None:
    """The words change with the clock of the page alone: nothing is asked of the node meanwhile."""
    take_in(node, small_series())
    later(node, 15)
    with serving(node) as served:
        shows = served.page(browser, Role.VIEWER)
        shows.clock.install()
        shows.route("**/queue/rows*", lambda route: route.abort())
        shows.goto("/queue")
        deadline = shows.locator("[data-deadline]").first
        expect(deadline).to_have_text(re.compile(r"due in 1[45] min"))
        shows.clock.fast_forward("10:00")
        expect(deadline).to_have_text(re.compile(r"due in [345] min"))
        expect(deadline).not_to_have_class(re.compile("late"))
        shows.clock.fast_forward("35:00")
        expect(deadline).to_have_text(re.compile(r"late by (29|30|31) min"))
        expect(deadline).to_have_class(re.compile("late"))
        shows.context.close()


def page(node: Node) -> tuple[queue.Entry, ...]:
    return queue.page(node.database, Wanted(), promise=node.alarms.promise).entries


def test_what_has_no_deadline_says_nothing(site: Site) -> None:
    site.write(route(), rest=WAITS)
    with site.started() as node:
        take_in(node, small_series())
        later(node, 1e5)
        assert [entry.deadline for entry in page(node)] == [None]
        assert queue.urgent(node.database, Wanted(), node.alarms.promise).entries == ()
        assert late(node) == {}
        watch = schedule.watch_of(node)
        assert watch.policy.promise is promises.nothing


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (240, "due in 4 min"),
        (20, "due in 1 min"),
        (-20, "late by 1 min"),
        (-120, "late by 2 min"),
        (8000, "due in 2 h"),
    ],
)
def test_a_deadline_in_words(left: float, said: str) -> None:
    assert f">{said}<" in shown.due(1000.0 + left, 1000.0)
    assert shown.due(None, 1000.0) == ""
