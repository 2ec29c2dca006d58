"""The pages in Firefox, as in Chromium: every one without an error, live, with contours, in light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.settings import load
from db.accounts import Role
from db.database import Clock
from db.tables import input_set, job
from node.app import open_node
from node.web.site import routes_of
from node.web.site import site as made_of
from tests import pages as fixtures
from tests.conftest import find_program
from tests.driving import take_in, work_off
from tests.firefox import Firefox, firefox
from tests.pages import PASSWORD, Site, serving
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts
from tests.waiting import wait_until
from tests.watched import of_networks

STUDY = "1.2.826.0.1.3680043.8.498.7"
DARK = "return matchMedia('(prefers-color-scheme: dark)').matches"
EXAMPLES = fixtures.EXAMPLES | {"study_uid": STUDY, "input_set:int": "1", "run:int": "1"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Site]:
    """A node that has read a study, with studies that arrive and run, and a network that was watched."""
    home = tmp_path_factory.mktemp("site") / "home"
    home.mkdir(mode=0o700)
    shutil.copyfile(migrated, home / "planimeter.db")
    route = {"name": "chest", "networks": ["ct_lungs"], "destinations": [], "deadline_minutes": 60}
    values = {"node": {"home": home}, "receive": {"quiet_seconds": 0, "reserve_gb": 0, "port": 0}, "route": [route]}
    with ThresholdHosts() as hosts:
        node = open_node(load(None, values), hosts.address)
        take_in(node, small_series((48, 40, 24), study_uid=STUDY))
        work_off(node)
        with node.database.write() as tx:
            of_networks(tx, "plain")
        with serving(node) as served:
            yield served
        node.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = find_program("firefox-esr", "apt-get install firefox-esr")
    with firefox(program, tmp_path_factory.mktemp("firefox")) as opened:
        yield opened


def signed_in(browser: Firefox, site: Site, role: Role) -> None:
    with site.client(role) as client:
        session = client.cookies[site.policy.cookie]
    browser.go(f"{site.url}/static/planimeter.svg")
    browser.ask("WebDriver:DeleteAllCookies")
    browser.cookie(site.policy.cookie, session)
    browser.wrong()


def test_what_is_wrong_on_a_page_is_seen(browser: Firefox, site: Site) -> None:
    """The console is asked rightly: else nothing below would show anything."""
    browser.go(f"{site.url}/sign-in")
    browser.wrong()
    browser.run("const made = document.createElement('script'); made.textContent = '1'; document.body.append(made);")
    wait_until("the policy forbids it", lambda: any("Content-Security-Policy" in one for one in browser.wrong()))


def test_every_page_is_shown_without_an_error_in_light_and_dark(browser: Firefox, site: Site) -> None:
    signed_in(browser, site, Role.ADMIN)
    paths = [one.path for one in routes_of(made_of(site.node, site.policy)) if "GET" in (one.methods or ())]
    walked = 0
    for path in paths:
        if path in fixtures.NO_PAGES - {"/studies/{study_uid}/images/{input_set:int}"} or path.startswith("/static"):
            continue
        there = path
        for name, value in EXAMPLES.items():
            there = there.replace(f"{{{name}}}", value)
        grounds = set()
        browser.go(site.url + there)
        for dark in (False, True):
            browser.look(dark=dark)
            wait_until("it is so", lambda dark=dark: browser.run(DARK) is dark)  # type: ignore[misc]
            grounds.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
        fragment = not browser.run("return !!document.querySelector('link[rel=stylesheet]')")
        assert fragment or len(grounds) == 2, there
        assert browser.text("body"), there
        assert not browser.text("h1").startswith("That did not work"), there
        assert browser.wrong() == [], there
        walked += 1
    browser.look(dark=False)
    assert walked > 15


def test_somebody_signs_in_and_a_form_is_taken(browser: Firefox, site: Site) -> None:
    name = site.account(Role.OPERATOR)
    browser.go(f"{site.url}/sign-in")
    browser.ask("WebDriver:DeleteAllCookies")
    browser.go(f"{site.url}/sign-in?next=%2Falarms")
    browser.fill("input[name=name]", name)
    browser.fill("input[name=password]", PASSWORD)
    browser.click("main form button")
    wait_until("the page that was asked for", lambda: browser.run("return location.pathname") == "/alarms")
    browser.go(f"{site.url}/queue")
    browser.fill("input[name=text]", STUDY)
    browser.click("form[role=search] button")
    wait_until("it is found", lambda: browser.run("return location.search").startswith("?ids="))
    assert browser.text("tbody").count(STUDY) == 1
    browser.run("document.querySelector('form[role=search] input[name=csrf]').value = 'x'")
    browser.fill("input[name=text]", STUDY)
    browser.click("form[role=search] button")
    wait_until("a form without the token is refused", lambda: "This form is out of date" in browser.text())
    assert [one for one in browser.wrong() if "Security" in one] == []


def test_the_queue_lives_and_counts_down(browser: Firefox, site: Site) -> None:
    signed_in(browser, site, Role.VIEWER)
    with site.node.database.write() as tx:
        tx.execute(sa.update(input_set).values(deadline=Clock() + 85))
        tx.execute(sa.update(job).where(job.c.kind == "segment").values(state="running", windows_done=3, windows_of=54))
    browser.go(f"{site.url}/queue")
    wait_until("it is due", lambda: "due in 1 min" in browser.text("tbody"))
    browser.run("window.still = true")
    with site.node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.kind == "segment").values(windows_done=41))
    wait_until("what was committed is shown", lambda: "41 of 54 windows" in browser.text("tbody"))
    with site.node.database.write() as tx:
        tx.execute(sa.update(input_set).values(deadline=Clock() - 300))
    wait_until("it is late", lambda: "late by 5 min" in browser.text("tbody"))
    browser.run("document.querySelector('[data-deadline]').dataset.deadline -= 60")  # a minute later, nothing written
    wait_until("it counts on", lambda: "late by 6 min" in browser.text("tbody"))
    assert browser.run("return window.still"), "the page was not loaded again"
    assert browser.wrong() == []


def test_contours_are_drawn_and_the_slices_follow_the_keys(browser: Firefox, site: Site) -> None:
    signed_in(browser, site, Role.OPERATOR)
    browser.go(f"{site.url}/studies/{STUDY}")
    image = browser.one(".slices-image")
    painted = """
        const image = document.querySelector('.slices-image img');
        if (!image.complete || !image.naturalWidth) return -1;
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0);
        const of = context.getImageData(0, 0, canvas.width, canvas.height).data;
        let coloured = 0;
        for (let n = 0; n < of.length; n += 4) coloured += Math.max(of[n], of[n + 1], of[n + 2]) -
          Math.min(of[n], of[n + 1], of[n + 2]) > 60;
        return coloured;"""
    wait_until("contours are in the picture", lambda: browser.run(painted) > 50)
    shown = "return Number(document.querySelector('.slices').dataset.shown)"
    before = browser.run(shown)
    browser.ask("WebDriver:ElementSendKeys", id=image, text="\ue015")  # arrow down
    wait_until("the next slice", lambda: browser.run(shown) == before + 1)
    assert f"Slice {before + 2} of 24" in browser.text(".slices-where")
    for box in range(int(browser.run("return document.querySelectorAll('input[name=show]').length"))):
        browser.run("document.querySelectorAll('input[name=show]')[arguments[0]].click()", box)
    wait_until("without contours it is grey", lambda: browser.run(painted) == 0)
    assert browser.wrong() == []


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Firefox, site: Site) -> None:
    signed_in(browser, site, Role.ADMIN)
    browser.size(450, 800)  # the narrowest that Firefox's window gets
    for path in ("/queue", f"/studies/{STUDY}", "/watch", "/networks", "/alarms", "/storage"):
        browser.go(site.url + path)
        wide = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], path
    browser.size(1280, 900)
