"""Every page of the site, found by its routes: roles, hostile strings, accessibility; and the queue as it lives.

A page that is added is walked too. Where its path has {parameters}, tests/pages.py: EXAMPLES says what stands for them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect
from starlette.routing import Route

from db.accounts import Role
from db.database import clock
from db.tables import job, study
from node.app import Node
from node.operations import accounts
from node.web import shared as sharing
from node.web.policy import WebPolicy
from node.web.shared import Shared
from node.web.site import routes_of
from node.web.site import site as made_of
from tests import pages as fixtures
from tests.crowd import Crowd, as_usual
from tests.driving import take_in
from tests.node_packages import axe
from tests.pages import HOSTILE, PASSWORD, QUICK, Site, hostile_series, open_pages, serving
from tests.waiting import wait_until
from tests.watched import of_networks

PEERS: dict[str, Any] = {
    "peer": [{"name": "pacs", "ae_title": "ORTHANC", "destination": {"host": "127.0.0.1", "port": 4}}],
    "route": [{"name": "chest", "networks": ["ct_lungs"], "destinations": ["pacs"]}],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Site]:
    """A node with some hundred studies, and one whose every text is an attack."""
    node = open_pages(tmp_path_factory.mktemp("pages") / "home", migrated, **PEERS)
    with node.database.write() as tx:
        crowd = Crowd(Random(0), clock(tx))
        as_usual(crowd, 200, 2)
        hostile = crowd.study("closed", 2, HOSTILE)
        crowd.rows[study][-1]["accession"] = HOSTILE
        crowd.job(hostile, "choose", "refused")
        crowd.rows[job][-1]["reason"] = HOSTILE
        crowd.write(tx)
    with node.database.write() as tx:
        of_networks(tx, HOSTILE)
    take_in(node, hostile_series())
    with serving(node) as served:
        yield served
    node.close()


def shown(node: Node) -> list[Route]:
    """The pages that are looked at: GET, and no fragments alone."""
    routes = [route for route in routes_of(made_of(node, WebPolicy(passwords=QUICK))) if "GET" in (route.methods or ())]
    return [route for route in routes if route.path not in fixtures.NO_PAGES]


def address(path: str, study_uid: str) -> str:
    """The path with something that is there in place of its parameters."""
    known = {"study_uid": study_uid, **fixtures.EXAMPLES}

    def example(match: re.Match[str]) -> str:
        name = match[1].split(":")[0]
        assert name in known, f"{path}: tests/pages.py: EXAMPLES does not say what stands for {name}"
        return known[name]

    return re.sub(r"\{([^}]+)\}", example, path)


@pytest.fixture(scope="module")
def hostile_uid(site: Site) -> str:
    with site.node.database.read() as tx:
        newest = sa.select(study.c.study_uid).order_by(study.c.id.desc()).limit(1)
        return str(tx.execute(newest).scalar_one())


def test_every_page_says_who_may_see_it_and_nobody_else_does(site: Site, hostile_uid: str) -> None:
    roles = list(Role)
    clients = {role: site.client(role) for role in roles}
    opened = {role: client.__enter__() for role, client in clients.items()}
    with site.client(None) as nobody:
        for route in shown(site.node):
            needed: Role | None = route.endpoint.planimeter_role  # type: ignore[attr-defined]
            path = address(route.path, hostile_uid)
            if needed is None:
                assert nobody.get(path).status_code < 500, path
                continue
            answer = nobody.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/sign-in"), path
            for role, client in opened.items():
                status = client.get(path, follow_redirects=False).status_code
                assert (status == 403) is not role.may(needed), f"{role} at {path}: {status}"
                assert status < 500, f"{role} at {path}: {status}"
    for client in clients.values():
        client.__exit__(None, None, None)


def test_nothing_is_changed_by_whoever_may_not(site: Site) -> None:
    """Every POST of the site, by every role below the one it needs, with a good token."""
    routes = [route for route in routes_of(made_of(site.node, site.policy)) if "POST" in (route.methods or ())]
    assert len(routes) >= 8
    with site.node.database.read() as tx:
        before = tx.execute(sa.select(sa.func.count()).select_from(study)).scalar_one()
    for role in (None, Role.VIEWER, Role.OPERATOR, Role.APPROVER):
        with site.client(role) as client:
            token = client.token("/queue")
            for route in routes:
                needed: Role | None = route.endpoint.planimeter_role  # type: ignore[attr-defined]
                if needed is None or (role is not None and role.may(needed)):
                    continue
                path = re.sub(r"\{[^}]+\}", "1", route.path)
                answer = client.post(path, data={"csrf": token, "id": "1", "name": "x"})
                if role is None:
                    assert answer.headers.get("location") == "/sign-in", path
                else:
                    assert answer.status_code == 403, f"{role} at {path}"
    with site.node.database.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(study)).scalar_one() == before


def test_no_string_of_a_header_is_more_than_text_on_any_page(site: Site, browser: Browser, hostile_uid: str) -> None:
    """With names of patients shown, too: a script, an attribute or a tag that came through would change the page."""
    page = site.page(browser)
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto("/queue")
    page.get_by_role("button", name="Show patients").click()
    seen = 0
    for route in shown(site.node):
        path = address(route.path, hostile_uid)
        answer = page.goto(path)
        assert answer is not None
        if "text/html" not in answer.headers["content-type"]:
            continue
        seen += HOSTILE in page.locator("body").inner_text()
        assert page.title() != "owned", path
        assert page.locator("img[src=x], b[onx], main script").count() == 0, path
        assert "{{7*7}}49" not in page.content(), path
    assert seen, "the hostile strings were on a page"
    assert complaints == [], "no page asks for what its policy forbids"
    page.close()


FAULTS = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(" | ")}`);
}"""


