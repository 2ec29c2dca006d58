"""The pages in a browser: the site on a free port over a real database, signed-in people, a hostile study.

The fixtures are in conftest.py: `site` serves the pages of the fixture `node`, `browser` is Chromium; so a test says
`page = site.page(browser, Role.OPERATOR)` or `client = site.client(Role.VIEWER)`. Who has a node of their own, as a
module that shares one among its tests, says `with serving(node) as site`.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pydicom.dataset import Dataset

from config.settings import load
from db.accounts import Role
from node.app import Node, open_node
from node.operations import accounts
from node.operations.passwords import Passwords
from node.web.policy import WebPolicy
from node.web.server import Server
from node.web.site import site as made_of
from tests.synthetic import small_series

PASSWORD = "seven brown otters"
#: how long a page is waited for
LONG_MS = 60_000
#: argon2 as cheap as it can be: the tests sign in often
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

#: a text that would run, break out of an attribute, or show as markup, wherever it is not escaped
HOSTILE = "\"'><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>{{7*7}}${7*7}"
#: the same within the 16 and 64 letters that some attributes have
HOSTILE_SHORT = "'\"><b onx=1>"

#: what stands for the parameters of routes when all of them are walked; a page that has others adds its own
EXAMPLES: dict[str, str] = {"network": "ct_lungs", "run": "1", "name": "report.html", "label": "1"}
#: GET routes that are no pages: files to be downloaded, and the like
NO_PAGES: set[str] = {
    *("/favicon.ico", "/health/live", "/health/ready", "/metrics", "/reports/{run:int}/{name}"),
    # of a study that a network has read: tests/test_study_page.py looks at them
    "/studies/{study_uid}/images/{input_set:int}",
    "/studies/{study_uid}/images/{input_set:int}/{k:int}.png",
    "/studies/{study_uid}/exports/{export:int}.zip",
}


@dataclass
class Site:
    """The pages of a node, served in this process.

    Attributes:
        node, policy, url: what is served, how, and where.
    """

    node: Node
    policy: WebPolicy
    url: str
    _cookies: dict[Role, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def account(self, role: Role) -> str:
        """The name of an account in a role; its password is PASSWORD."""
        name = f"{role}-of-the-tests"
        with self._lock:
            if not any(one.name == name for one in accounts.listing(self.node.database)):
                accounts.add(self.node.database, QUICK, name, PASSWORD, role, "tests")
        return name

    @contextmanager
    def client(self, role: Role | None = Role.ADMIN) -> Iterator[Client]:
        """An HTTP client, signed in; None: not."""
        with Client(self.url) as client:
            if role is not None:
                client.sign_in(self.account(role), PASSWORD)
            yield client

    def page(self, browser: Browser, role: Role | None = Role.ADMIN, **options: Any) -> Page:
        """A page of a browser of its own, signed in; None: not. A script that fails there fails the test."""
        context = browser.new_context(base_url=self.url, **options)
        if role is not None:
            self._lend(context, role)
        page = context.new_page()
        page.set_default_timeout(LONG_MS)
        return page

    def _lend(self, context: BrowserContext, role: Role) -> None:
        if role not in self._cookies:
            with self.client(role) as client:
                self._cookies[role] = client.cookies[self.policy.cookie]
        # as the site itself sets it
        made = {"name": self.policy.cookie, "value": self._cookies[role], "url": self.url}
        context.add_cookies([{**made, "httpOnly": True, "sameSite": "Strict"}])  # type: ignore[typeddict-item]


class Client(httpx.Client):
    """A browser without scripts: it keeps cookies, says where it comes from, and fills in the token of forms."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(base_url=url, headers={"origin": url, "sec-fetch-site": "same-origin"}, timeout=30, **options)

    def token(self, page: str = "/sign-in") -> str:
        """The token in the forms of a page."""
        text = self.get(page, follow_redirects=True).text
        return text.split('name="csrf" value="')[1].split('"')[0]

    def submit(self, path: str, *, at: str = "/queue", **fields: Any) -> httpx.Response:
        """POST a form as the page `at` has it."""
        return self.post(path, data={"csrf": self.token(at), **fields}, headers={"referer": f"{self.base_url}{at}"})

    def sign_in(self, name: str, password: str) -> httpx.Response:
        """Sign in; the answer."""
        answer = self.post("/sign-in", data={"csrf": self.token(), "name": name, "password": password})
        assert answer.status_code in (303, 401, 429), answer.text
        return answer


@contextmanager
def serving(node: Node, **policy: Any) -> Iterator[Site]:
    """The pages of a node; the keys are those of WebPolicy."""
    decided = WebPolicy(passwords=QUICK, **policy)
    server = Server(made_of(node, decided), decided)
    server.start()
    try:
        yield Site(node, decided, server.url)
    finally:
        server.stop()


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    expect.set_options(timeout=LONG_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def open_pages(home: Path, migrated: Path, **settings: Any) -> Node:
    """A node for its pages alone, in a home of its own: neither peers nor networks."""
    home.mkdir(mode=0o700)
    shutil.copyfile(migrated, home / "planimeter.db")
    return open_node(load(None, {"node": {"home": home}, "receive": {"quiet_seconds": 0, "reserve_gb": 0}, **settings}))


def hostile_series() -> list[Dataset]:
    """A small series whose every text attribute is an attack on whoever shows it."""
    images = small_series()
    for ds in images:
        for keyword in ("PatientName", "StudyDescription", "SeriesDescription", "InstitutionName", "PatientComments"):
            setattr(ds, keyword, HOSTILE)
        ds.PatientID, ds.AccessionNumber, ds.StationName = HOSTILE_SHORT + "p", HOSTILE_SHORT + "a", HOSTILE_SHORT + "s"
        ds.Manufacturer = ds.ManufacturerModelName = ds.ProtocolName = HOSTILE
    return images
