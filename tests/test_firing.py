"""A series need not wait for its study: it is chosen from as soon as it is quiet and whole; nothing runs twice."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from db import arrivals, deadlines, firing, input_sets, studies
from db.arrivals import Arrival
from db.database import Clock, Database
from db.job_states import JobKind
from db.tables import input_member, input_set, instance, job, series, study
from node import reloading, schedule
from node.app import Node
from node.operations import routes
from node.receiver import Receiver
from node.study import candidates
from tests.doors import door
from tests.driving import take_in, work_off
from tests.sites import PEERS, REST, Site, route
from tests.synthetic import small_series
from tests.test_settling import arrival, arrive

QUIET = (20.0,)


def of_series(name: str, number: int = 1, announced: int | None = None) -> Arrival:
    """An image of a series of study 1.2."""
    one = arrival(number)
    uid = f"{one.sop_uid}.{name}"
    return dataclasses.replace(one, series_uid=f"1.2.3.{name}", sop_uid=uid, digest=uid, path=uid, announced=announced)


def quiet_for(database: Database, seconds: float, *names: str) -> None:
    uids = [f"1.2.3.{name}" for name in names]
    with database.write() as tx:
        tx.execute(sa.update(series).where(series.c.series_uid.in_(uids)).values(last_image=Clock() - seconds))


def fire(database: Database, quiets: tuple[float, ...] = QUIET) -> list[str]:
    with database.read() as tx:
        due = firing.any_due(tx, quiets)
    with database.write() as tx:
        fired = [uid.rsplit(".", 1)[1] for uid in firing.fire(tx, quiets, 3)]
        waiting = tx.execute(sa.select(job.c.subject).where(job.c.state == "waiting")).scalars().all()
    assert due is bool(fired)
    assert not fired or waiting == ["1.2"], "the series and its job are one transaction"
    return sorted(fired)


def test_a_series_fires_when_it_is_quiet_and_again_after_a_late_image(database: Database) -> None:
    arrive(database, of_series("1"), of_series("2"))
    assert fire(database) == []
    quiet_for(database, 21, "1")
    assert fire(database) == ["1"]
    assert fire(database) == [], "once"
    arrive(database, of_series("1", 2))
    assert fire(database) == []
    quiet_for(database, 21, "1", "2")
    assert fire(database) == ["1", "2"]


def test_every_route_has_a_quiet_period_of_its_own(database: Database) -> None:
    arrive(database, of_series("1"))
    quiet_for(database, 21, "1")
    both = (20.0, 3600.0)
    assert fire(database, both) == ["1"]
    with database.read() as tx:
        assert firing.quiet(tx, 1) == {"1.2.3.1": 20.0}
        assert 3000 < (firing.due_in(tx, both) or 0) <= 3579
    quiet_for(database, 3601, "1")
    assert fire(database, both) == ["1"]
    with database.read() as tx:
        assert firing.quiet(tx, 1) == {"1.2.3.1": 3600.0}
        assert firing.due_in(tx, both) is None


def test_a_quiet_series_that_lacks_images_is_not_whole(database: Database) -> None:
    arrive(database, of_series("1", 1, announced=2), of_series("2"))
    with database.write() as tx:
        tx.execute(sa.update(series).where(series.c.series_uid == "1.2.3.2").values(pacs_images=2))
        tx.execute(sa.update(study).values(pacs_asked=Clock()))
    quiet_for(database, 21, "1", "2")
    assert fire(database) == []
    with database.read() as tx:
        assert firing.due_in(tx, QUIET) is None, "nobody spins for what does not come"
    arrive(database, of_series("1", 2, announced=2))
    quiet_for(database, 21, "1")
    assert fire(database) == ["1"]
    with database.write() as tx:
        tx.execute(sa.update(study).values(pacs_asked=Clock() - 3600))
    assert fire(database) == ["2"], "a PACS that says no more is not waited for"


def test_a_study_that_is_closed_or_held_fires_nothing(database: Database) -> None:
    arrive(database, of_series("1"))
    quiet_for(database, 21, "1")
    for state in ("closed", "held"):
        with database.write() as tx:
            tx.execute(sa.update(study).values(state=state))
        assert fire(database) == []


def test_two_schedulers_fire_a_series_once(database: Database) -> None:
    names = [str(number) for number in range(20)]
    arrive(database, *(of_series(name) for name in names))
    quiet_for(database, 21, *names)
    fired: list[str] = []

    def keep_firing() -> None:
        with database.write() as tx:
            fired.extend(firing.fire(tx, QUIET, 3))

    threads = [threading.Thread(target=keep_firing) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keep_firing()
    assert sorted(fired) == sorted(f"1.2.3.{name}" for name in names)


# ----------------------------------------------------------------------- in a node


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Site:
    made = Site(tmp_path, migrated)
    made.write(route(per='"series"', quiet_seconds="0"), rest=REST.replace("quiet_seconds = 0", "quiet_seconds = 3600"))
    return made


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    with site.started() as opened:
        yield opened


def study_of(*descriptions: str) -> list[list[Dataset]]:
    """The series of one study."""
    return [
        small_series(study_uid="1.2.826.1", series_uid=f"1.2.826.1.{number}", description=text, series_number=number)
        for number, text in enumerate(descriptions, 1)
    ]


def sets(node: Node) -> list[tuple[str, int, bool]]:
    """Of each input set: its series, how many images, and whether it took the place of another one."""
    with node.database.read() as tx:
        rows = tx.execute(
            sa.select(
                input_set.c.id,
                sa.func.min(series.c.series_uid).label("uid"),
                sa.func.count(sa.distinct(input_member.c.sop_uid)),
                input_set.c.supersedes,
            )
            .join(input_member, input_member.c.input_set_id == input_set.c.id)
            .join(instance, instance.c.sop_uid == input_member.c.sop_uid)
            .join(series, series.c.id == instance.c.series_id)
            .group_by(input_set.c.id)
            .order_by(input_set.c.id)
        ).all()
    return [(row.uid.rsplit(".", 1)[1], row[2], row.supersedes is not None) for row in rows]


def segment_jobs(node: Node) -> int:
    with node.database.read() as tx:
        return int(tx.execute(sa.select(sa.func.count()).where(job.c.kind == JobKind.SEGMENT)).scalar_one())


def end(node: Node) -> None:
    """The study settles."""
    with node.database.write() as tx:
        tx.execute(sa.update(study).values(last_image=Clock() - 7200))
    work_off(node, JobKind.CHOOSE)


def test_a_series_is_read_while_its_study_arrives_and_not_again_when_it_settles(node: Node) -> None:
    (first,) = study_of("one")
    take_in(node, first)
    work_off(node, JobKind.CHOOSE)
    assert sets(node) == [("1", 8, False)]
    with node.database.read() as tx:
        row = studies.by_id(tx, 1)
    assert (row["state"], row["generation"], row["chosen"]) == ("open", 0, 0)
    end(node)
    assert sets(node) == [("1", 8, False)]
    assert segment_jobs(node) == 1
    with node.database.read() as tx:
        assert studies.by_id(tx, 1)["chosen"] == 1


def test_a_series_that_grows_is_a_new_input_set_in_the_place_of_the_old(node: Node) -> None:
    (first,) = study_of("one")
    take_in(node, first[:6])
    work_off(node, JobKind.CHOOSE)
    take_in(node, first[6:])
    work_off(node, JobKind.CHOOSE)
    end(node)
    assert sets(node) == [("1", 6, False), ("1", 8, True)]
    assert segment_jobs(node) == 2


def test_what_is_not_quiet_is_not_chosen_from(node: Node, site: Site) -> None:
    first, second = study_of("one", "two")
    take_in(node, first)
    schedule.settle(node)
    take_in(node, second[:4])  # comes between the firing of the first and its choice
    with node.database.write() as tx:
        tx.execute(sa.update(series).where(series.c.series_uid == "1.2.826.1.2").values(last_image=Clock() + 60))
    work_off(node, JobKind.CHOOSE)
    assert sets(node) == [("1", 8, False)]


def test_what_another_route_says_of_the_series_holds_at_once_and_what_it_alone_takes_waits(
    node: Node, site: Site
) -> None:
    others = '[{ keyword = "SeriesDescription", matches = "two" }]'
    site.write(
        route("early", per='"series"', quiet_seconds="0", when='[{ keyword = "SeriesDescription", matches = "one" }]'),
        route("also", destinations='["viewer"]'),
        route("late", networks='["pet_sarcoma"]', when=others),
        rest=REST.replace("quiet_seconds = 0", "quiet_seconds = 3600"),
    )
    with site.started() as again:
        take_in(again, [ds for each in study_of("one", "two") for ds in each])
        work_off(again, JobKind.CHOOSE)
        assert [uid for uid, _, _ in sets(again)] == ["1"]
        with again.database.read() as tx:
            assert set(firing.quiet(tx, 1)) == {"1.2.826.1.1", "1.2.826.1.2"}
            assert input_sets.live_destinations(tx, 1) == ["pacs", "viewer"]


def test_what_was_read_early_goes_to_a_destination_that_a_route_names_only_later(node: Node, site: Site) -> None:
    (first,) = study_of("one")
    take_in(node, first)
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.kind == JobKind.SEGMENT).values(state="done"))
    text = PEERS + route(per='"series"', quiet_seconds="0") + route("late", destinations='["viewer"]')
    reloading.apply(node.configuration, text, "a test", who="ann", why="", after=1)
    end(node)
    with node.database.read() as tx:
        assert input_sets.live_destinations(tx, 1) == ["pacs", "viewer"]
        waiting = sa.select(job.c.input_set_id).where(job.c.kind == JobKind.SEGMENT, job.c.state == "waiting")
        assert tx.execute(waiting).scalars().all() == [1]
    with node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.kind == JobKind.SEGMENT).values(state="done"))
        tx.execute(sa.update(study).values(state="open"))
    end(node)
    with node.database.read() as tx:
        assert not tx.execute(waiting).scalars().all(), "once"


def test_a_route_that_wants_a_longer_silence_waits_for_it(node: Node, site: Site) -> None:
    site.write(
        route("early", per='"series"', quiet_seconds="0"),
        route("patient", networks='["pet_sarcoma"]', per='"series"', quiet_seconds="600"),
        rest=REST.replace("quiet_seconds = 0", "quiet_seconds = 3600"),
    )
    with site.started() as again:
        (images,) = study_of("one")
        take_in(again, images)
        work_off(again, JobKind.CHOOSE)
        assert _offered(again) == {"ct_lungs"}
        with again.database.write() as tx:
            tx.execute(sa.update(series).values(last_image=Clock() - 601))
        work_off(again, JobKind.CHOOSE)
        assert _offered(again) == {"ct_lungs", "pet_sarcoma"}


def _offered(node: Node) -> set[str]:
    """The networks that a choice would offer the series that are quiet by now."""
    with node.database.read() as tx:
        quiet, rows = firing.quiet(tx, 1), arrivals.images(tx, 1)
    judged = routes.judge(node.routes, candidates.gather(rows, node.archive, node.decoders).series, time(12))
    return set(routes.early(routes.offered(judged), quiet))


def test_a_deadline_counts_from_the_last_image_of_the_series(node: Node, site: Site) -> None:
    site.write(
        route(per='"series"', quiet_seconds="0", deadline_minutes="10"),
        rest=REST.replace("quiet_seconds = 0", "quiet_seconds = 3600"),
    )
    with site.started() as again:
        take_in(again, study_of("one")[0])
        with again.database.write() as tx:
            tx.execute(sa.update(instance).values(arrived=Clock() - 700))
        work_off(again, JobKind.CHOOSE)
        with again.database.read() as tx:
            (late,) = deadlines.overdue(tx)
        assert (late.network, late.waits_for) == ("ct_lungs", "segment")
        assert -400 < late.left_seconds < -90


# ----------------------------------------------------------------- over the network


def test_a_scanner_that_sends_series_after_series_has_the_first_one_read_meanwhile(node: Node) -> None:
    first, second = study_of("one", "two")
    for ds in first:
        ds.ImagesInAcquisition = len(first)
    doorkeeper = node.configuration.live().doorkeeper
    receiver = Receiver(door(), doorkeeper, node.inbox, node.database)
    port = receiver.start()
    try:
        _send(port, first[:-1])
        assert work_off(node, JobKind.CHOOSE) == 0, "its header says that one is missing"
        _send(port, first[-1:])
        work_off(node, JobKind.CHOOSE)
        assert sets(node) == [("1", 8, False)]
        _send(port, second)
        work_off(node, JobKind.CHOOSE)
        end(node)
    finally:
        receiver.stop()
    assert [uid for uid, _, _ in sets(node)][:1] == ["1"]
    assert segment_jobs(node) == len(sets(node))


def _send(port: int, images: list[Dataset]) -> None:
    ae = AE("CT_1")
    ae.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
    assoc: Any = ae.associate("127.0.0.1", port)
    assert assoc.is_established
    for ds in images:
        assert assoc.send_c_store(ds).Status == 0
    assoc.release()