def faults(page: Page, source: str) -> list[str]:
    """What axe-core finds that is serious or critical."""
    page.evaluate(source)
    return list(page.evaluate(FAULTS))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_used_by_everybody(site: Site, browser: Browser, hostile_uid: str, scheme: Any) -> None:
    """axe-core, in both colour schemes. Its own script is let in by a browser that is told to."""
    source = axe()
    for role, width in ((Role.ADMIN, 1280), (None, 390)):
        page = site.page(browser, role, bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 800})
        found: dict[str, list[str]] = {}
        for route in shown(site.node):
            needed = route.endpoint.planimeter_role  # type: ignore[attr-defined]
            if role is None and needed is not None:
                continue
            page.goto(address(route.path, hostile_uid))
            if "text/html" in str(page.evaluate("() => document.contentType")) and page.locator("main").count():
                found[route.path] = faults(page, source)
        assert found
        assert {path: said for path, said in found.items() if said} == {}
        page.close()


def test_the_judge_of_accessibility_sees_a_fault(site: Site, browser: Browser) -> None:
    page = site.page(browser, None, bypass_csp=True)
    page.goto("/sign-in")
    page.evaluate("() => document.querySelector('label').replaceWith(document.createElement('input'))")
    assert any(one.startswith("label") for one in faults(page, axe()))
    page.close()


def test_signing_in_with_the_keyboard_and_back_to_where_one_wanted_to_be(site: Site, browser: Browser) -> None:
    name = site.account(Role.OPERATOR)
    page = site.page(browser, None)
    page.goto("/queue?state=failed")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "skip"
    page.get_by_label("Name").focus()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type("not this one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("name or password is wrong", use_inner_text=True)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/queue?state=failed")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.go_back()
    page.reload()
    assert "/sign-in?next=/queue" in page.url, "nothing of it was kept"
    page.close()


def test_the_queue_follows_the_database_by_itself(site: Site, browser: Browser) -> None:
    page = site.page(browser, Role.VIEWER)
    page.goto("/queue?state=running")
    page.get_by_text("of 54 windows").first.wait_for()
    link = page.locator("tbody a").first
    link.focus()
    focused = page.evaluate("() => document.activeElement.id")
    with site.node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.state == "running").values(windows_done=53))
    page.get_by_text("53 of 54 windows").first.wait_for()
    assert page.evaluate("() => document.activeElement.id") == focused, "what is filled again keeps the focus"
    with site.node.database.write() as tx:
        tx.execute(sa.update(job).where(job.c.state == "running").values(state="done"))
    page.get_by_text("No study is like that.").wait_for()
    page.close()


