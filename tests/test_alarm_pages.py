"""The page of the alarms, and the banner on top of all pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, expect

from db import away, events, processes
from db.accounts import Role
from db.database import Clock
from db.tables import incident, outage, process
from node.operations.alarms.incidents import judge
from node.operations.alarms.rules import AlarmPolicy
from tests.pages import Site, open_pages, serving

POLICY = AlarmPolicy(clear_seconds=0.0)


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Iterator[Site]:
    """A node with a destination that is away, a process that is lost, and something that is over."""
    node = open_pages(tmp_path / "home", migrated)
    with node.database.write() as tx:
        processes.begin(tx, "gpu2/work-1", "work")
        tx.execute(sa.update(process).values(beat=Clock() - 3600))
    judge(node.database, POLICY, node.archive.home, datetime.now(UTC))
    with node.database.write() as tx:
        tx.execute(sa.delete(process))
        tx.execute(sa.update(incident).values(since=Clock() - 3700, opened=Clock() - 3640))
    for _ in range(2):
        judge(node.database, POLICY, node.archive.home, datetime.now(UTC))
    with node.database.write() as tx:
        for name in ("pacs", "archive"):
            away.unreachable(tx, name, "Doe^Jane", 15)
        tx.execute(sa.update(outage).values(since=Clock() - 400))
    judge(node.database, POLICY, node.archive.home, datetime.now(UTC))
    with serving(node) as served:
        yield served
    node.close()


def test_an_alarm_is_shown_on_every_page_until_somebody_acknowledges_it(site: Site, browser: Browser) -> None:
    page = site.page(browser, Role.OPERATOR)
    page.goto("/queue")
    banners = page.locator(".banner")
    assert banners.all_inner_texts() == [
        f"{name} does not answer; what is for it waits." for name in ("Pacs", "Archive")
    ]
    page.goto("/alarms")
    assert page.locator(".alarm-open").count() == 2
    expect(page.locator("tbody")).to_contain_text("gpu2/work-1 has not been heard of", use_inner_text=True)
    pacs = page.locator(".alarm-open", has_text="pacs does not answer")
    pacs.get_by_label("Remark").fill("the vendor is on it")
    pacs.get_by_role("button").click()
    page.wait_for_url("**/alarms")
    expect(page.locator(".flash")).to_contain_text("is acknowledged: no more reminders", use_inner_text=True)
    assert banners.all_inner_texts() == ["Archive does not answer; what is for it waits."]
    known = page.locator(".alarm-acknowledged")
    assert "operator-of-the-tests knows of it" in known.inner_text()
    assert known.locator("button").count() == 0
    with site.node.database.read() as tx:
        (event,) = [row for row in events.listing(tx) if row["what"] == "alarm-acknowledged"]
    assert (event["who"], event["subject"]) == ("operator-of-the-tests", "pacs")
    with site.node.database.write() as tx:
        away.reachable(tx, "archive")
    for _ in range(2):
        judge(site.node.database, POLICY, site.node.archive.home, datetime.now(UTC))
    page.locator("tbody", has_text="archive does not answer").wait_for()  # the page lives
    page.context.close()


def test_a_viewer_sees_alarms_and_cannot_acknowledge_them(site: Site) -> None:
    with site.client(Role.VIEWER) as viewer:
        text = viewer.get("/alarms").text
        assert "archive does not answer" in text
        assert "/alarms/acknowledge" not in text
        answer = viewer.submit("/alarms/acknowledge", id="2")
        assert answer.status_code == 403
        assert viewer.get("/alarms?before=2").status_code == viewer.get("/alarms?before=x").status_code == 200
    with site.client(Role.OPERATOR) as operator:
        for wrong in ("999", "-1", "1'--", ""):
            answer = operator.submit("/alarms/acknowledge", at="/alarms", id=wrong)
            assert answer.status_code == 303
