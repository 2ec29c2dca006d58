"""The pages on networks: what they show, what their buttons do, and what nobody may do there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from db import events, networks, reviews, switches, training_runs
from db.accounts import Role
from db.database import clock
from db.training_runs import RunState
from node.app import Node
from node.operations.watch import drift
from tests.pages import Site, open_pages, serving
from tests.test_versions import a_run, template, trained
from tests.watched import DAY, WEEK, Ward

__all__ = ["template"]

NAME = "thresholds"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, migrated: Path, template: Path) -> Iterator[Node]:
    """A node with a network that was trained once, and read studies for five weeks."""
    opened = open_pages(tmp_path_factory.mktemp("pages") / "home", migrated)
    shutil.copytree(template, opened.archive.home / "models" / NAME)
    opened.networks.known(NAME)
    trained(opened.networks, -300)
    with opened.database.write() as tx:
        run = training_runs.listing(tx, NAME)[0]
        training_runs.note(tx, run["id"], {}, folder=f"learning/runs/{run['id']}")
    folder = opened.archive.home / "learning" / "runs" / str(run["id"])
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<!DOCTYPE html><title>Report</title><script>document.title='owned'</script>")
    (folder / "secret.txt").write_text("not for anybody")
    with opened.database.write() as tx:
        live, now = networks.live(tx, NAME), clock(tx)
        assert live is not None
        ward = Ward(tx, NAME, live["id"])
        for week in range(5):
            for n in range(12 - week):
                at = now - week * WEEK - n * DAY / 8
                made = ward.read(at, delivered=at + 60, flags=["touches-edge"] if n == 3 else ())
                if n % 4 == 0:
                    ward.comes_back(made, at + DAY, dice=0.95 - n / 100)
            ward.refused(made, now - week * WEEK, "slices-missing")
        finding = drift.Finding(
            what="CT kernel",
            test="PSI",
            effect=1.2,
            p=5e-5,
            bound=2e-4,
            drifted=True,
            sentence="B30f before, <b>Br40 now",
        )
        values = dict(since=now - WEEK, until=now, reference="the first", reference_persons=100, persons=40)
        look = reviews.look(tx, NAME, "2026-W47", findings=[finding.record()], **values)
        reviews.open_one(tx, NAME, "what it reads has changed: CT kernel: B30f before, <b>Br40 now", look)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def site(node: Node) -> Iterator[Site]:
    with serving(node) as served:
        yield served


def test_watch_shows_the_weeks_and_a_person_closes_the_review(site: Site, node: Node, browser: Browser) -> None:
    page = site.page(browser, Role.APPROVER)
    page.goto("/watch")
    weeks = page.get_by_role("region", name=f"Weeks of {NAME}").locator("tbody tr")
    assert weeks.count() == 12
    newest = weeks.nth(0).inner_text() + weeks.nth(1).inner_text()  # on Monday morning, nine hours ago was last week
    assert "touches-edge 1" in newest
    assert page.get_by_text("B30f before, <b>Br40 now").count()  # as text, never as markup
    drawn = page.locator("figure.chart")
    titles = drawn.locator("h3").all_inner_texts()
    assert {"Accepted and corrected", "Dice of drafts with their corrections", "Empty results"} <= set(titles)
    assert "What it reads, against the reference" in titles
    heard = page.get_by_role("img", name="Nothing was found in 0 of 50 results of 12 weeks.")
    box = heard.bounding_box()
    assert box is not None
    assert box["width"] > 200
    assert box["height"] > 50
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "a phone shows it without scrolling sideways"
    ink = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        ink[scheme] = drawn.locator("circle.candidate").first.evaluate("one => getComputedStyle(one).fill")
    assert len(set(ink.values())) == 2, "the colours are those of the style sheet"
    expect(page.get_by_role("cell", name="PSI")).to_be_visible()
    page.get_by_label("What came of it").fill("new kernel since Monday, looked at")
    page.get_by_label("the change is meant to stay").check()
    page.get_by_role("button", name="Close the review").click()
    expect(page.locator(".flash")).to_contain_text("its reference is gathered anew", use_inner_text=True)
    with node.database.read() as tx:
        assert reviews.open_reviews(tx) == []
        event = events.listing(tx, NAME)[0]
    assert (event["what"], event["who"]) == ("review closed", site.account(Role.APPROVER))
    page.close()


def test_a_network_is_approved_promoted_and_rolled_back_by_buttons(site: Site, node: Node, browser: Browser) -> None:
    page = site.page(browser, Role.APPROVER)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/networks")
    page.get_by_role("link", name=NAME).click()
    expect(page.locator("main")).to_contain_text("pass against 0.1", use_inner_text=True)
    candidate = page.locator("section", has=page.get_by_role("button", name="Approve"))
    candidate.get_by_label("Reason to approve").fill("the report was read")
    candidate.get_by_role("button", name="Approve").click()
    expect(page.locator(".flash")).to_contain_text("is approved", use_inner_text=True)
    page.get_by_label("Reason to make live").fill("agreed on Monday")
    page.get_by_role("button", name="Make live").click()
    expect(page.locator(".flash")).to_contain_text("is live", use_inner_text=True)
    live = page.locator("h1 .quiet").inner_text()
    assert live != "0.1"
    page.get_by_label("Reason to roll back").fill("it misses small ones")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("h1 .quiet")).to_have_text("0.1", use_inner_text=True)
    page.get_by_label("Reason to switch off").fill("until Friday")
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("main")).to_contain_text("it reads no study", use_inner_text=True)
    page.get_by_label("Reason to switch on").fill("it is Friday")
    page.get_by_role("button", name="Switch on").click()
    page.close()
    with node.database.read() as tx:
        said = [(row["what"], row["who"]) for row in events.listing(tx, NAME)]
        assert NAME not in switches.switched_off(tx)
        whys = [json.loads(row["details"]).get("why") for row in events.listing(tx, NAME)]
    me = site.account(Role.APPROVER)
    assert {("approved", me), ("promote", me), ("rollback", me)} <= set(said)
    assert "until Friday" in whys


def test_who_may_only_look_finds_no_button_and_none_answers(site: Site, node: Node, browser: Browser) -> None:
    with site.client(Role.OPERATOR) as client:
        for path in (f"/networks/{NAME}/decide", "/watch/close", f"/runs/{NAME}/stop"):
            assert client.submit(path, what="disable", why="mischief", review="1").status_code == 403
        text = client.get(f"/networks/{NAME}").text
    assert "Switch off" not in text
    with node.database.read() as tx:
        assert NAME not in switches.switched_off(tx)


def test_a_decision_without_a_reason_and_one_that_is_none_are_answered_in_words(site: Site) -> None:
    with site.client(Role.APPROVER) as client:
        for fields, said in (
            ({"what": "disable", "why": " "}, "needs a reason"),
            ({"what": "explode", "why": "because"}, "cannot be decided"),
            ({"what": "approve", "why": "because", "version": "9.9"}, "no version 9.9"),
        ):
            answer = client.submit(f"/networks/{NAME}/decide", at=f"/networks/{NAME}", **fields)
            assert answer.status_code == 303
            assert said in client.get(answer.headers["location"]).text
        assert "no network called" in client.get("/networks/no_such").text


def test_reports_are_shown_and_nothing_else_of_the_disk(site: Site, node: Node, browser: Browser) -> None:
    with node.database.read() as tx:
        run = training_runs.listing(tx, NAME)[-1]["id"]
    with site.client(Role.VIEWER) as client:
        report = client.get(f"/reports/{run}/report.html")
        assert report.status_code == 200
        assert "sandbox" in report.headers["content-security-policy"]
        for name in ("secret.txt", "..%2f..%2f..%2fplanimeter.db", "%2e%2e/%2e%2e/planimeter.db", "report.pdf"):
            answer = client.get(f"/reports/{run}/{name}")
            assert answer.status_code in (404, 409), name
            assert b"SQLite" not in answer.content
        assert client.get("/reports/999/report.html").status_code == 409
    with site.client(None) as nobody:
        assert nobody.get(f"/reports/{run}/report.html").status_code == 303
    page = site.page(browser, Role.VIEWER)
    page.goto(f"/reports/{run}/report.html")
    assert page.title() == "Report"  # a script in it does not run
    page.close()


def test_a_run_draws_its_curves_while_it_goes_on_and_is_stopped(site: Site, node: Node, browser: Browser) -> None:
    with node.database.write() as tx:
        live = networks.live(tx, NAME)
        assert live is not None
        run = a_run(tx, live["id"], network=NAME)
        training_runs.note(tx, run, {}, folder=f"learning/runs/{run}")
        training_runs.change(tx, run, RunState.TRAINING)
    folder = node.archive.home / "learning" / "runs" / str(run)
    folder.mkdir(parents=True)
    with (folder / "progress.jsonl").open("w") as told:
        for epoch in range(1, 13):
            line = {"epoch": epoch, "epochs": 40, "loss": 1.2 / epoch, "dice": 0.9 - 0.5 / epoch}
            told.write(json.dumps(line) + "\n")
    page = site.page(browser, Role.APPROVER)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/runs")
    assert page.get_by_role("row", name="training").count() == 1
    page.get_by_role("link", name=str(run), exact=True).click()
    expect(page.get_by_role("img", name="Loss by epoch")).to_be_visible()
    with (folder / "progress.jsonl").open("a") as told:
        told.write(json.dumps({"epoch": 13, "epochs": 40, "loss": 0.08, "dice": 0.91}) + "\n")
    page.get_by_text("13 values").first.wait_for()  # by itself
    page.get_by_label("Reason").fill("wrong labels")
    page.get_by_role("button", name="Stop the training").click()
    expect(page.locator(".flash")).to_contain_text("is stopped", use_inner_text=True)
    with node.database.read() as tx:
        row = training_runs.find(tx, run)
    assert (row["state"], row["reason"]) == ("cancelled", f"stopped by {site.account(Role.APPROVER)}: wrong labels")
    page.close()
