"""The page of the destinations, in Chromium: what it says of each, and every button."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from db.accounts import Role
from node.app import Node
from tests.driving import take_in, work_off
from tests.fake_pacs import FakePacs
from tests.pages import HOSTILE, Site
from tests.synthetic import small_series


@pytest.fixture
def page(site: Site, browser: Browser) -> Iterator[Page]:
    made = site.page(browser, Role.OPERATOR)
    made.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
    yield made
    made.context.close()


def flash(page: Page, part: str) -> None:
    expect(page.get_by_role("status").filter(has_text=part)).to_be_visible()


def test_a_destination_is_paused_asked_and_resumed_by_keyboard(page: Page, node: Node, pacs: FakePacs) -> None:
    page.goto("/destinations")
    card = page.get_by_role("region", name="pacs")
    expect(card).to_contain_text("unknown")
    page.get_by_role("button", name="Pause pacs").focus()
    page.keyboard.press("Enter")
    flash(page, "pacs is paused")
    take_in(node, small_series())
    work_off(node)
    assert pacs.objects == []
    expect(card.locator(".state")).to_have_text("paused")
    expect(card).to_contain_text("3, the oldest since")
    expect(card).to_contain_text("by operator-of-the-tests")
    page.get_by_role("button", name="C-ECHO: ask pacs for a sign of life").click()
    flash(page, "pacs answers C-ECHO")
    work_off(node)
    assert pacs.objects == []  # an echo ends no pause
    page.get_by_role("button", name="Resume sending to pacs").click()
    flash(page, "pacs goes on")
    work_off(node)
    assert len(pacs.objects) == 3
    expect(card.locator(".state")).to_have_text("up")  # without being loaded again
    expect(card).to_contain_text("Delivered")


def test_a_destination_that_is_away_says_so_in_words(page: Page, node: Node, pacs: FakePacs) -> None:
    pacs.stop()
    take_in(node, small_series())
    work_off(node)
    page.goto("/destinations")
    card = page.get_by_role("region", name="pacs")
    expect(card.locator(".state")).to_have_text("down")
    expect(card).to_contain_text("Last error")
    page.get_by_role("button", name="C-ECHO: ask pacs for a sign of life").click()
    flash(page, "pacs does not answer")


def test_what_is_dead_is_sent_again(page: Page, node: Node, pacs: FakePacs) -> None:
    pacs.statuses = [0xA900] * 3
    take_in(node, small_series())
    work_off(node)
    page.goto("/destinations")
    expect(page.get_by_role("region", name="pacs")).to_contain_text("(3 objects)")
    page.get_by_role("button", name="Retry what is dead at pacs").click()
    flash(page, "3 objects wait for pacs again")
    work_off(node)
    assert len(pacs.objects) == 3


def test_what_a_destination_answers_is_text(page: Page, node: Node) -> None:
    take_in(node, small_series())
    work_off(node)
    with node.database.write() as tx:
        tx.execute(sa.text("UPDATE delivery SET state = 'dead', reason = :x"), {"x": HOSTILE})
        tx.execute(sa.text("UPDATE destination SET last_error = :x, paused_by = :x, paused_since = 1"), {"x": HOSTILE})
    page.goto("/destinations")
    assert page.title().startswith("Destinations")
    assert page.locator("img[src=x], main script").count() == 0
    assert page.locator("main").inner_text().count("{{7*7}}") == 3


def test_a_viewer_has_no_buttons_and_nobody_else_may_look(site: Site) -> None:
    with site.client(Role.VIEWER) as client:
        said = client.get("/destinations").text
        assert "pacs" in said
        assert "Pause" not in said
        for what in ("pause", "resume", "echo", "retry"):
            assert client.submit(f"/destinations/pacs/{what}", at="/destinations").status_code == 403
    with site.client(Role.OPERATOR) as client:
        client.submit("/destinations/nowhere/pause", at="/destinations")
        assert "is no [[peer]]" in client.get("/destinations").text
        client.submit("/destinations/pacs/retry", at="/destinations")
        assert "nothing that was to go to pacs is dead" in client.get("/destinations").text
    with site.client(None) as nobody:
        assert nobody.get("/destinations").status_code == 303
        assert nobody.post("/destinations/pacs/pause").status_code in (303, 403)
