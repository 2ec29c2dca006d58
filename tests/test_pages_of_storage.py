"""The pages storage and audit, in a browser and by plain requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, expect

from db import events
from db.accounts import Role
from db.database import Clock
from db.tables import instance, study
from node.app import Node
from node.operations import backup
from node.operations.retention import Policy
from tests.driving import take_in
from tests.pages import HOSTILE, Site
from tests.synthetic import small_series


def old_study(node: Node, days: float = 40) -> str:
    images = small_series((6, 5, 3))
    take_in(node, images)
    with node.database.write() as tx:
        tx.execute(sa.update(study).values(state="closed", closed=Clock() - days * 86_400))
        tx.execute(sa.update(instance).values(arrived=Clock() - days * 86_400))
    return str(images[0].StudyInstanceUID)


def with_policy(node: Node, **values: object) -> None:
    object.__setattr__(node, "retention", Policy(**values))  # type: ignore[arg-type]


def test_storage_shows_what_is_there_and_removes_what_may_go(
    site: Site, browser: Browser, node: Node, tmp_path: Path
) -> None:
    uid = old_study(node)
    with_policy(node, originals_days=30)
    given = dict(originals=True, config=None, committing=(), node_version="0.1.0", who="anna")
    made = backup.backup(node.database, node.archive.home, tmp_path / "b", **given)  # type: ignore[arg-type]
    page = site.page(browser, Role.ADMIN)
    page.goto("/storage")
    shown = page.locator("main").inner_text()
    assert uid in shown
    assert "older than 30 days" in shown
    assert made.sha256 in shown
    assert "by anna" in shown
    assert "images\t3" in shown
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove it now").click()
    page.wait_for_selector(".flash")
    expect(page.locator(".flash")).to_contain_text("3 files of originals", use_inner_text=True)
    expect(page.locator("main")).to_contain_text("The images of 1 studies are not kept any more.", use_inner_text=True)
    page.close()
    with node.database.read() as tx:
        last = events.last(tx, "purged")
    assert last is not None
    assert last["who"] == "admin-of-the-tests"
    assert not list((node.archive.home / "store").rglob("*.dcm"))


@pytest.mark.parametrize(
    ("refuse", "reserve", "said"),
    [
        (0, 0, "There is room."),
        (1 << 60, 0, "New callers who would send are turned away"),
        (1 << 60, 1 << 60, "Objects are refused (0xA700)"),
    ],
)
def test_storage_says_what_the_disk_means_for_senders(
    site: Site, node: Node, refuse: int, reserve: int, said: str
) -> None:
    with_policy(node, refuse_bytes=refuse, reserve_bytes=reserve)
    with site.client(Role.OPERATOR) as client:
        text = client.get("/storage").text
    assert said in text
    assert "Nothing goes by itself" in text
    assert "Remove it now" not in text


def test_who_may_not_is_refused(site: Site, node: Node) -> None:
    old_study(node)
    with_policy(node, originals_days=30)
    with site.client(Role.VIEWER) as client:
        assert client.get("/storage").status_code == 403
        assert client.get("/audit").status_code == 403
    with site.client(Role.OPERATOR) as client:
        assert "Remove it now" not in client.get("/storage").text
        assert client.submit("/storage/purge", at="/storage").status_code == 403
        assert client.get("/audit").status_code == 403
    with site.client(Role.ADMIN) as client:
        assert client.post("/storage/purge").status_code == 403  # without the token of the form
    assert len(list((node.archive.home / "store").rglob("*.dcm"))) == 3


def record(node: Node, count: int) -> None:
    with node.database.write() as tx:
        for number in range(count):
            who = "anna" if number % 2 else "ben"
            events.append(tx, who, "promote", f"net{number % 3}", {"why": HOSTILE, "number": number})


def test_the_record_is_shown_filtered_turned_over_and_verified(site: Site, browser: Browser, node: Node) -> None:
    record(node, 120)
    page = site.page(browser, Role.APPROVER)
    page.goto("/audit")
    assert page.locator("tbody tr").count() == 50
    with node.database.read() as tx:
        head = str(events.head(tx))
    count = head.split(":")[0]
    assert head in page.locator("main").inner_text()
    expect(page.locator("main")).to_contain_text(f"Verified up to event {count}", use_inner_text=True)
    page.locator("select[name=who]").select_option("anna")
    page.locator("select[name=what]").select_option("promote")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**who=anna**")
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**before=**")
    assert page.locator("tbody tr").count() == 10
    assert {row.split("\t")[2] for row in page.locator("tbody tr").all_inner_texts()} == {"anna"}
    page.locator("summary").first.click()
    expect(page.locator("details[open]")).to_contain_text(HOSTILE, use_inner_text=True)
    assert page.title() != "owned"
    page.get_by_label("A head that was noted").fill(head)
    page.get_by_role("button", name="Verify").click()
    page.wait_for_selector(".flash")
    expect(page.locator(".flash")).to_contain_text("is the one that was noted", use_inner_text=True)
    page.close()


def test_a_record_that_was_changed_is_said_in_red(site: Site, node: Node) -> None:
    record(node, 3)
    with node.database.write() as tx:
        tx.execute(sa.text("DROP TRIGGER event_no_update"))
        tx.execute(sa.text("UPDATE event SET who = 'mallory' WHERE number = 2"))
    with site.client(Role.APPROVER) as client:
        text = client.get("/audit").text
        assert 'class="fault"' in text
        assert "event 2 was changed" in text
        answer = client.submit("/audit/verify", at="/audit", head="nonsense")
        assert answer.status_code == 303
        assert "a head of the record is NUMBER:SHA256" in client.get("/audit").text


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=99999999999999999999", "who=%00", "what=%27--"])
def test_a_strange_address_is_no_error(site: Site, node: Node, query: str) -> None:
    record(node, 2)
    with site.client(Role.APPROVER) as client:
        assert client.get(f"/audit?{query}").status_code == 200


def test_an_empty_node_has_both_pages(site: Site) -> None:
    with site.client(Role.ADMIN) as client:
        assert client.get("/storage").status_code == 200
        assert "details" not in json.dumps(client.get("/audit").text[:100])
