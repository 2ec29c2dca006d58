"""The site as a whole: who gets in, and what every page has in common."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from db.accounts import Role
from tests.pages import Site


def test_the_queue_is_shown_to_whoever_is_signed_in(site: Site, browser: Browser) -> None:
    page = site.page(browser, Role.VIEWER)
    page.goto("/queue")
    expect(page.locator("h1")).to_have_text("Queue", use_inner_text=True)
    page.close()
    with site.client(None) as nobody:
        answer = nobody.get("/queue?state=done")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/queue%3Fstate%3Ddone")