def test_a_page_that_nothing_happened_to_is_not_sent_again(site: Site) -> None:
    with site.client(Role.VIEWER) as client:
        headers = {"x-planimeter-fragment": "1"}
        first = client.get("/queue/rows", headers=headers)
        etag = first.headers["etag"]
        again = client.get("/queue/rows", headers=headers | {"if-none-match": etag})
        assert (again.status_code, again.content) == (304, b"")
        with site.node.database.write() as tx:
            tx.execute(sa.update(study).where(study.c.id == 1).values(generation=5))

        def same() -> str:
            answer = client.get("/queue/rows", headers=headers | {"if-none-match": etag})
            assert answer.status_code == 304, "something was written, and nothing of it is on the page"
            return str(answer.headers["etag"])

        wait_until("it was looked at again", lambda: same() != etag)
        other = client.get("/queue/rows?state=done", headers=headers | {"if-none-match": etag})
        assert other.status_code == 200, "another question"
        with site.client(Role.VIEWER) as shows:
            shows.submit("/patients", show="yes")
            seen = shows.get("/queue/rows", headers=headers | {"if-none-match": etag})
            assert seen.status_code == 200, "somebody who sees more"
            assert "PAT00200" in seen.text
        assert "PAT00200" not in first.text


def test_what_many_look_at_is_made_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as half a second goes by, and what was committed last is seen in the end."""
    made: list[str] = []
    shared = Shared()

    def make() -> str:
        made.append("")
        return f"body {len(made)}"

    monkeypatch.setattr(sharing, "SECONDS", 3600)
    threads = [threading.Thread(target=shared.get, args=("queue", "mark 1", make)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert shared.get("queue", "mark 2", make) == ("mark 1", "body 1"), "young, and it says of when it is"
    monkeypatch.setattr(sharing, "SECONDS", 0)
    wait_until("it is no more young", lambda: shared.get("queue", "mark 2", make) == ("mark 2", "body 2"))
    for n in range(200):
        shared.get(n, "", make)
    assert len(shared._made) == 64
    monkeypatch.undo()
    with site.client(Role.VIEWER) as client:
        headers = {"x-planimeter-fragment": "1"}

        def rows() -> httpx.Response:
            return client.get("/queue/rows", headers=headers)

        first = rows()
        headers["if-none-match"] = first.headers["etag"]
        with site.node.database.write() as tx:
            Crowd(Random(0), clock(tx)).write(tx)
            tx.execute(sa.update(study).where(study.c.id == 200).values(accession="SEEN"))
            tx.execute(sa.update(study).where(study.c.state == "open").values(state="closed"))
        wait_until("the change is seen", lambda: rows().status_code == 200)
        assert rows().text != first.text


def test_looking_for_a_study_leaves_nothing_in_an_address(site: Site, browser: Browser) -> None:
    page = site.page(browser, Role.VIEWER)
    page.goto("/queue")
    box = page.get_by_role("searchbox")
    box.fill("ACC000042")
    page.get_by_role("button", name="Find").click()
    page.wait_for_url(lambda url: "ids=" in url)
    assert page.url.endswith("/queue?ids=42")
    assert page.locator("tbody tr").count() == 1
    page.get_by_role("searchbox").fill("nobody has this")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("status").wait_for()
    expect(page.get_by_role("status")).to_contain_text("no study has that accession number", use_inner_text=True)
    page.close()


@pytest.mark.parametrize(
    "query",
    ["state=nonsense", "before=x", "before=-1", "after=99999999999999999999999", "ids=1.2.x..", "route=%00", "route='"],
)
def test_what_is_no_question_is_answered_with_a_page(site: Site, query: str) -> None:
    with site.client(Role.VIEWER) as client:
        for path in ("/queue", "/queue/rows"):
            assert client.get(f"{path}?{query}").status_code == 200


def test_users_are_made_and_changed_on_their_page(site: Site, browser: Browser) -> None:
    page = site.page(browser, Role.ADMIN)
    page.goto("/users")
    form = page.locator("form[action='/users/add']")
    form.get_by_label("Name").fill("Nora")
    form.get_by_label("Role").select_option("operator")
    form.get_by_label("Password", exact=True).fill(PASSWORD)
    form.get_by_label("Password again").fill(PASSWORD)
    form.get_by_role("button").click()
    expect(page.get_by_role("status")).to_have_text("nora may sign in as operator", use_inner_text=True)
    page.get_by_label("Role of nora", exact=True).select_option("viewer")
    page.get_by_role("button", name="Set the role of nora").click()
    expect(page.get_by_role("status")).to_have_text("nora is viewer from the next sign-in on", use_inner_text=True)
    page.get_by_role("button", name="Disable nora").click()
    expect(page.get_by_role("status")).to_contain_text("may not sign in any more", use_inner_text=True)
    page.get_by_role("button", name="Disable admin-of-the-tests").click()
    expect(page.get_by_role("status")).to_contain_text("the only administrator", use_inner_text=True)
    found = {one.name: (one.role, one.disabled) for one in accounts.listing(site.node.database)}
    assert found["nora"] == (Role.VIEWER, True)
    page.close()


def test_another_site_can_neither_send_a_form_nor_frame_a_page(site: Site, browser: Browser) -> None:
    """In the browser of somebody who is signed in, from a page of somebody else's, that even knows the token."""
    page = site.page(browser, Role.ADMIN)
    page.goto("/users")
    token = page.locator("form[action='/users/add'] input[name=csrf]").get_attribute("value")
    page.goto("about:blank")
    fields = {"csrf": token, "name": "mallory", "role": "admin", "new": PASSWORD, "again": PASSWORD}
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    page.set_content(f'<form method="post" action="{site.url}/users/add">{inputs}<button>win a prize</button></form>')
    with page.expect_navigation() as navigated:
        page.get_by_role("button").click()
    assert navigated.value is not None
    assert navigated.value.status == 403
    assert "mallory" not in {one.name for one in accounts.listing(site.node.database)}
    page.goto("about:blank")
    page.set_content(f'<iframe src="{site.url}/sign-in"></iframe>')
    wait_until("the frame is refused", lambda: any(frame.url.startswith("chrome-error") for frame in page.frames))
    page.close()


