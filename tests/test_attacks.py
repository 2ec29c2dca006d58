"""Hostile pages in Chromium: another origin posts and fetches, a page is framed, a name is bound to our address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from db.accounts import Role
from node.app import Node
from node.operations import accounts
from tests.conftest import find_program
from tests.pages import Site, open_pages, serving

#: what the attacker's page does is said by the test
BLANK = "<!doctype html><title>Win a holiday</title><p>Win a holiday"
#: names that lead to this machine: what a DNS server of the attacker's answers
RULES = "--host-resolver-rules=MAP evil.example 127.0.0.1,MAP * ~NOTFOUND,EXCLUDE 127.0.0.1,EXCLUDE localhost"
POST = """([url, fields]) => {
  const form = document.createElement('form');
  [form.method, form.action] = ['post', url];
  for (const [name, value] of Object.entries(fields)) {
    const one = document.createElement('input');
    [one.name, one.value] = [name, value];
    form.append(one);
  }
  document.body.append(form);
  form.submit();
}"""
FETCH = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    return [answer.type, answer.status, await answer.text()];
  } catch (error) {
    return ['error', 0, ''];
  }
}"""
FRAME = """(url) => {
  const one = document.createElement('iframe');
  one.src = url;
  document.body.append(one);
}"""
URLENCODED = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Node]:
    opened = open_pages(tmp_path_factory.mktemp("attacked") / "home", migrated)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def site(node: Node) -> Iterator[Site]:
    with serving(node) as served:
        yield served


@pytest.fixture(scope="module")
def misled(browser: Browser) -> Iterator[Browser]:
    """Chromium of a person whom a DNS server of the attacker's answers."""
    program = find_program("chromium", "apt-get install chromium")
    opened = browser.browser_type.launch(executable_path=program, args=["--no-sandbox", RULES])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of the attacker's web server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(BLANK.encode())

        def log_message(self, *_arguments: Any) -> None:
            """Nobody wants to know."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def victim(site: Site, misled: Browser) -> Iterator[BrowserContext]:
    """An administrator who is signed in, in the same browser."""
    page = site.page(misled, Role.ADMIN)
    page.goto("/users")
    assert page.locator("main h1").count()
    yield page.context
    page.context.close()


def token(victim: BrowserContext) -> str:
    return str(victim.pages[0].locator("form[action='/users/add'] input[name=csrf]").get_attribute("value"))


def names(site: Site) -> set[str]:
    return {one.name for one in accounts.listing(site.node.database)}


def lured(victim: BrowserContext, origin: str) -> Page:
    """The person follows a link."""
    page = victim.new_page()
    page.goto(f"{origin}/")
    expect(page.locator("body")).to_contain_text("holiday", use_inner_text=True)
    return page


WANTED = {"name": "mallory", "role": "admin", "new": "seven brown otters", "again": "seven brown otters"}


def test_the_form_that_the_attacks_imitate_works(site: Site, victim: BrowserContext) -> None:
    """Else what follows would show nothing."""
    before = names(site)
    with victim.pages[0].expect_navigation():
        victim.pages[0].evaluate(POST, ["/users/add", {**WANTED, "name": "colleague", "csrf": token(victim)}])
    assert names(site) == before | {"colleague"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost"])
def test_a_form_of_another_origin_changes_nothing(
    site: Site, victim: BrowserContext, elsewhere: int, host: str
) -> None:
    before, known = names(site), token(victim)
    page = lured(victim, f"http://{host}:{elsewhere}")
    for fields in (WANTED, {**WANTED, "csrf": "guessed"}, {**WANTED, "csrf": known}):  # even one who knows the token
        with page.expect_navigation() as went:
            page.evaluate(POST, [f"{site.url}/users/add", fields])
        answer = went.value
        assert answer is not None
        assert answer.status == 403
        expect(page.locator("body")).to_contain_text("does not come from a page of this node", use_inner_text=True)
        page.goto(f"http://{host}:{elsewhere}/")
    assert names(site) == before


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
def test_a_script_of_another_origin_reads_nothing(
    site: Site, victim: BrowserContext, elsewhere: int, host: str
) -> None:
    before = names(site)
    page = lured(victim, f"http://{host}:{elsewhere}")
    for options in ({"credentials": "include"}, {"credentials": "include", "mode": "no-cors"}):
        kind, status, body = page.evaluate(FETCH, [f"{site.url}/users", options])
        assert (kind in ("error", "opaque"), status, body) == (True, 0, "")
    write = {
        "credentials": "include",
        "method": "POST",
        "mode": "no-cors",
        "body": f"csrf={token(victim)}&name=mallory",
    }
    page.evaluate(FETCH, [f"{site.url}/users/add", write])
    assert names(site) == before
    page.evaluate(FRAME, f"{site.url}/users")
    page.wait_for_function("document.querySelector('iframe').contentDocument === null")  # it was loaded, as an error
    framed = page.frames[-1]
    assert "csrf" not in framed.content()


def test_a_name_that_is_bound_to_our_address_is_not_ours(site: Site, victim: BrowserContext) -> None:
    before = names(site)
    port = site.url.rpartition(":")[2]
    bound = f"http://evil.example:{port}"
    page = victim.new_page()
    answer = page.goto(f"{bound}/queue")
    assert answer is not None
    assert answer.status == 421
    # for this browser the script below is of the very origin that it asks
    for path in ("/queue", "/users", "/sign-in", "/static/planimeter.js", "/metrics"):
        kind, status, body = page.evaluate(FETCH, [path, {"credentials": "include"}])
        assert (kind, status) == ("basic", 421), path
        assert "not known by that name" in body
    write = {"method": "POST", "body": "name=mallory"} | URLENCODED
    assert page.evaluate(FETCH, ["/users/add", write])[1] == 421
    assert names(site) == before
    assert page.evaluate("document.cookie") == ""
