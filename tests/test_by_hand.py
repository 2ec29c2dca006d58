"""What a person asks of one study or one destination: a network no route names, a result sent, a pause, a retry."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import sqlalchemy as sa

from config.settings import Settings
from db import destinations as rows
from db import job_orders, jobs, pauses
from db.database import Database
from db.job_states import JobKind, JobState, Report
from node import cli
from node.app import Node, open_node
from node.command_line import studies as study_commands
from node.errors import Refused, Unavailable
from node.operations import by_hand, destinations
from node.operations.one_study import gather
from node.operations.one_study.values import StudyView
from node.outbound.target import Target
from tests.driving import jobs_of, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts

WHO = "anna"


@pytest.fixture
def second() -> Any:
    with FakePacs() as scp:
        yield scp


@pytest.fixture
def node(settings: Settings, threshold_hosts: ThresholdHosts, second: FakePacs) -> Any:
    """A node with a second destination that no route names, and a route that takes no CT."""
    peers = [*settings.peer]
    (first,) = peers
    other = first.model_copy(
        update={
            "name": "second",
            "destination": first.destination.model_copy(update={"port": second.port}),  # type: ignore[union-attr]
            "ae_title": second.ae_title,
        }
    )
    opened = open_node(settings.model_copy(update={"peer": (*peers, other)}), threshold_hosts.address)
    yield opened
    opened.close()


def through(node: Node) -> str:
    images = small_series()
    take_in(node, images)
    work_off(node)
    return str(images[0].StudyInstanceUID)


def view(node: Node, uid: str) -> StudyView:
    return gather.study(node.database, node.networks, uid)


def some_result(node: Node, uid: str) -> str:
    (reading, *_) = view(node, uid).readings
    return str(reading.results[0].id)


def with_routes(node: Node, *networks: str) -> Node:
    routes = tuple(dataclasses.replace(route, networks=networks) for route in node.routes)
    return dataclasses.replace(node, routes=routes)


def test_a_network_that_no_route_names_reads_a_study_because_a_person_says_so(
    node: Node, pacs: FakePacs, second: FakePacs
) -> None:
    node = with_routes(node)  # nothing is offered to any network
    uid = through(node)
    assert view(node, uid).state == "refused"
    assert pacs.objects == []
    said = by_hand.reprocess_with(node.database, node.networks, node.targets, uid, "ct_lungs", ["second"], WHO, 3)
    assert "ct_lungs reads it" in said
    work_off(node)
    found = view(node, uid)
    assert found.state == "done"
    assert found.asked == (("ct_lungs", "second", WHO),)
    (reading,) = [one for one in found.readings if not one.unread]
    assert WHO in reading.because
    assert reading.routes == (("ct_lungs, asked for by anna", "live", "second"),)
    assert len(second.objects) == 3
    assert pacs.objects == []


def test_what_was_asked_for_holds_for_images_that_come_later(node: Node, second: FakePacs) -> None:
    node = with_routes(node)
    images = small_series()
    take_in(node, images[:-1])
    work_off(node)
    uid = images[0].StudyInstanceUID
    by_hand.reprocess_with(node.database, node.networks, node.targets, uid, "ct_lungs", ["second"], WHO, 3)
    work_off(node)
    take_in(node, images[-1:])
    work_off(node)
    readings = [one for one in view(node, uid).readings if not one.unread]
    assert [one.images for one in readings] == [7, 8]
    assert readings[0].replaced
    assert len(second.objects) == 6


def test_a_network_that_has_read_it_reads_it_again(node: Node, threshold_hosts: ThresholdHosts) -> None:
    uid = through(node)
    asked = threshold_hosts.asked
    by_hand.reprocess_with(node.database, node.networks, node.targets, uid, "ct_lungs", [], WHO, 3)
    work_off(node)
    assert threshold_hosts.asked == asked + 1


@pytest.mark.parametrize(
    ("network", "to", "study", "code"),
    [
        ("no_such", [], None, "no-such-network"),
        ("ct_lungs", ["nowhere"], None, "no-such-destination"),
        ("ct_lungs", [], "1.2.3", "no-such-study"),
        ("../../etc", [], None, "no-such-network"),
    ],
)
def test_what_cannot_be_asked_is_said_and_changes_nothing(
    node: Node, network: str, to: list[str], study: str | None, code: str
) -> None:
    uid = through(node)
    before = len(jobs_of(node))
    with pytest.raises(Refused, match=code):
        by_hand.reprocess_with(node.database, node.networks, node.targets, study or uid, network, to, WHO, 3)
    assert len(jobs_of(node)) == before
    assert {one["state"] for one in jobs_of(node)} == {"done"}


def test_a_held_study_is_not_read_on_a_whim(node: Node) -> None:
    uid = through(node)
    with node.database.write() as tx:
        tx.execute(sa.text("UPDATE study SET state = 'held', held_because = 'another patient'"))
    with pytest.raises(Refused, match="study-held"):
        by_hand.reprocess_with(node.database, node.networks, node.targets, uid, "ct_lungs", [], WHO, 3)
    with pytest.raises(Refused, match="study-held"):
        by_hand.send_result(node.database, node.targets, some_result(node, uid), "second", WHO, 3)


def test_a_result_goes_where_a_person_sends_it_once_and_it_is_kept_who(node: Node, second: FakePacs) -> None:
    uid = through(node)
    name = some_result(node, uid)
    assert second.objects == []
    said = by_hand.send_result(node.database, node.targets, name, "second", WHO, 3)
    assert said.startswith("3 objects")
    work_off(node)
    assert sorted(ds.Modality for ds in second.objects) == ["SEG", "SR", "SR"]
    assert any(step.what == "send" and WHO in step.said for step in view(node, uid).steps)
    with pytest.raises(Refused, match="has it already"):
        by_hand.send_result(node.database, node.targets, name, "second", WHO, 3)


@pytest.mark.parametrize("state", ["held", "withdrawn", "discarded", "superseded"])
def test_what_does_not_stand_is_not_sent(node: Node, second: FakePacs, state: str) -> None:
    uid = through(node)
    name = some_result(node, uid)
    with node.database.write() as tx:
        tx.execute(sa.text("UPDATE result SET state = :state"), {"state": state})
    with pytest.raises(Refused, match="not-sendable"):
        by_hand.send_result(node.database, node.targets, name, "second", WHO, 3)
    work_off(node)
    assert second.objects == []


def test_a_destination_gets_the_forms_that_it_takes(node: Node, second: FakePacs) -> None:
    uid = through(node)
    name = some_result(node, uid)
    where = node.targets["second"]
    only_reports = {"second": Target(where.name, where.ae_title, where.host, where.port, objects=frozenset({"SR"}))}
    assert by_hand.send_result(node.database, only_reports, name, "second", WHO, 3).startswith("2 objects")
    only_pdf = {"second": Target(where.name, where.ae_title, where.host, where.port, objects=frozenset({"PDF"}))}
    with pytest.raises(Refused, match="no-form"):
        by_hand.send_result(node.database, only_pdf, name, "second", WHO, 3)
    with pytest.raises(Refused, match="no-such-result"):
        by_hand.send_result(node.database, only_pdf, "4711", "second", WHO, 3)


# --------------------------------------------------------------- destinations


def of(node: Node, name: str) -> destinations.DestinationView:
    return next(one for one in destinations.listing(node.database, node.targets) if one.name == name)


def test_a_destination_says_when_it_answered_and_what_waits(node: Node, pacs: FakePacs) -> None:
    assert of(node, "pacs").state == "unknown"
    through(node)
    up = of(node, "pacs")
    assert (up.state, up.delivered_today, up.waiting, up.dead) == ("up", 3, 0, 0)
    assert up.last_contact is not None
    assert of(node, "second").state == "unknown"


def test_one_destination_is_paused_and_the_others_go_on(node: Node, pacs: FakePacs, second: FakePacs) -> None:
    destinations.pause(node.database, node.targets, "pacs", paused=True, who=WHO)
    uid = through(node)
    by_hand.send_result(node.database, node.targets, some_result(node, uid), "second", WHO, 3)
    work_off(node)
    assert (pacs.objects, len(second.objects)) == ([], 3)
    held = of(node, "pacs")
    assert (held.state, held.waiting, held.paused_by) == ("paused", 3, WHO)
    assert held.oldest_waiting is not None
    # nothing of it uses up attempts, and nothing fills the record of attempts
    (deliver, *_) = [one for one in jobs_of(node, JobKind.DELIVER) if one["state"] == "waiting"]
    assert deliver["attempts"] == 0
    destinations.pause(node.database, node.targets, "pacs", paused=False, who=WHO)
    work_off(node)
    assert len(pacs.objects) == 3
    assert of(node, "pacs").state == "up"


def test_a_pause_does_not_reach_a_destination_whose_name_begins_alike(database: Database) -> None:
    with database.write() as tx:
        rows.set_paused(tx, "pacs", True, WHO)
        for subject in ("pacs/1", "pacs-2/1", "a_cs/1"):
            jobs.enqueue(tx, JobKind.DELIVER, subject, max_attempts=3)
        jobs.enqueue(tx, JobKind.COMMIT, "pacs/1", max_attempts=3)
        assert rows.paused(tx) == {"pacs"}
    claimed = set()
    for _ in range(4):
        with database.write() as tx:
            claim = jobs.claim(tx, list(JobKind), "w", 60)
            claimed.add(claim.subject if claim else None)
    assert claimed == {"pacs-2/1", "a_cs/1", None}
    with database.read() as tx:
        assert not jobs.any_ready(tx, [JobKind.DELIVER, JobKind.COMMIT])
    with database.write() as tx:
        rows.set_paused(tx, "pacs", False, WHO)
        assert jobs.any_ready(tx, [JobKind.DELIVER])
        assert rows.known(tx)["pacs"]["paused_by"] is None
        assert pauses.paused(tx) == set()


def test_a_destination_that_is_down_says_so_and_an_echo_sends_what_waits(node: Node, pacs: FakePacs) -> None:
    pacs.stop()
    through(node)
    down = of(node, "pacs")
    assert (down.state, down.waiting) == ("down", 3)
    assert down.last_error
    assert down.down_since is not None
    with pytest.raises(Unavailable):
        destinations.echo(node.database, node.targets, "pacs", node.ae_title)
    with pytest.raises(Refused, match="no-such-destination"):
        destinations.echo(node.database, node.targets, "nowhere", node.ae_title)
    pacs.start()
    assert "answers C-ECHO" in destinations.echo(node.database, node.targets, "pacs", node.ae_title)
    assert of(node, "pacs").state == "up"
    work_off(node)
    assert len(pacs.objects) == 3


def test_what_is_dead_at_a_destination_is_sent_again(node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0xA900] * 3
    through(node)
    dead = of(node, "pacs")
    assert dead.dead == 3
    assert sum(count for _, count in dead.dead_reasons) == 3
    assert destinations.retry_dead(node.database, "pacs").startswith("3 objects")
    work_off(node)
    assert of(node, "pacs").dead == 0
    assert len(pacs.objects) == 3
    with pytest.raises(Refused, match="nothing-dead"):
        destinations.retry_dead(node.database, "pacs")


def test_what_is_asked_for_again_while_its_job_ends_is_sent(node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0xA900] * 3
    through(node)
    (ended,) = jobs_of(node, JobKind.DELIVER)
    with node.database.write() as tx:
        assert job_orders.reopen(tx, ended["id"])
        claim = jobs.claim(tx, [JobKind.DELIVER], "w", 60)
    assert claim is not None
    assert destinations.retry_dead(node.database, "pacs").startswith("3 objects")
    with node.database.write() as tx:  # it had looked before at what waits
        jobs.finish(tx, claim, JobState.DEAD, Report())
    work_off(node)
    assert len(pacs.objects) == 3


def test_a_destination_that_is_configured_no_more_is_shown_while_something_waits(node: Node) -> None:
    destinations.pause(node.database, node.targets, "pacs", paused=True, who=WHO)
    through(node)
    listed = destinations.listing(node.database, {})
    assert [(one.name, one.state, one.waiting) for one in listed] == [("pacs", "not configured", 3)]
    destinations.pause(node.database, {}, "pacs", paused=False, who=WHO)  # and its pause can be ended


@pytest.mark.parametrize("arguments", [("study", "--json"), ("study",), ("list",), ("list", "--json")])
def test_the_terminal_says_the_same(
    node: Node, settings: Settings, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    uid = through(node)
    line = ["study", uid] if arguments[0] == "study" else ["destinations", "list"]
    options = cli._parser().parse_args([*line, *arguments[1:]])
    assert study_commands.call(options, node) == 0
    said = capsys.readouterr().out
    if "--json" in arguments:
        made = json.loads(said)
        if arguments[0] == "study":
            assert made["study_uid"] == uid
            assert made["readings"][0]["measured"][0]["label"]
        else:
            assert made[0]["name"] == "pacs"
    else:
        assert (uid if arguments[0] == "study" else "pacs") in said.replace("\n", "")