def test_a_link_on_another_site_leads_in_and_signs_nobody_out(site: Site, browser: Browser) -> None:
    """The link of an alarm's e-mail, in a browser in which one is signed in."""
    page = site.page(browser, Role.VIEWER)
    page.goto("/queue")
    before = page.context.cookies(site.url)
    page.goto(site.url.replace("127.0.0.1", "localhost") + "/sign-in")  # another site, to a browser
    link = "(url) => { document.body.innerHTML = '<a>alarm</a>'; document.querySelector('a').href = url; }"
    page.evaluate(link, f"{site.url}/queue?state=failed")
    page.get_by_role("link", name="alarm").click()
    page.wait_for_url(f"{site.url}/queue?state=failed")
    page.get_by_role("heading", name="Queue").wait_for()
    assert page.context.cookies(site.url) == before
    page.close()


def test_a_page_that_fails_says_so_without_saying_what_was_asked(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    from node.web.page import public

    @public
    def broken(_request: Any) -> Any:
        raise RuntimeError("a patient's name")

    app = made_of(site.node, site.policy)
    app.router.routes.insert(0, Route("/broken", broken))
    from node.web.server import Server
    from tests.pages import Client

    server = Server(app, site.policy)
    server.start()
    with Client(server.url) as client:
        answer = client.get("/broken?name=SECRET")
        assert answer.status_code == 500
        assert "The log of the node says why." in answer.text
        assert "patient" not in answer.text
        assert "content-security-policy" in answer.headers
    server.stop()
    said = [record.getMessage() for record in caplog.records if record.name != "httpx"]  # the caller's own library
    assert any("a page failed: GET" in one for one in said)
    assert not any("SECRET" in one for one in said)
    wait_until("it has ended", lambda: not server._thread.is_alive())
