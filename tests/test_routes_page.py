"""The page of routes: a mistake is shown in its line, a text is tried before it is live, and there is a way back."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from db import config_versions
from db.accounts import Role
from db.job_states import JobKind
from node.app import Node
from tests import pages
from tests.driving import take_in, work_off
from tests.pages import HOSTILE, hostile_series, serving
from tests.sites import PEERS, Site, route
from tests.synthetic import small_series

STUDY = "1.2.826.5"
#: of the text that is applied: what is wrong stands in the last line
WRONG = PEERS.strip() + "\n" + route(netwroks='["ct_lungs"]').strip() + "\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[pages.Site]:
    """One node for all tests of this file; each that applies something rolls it back or begins with what is live."""
    made = Site(tmp_path_factory.mktemp("site"), migrated)
    condition = '[{ keyword = "SeriesDescription", matches = "chest" }]'
    made.write(route(when=condition))
    with made.started() as node:
        take_in(node, small_series(study_uid=STUDY))
        take_in(node, hostile_series())
        work_off(node, JobKind.CHOOSE)
        with serving(node) as served:
            yield served


@pytest.fixture
def page(site: pages.Site, browser: Browser) -> Iterator[Page]:
    opened = site.page(browser, Role.ADMIN)
    opened.goto("/routes")
    yield opened
    opened.close()


def live(node: Node) -> tuple[int, str, str]:
    with node.database.read() as tx:
        row = config_versions.live(tx)
    assert row is not None
    return row["id"], row["who"], row["text"]


def write(page: Page, text: str) -> None:
    page.get_by_label("Peers, routes, and what else").fill(text)


def test_a_mistake_is_shown_in_its_line_and_the_text_stays(site: pages.Site, page: Page) -> None:
    before = live(site.node)
    write(page, WRONG)
    page.get_by_role("button", name="Apply it now").click()
    number = WRONG.splitlines().index('netwroks = ["ct_lungs"]') + 1
    assert f"Line {number}: route.0.netwroks: there is no such key; did you mean `networks`?" in page.inner_text(
        ".fault"
    )
    assert page.locator("li.wrong").inner_text().strip() == 'netwroks = ["ct_lungs"]'
    assert page.get_by_label("Peers, routes").input_value().strip() == WRONG.strip()
    assert live(site.node) == before


def test_a_text_is_tried_on_the_last_days_applied_and_taken_back(site: pages.Site, page: Page) -> None:
    first = live(site.node)[0]
    text = PEERS + route(destinations='["viewer"]', objects='["SC"]')
    write(page, text)
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("main")).to_contain_text("2 of 2 studies of the last 7 days would change", use_inner_text=True)
    changed = page.get_by_role("region", name="Studies that would change").inner_text()
    assert STUDY in changed
    assert "ct_lungs to viewer (SC)" in changed
    assert live(site.node)[0] == first, "a trial changes nothing"
    page.get_by_label("Why").fill("the viewer shows pictures")
    page.get_by_role("button", name="Apply it now").click()
    expect(page.locator(".flash")).to_contain_text(f"Version {first + 1} is live", use_inner_text=True)
    assert live(site.node)[1] == site.account(Role.ADMIN)
    assert site.node.fresh().routes[0].destinations == ("viewer",)
    page.get_by_role("link", name=f"Look at version {first}").click()
    expect(page.get_by_role("region", name="Difference")).to_contain_text(
        '+destinations = ["pacs"]', use_inner_text=True
    )
    page.get_by_role("button", name=f"Roll back to version {first}").click()
    expect(page.locator(".flash")).to_contain_text(
        f"Version {first + 2} is live, with the text of version {first}", use_inner_text=True
    )
    assert site.node.fresh().routes[0].destinations == ("pacs",)


def test_a_text_is_tried_on_a_study_and_on_files(site: pages.Site, page: Page) -> None:
    page.get_by_label("or on a study that is here").fill(STUDY)
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("main")).to_contain_text("SeriesDescription matches 'chest'", use_inner_text=True)
    expect(page.locator("main")).to_contain_text("Synthetic chest × 8", use_inner_text=True)
    expect(page.get_by_role("rowheader", name="ct_lungs")).to_have_count(1)
    files = [
        {"name": f"{number}.dcm", "mimeType": "application/dicom", "buffer": _bytes(ds)}
        for number, ds in enumerate(small_series(study_uid="1.2.826.6", description="Head"))
    ]
    page.get_by_label("or on a study that is here").fill("")
    page.get_by_label("or on files").set_input_files(files)  # type: ignore[arg-type]
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("main")).to_contain_text("1.2.826.6", use_inner_text=True)
    expect(page.locator("main")).to_contain_text("no-route", use_inner_text=True)
    assert not list(site.node.archive.spool.iterdir()), "nothing of it is kept"


def _bytes(ds: Any) -> bytes:
    data = BytesIO()
    ds.save_as(data, enforce_file_format=True)
    return data.getvalue()


def test_what_images_say_is_shown_as_text(site: pages.Site, page: Page) -> None:
    condition = '[{ keyword = "SeriesDescription", matches = "script" }]'
    write(page, PEERS + route("r", when=condition))
    (hostile,) = [uid for uid in _studies(site.node) if uid != STUDY]
    page.get_by_label("or on a study that is here").fill(hostile)
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("main")).to_contain_text(HOSTILE, use_inner_text=True)
    assert page.title().startswith("Routes")


def _studies(node: Node) -> list[str]:
    from node.operations.status import overview

    return [one["study_uid"] for one in overview(node.database)["studies"]]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "[[route"}, "Line 1</a>: not valid TOML"),
        ({"text": "[work]\nworkers = 3\n"}, "what is taken here is [[peer]], [[route]], [[recipient]]"),
        ({"text": PEERS + route(networks='["<script>x"]')}, "route.0.networks.0"),
        ({"text": "", "days": "1000"}, "days has to be 1 to 92"),
        ({"text": "", "days": "7", "study_uid": "<script>"}, "there is no study &lt;script&gt;"),
    ],
)
def test_bad_input_gets_a_sentence(site: pages.Site, fields: dict[str, str], said: str) -> None:
    with site.client(Role.OPERATOR) as client:
        answer = client.submit("/routes/try", at="/routes", **fields)
        while answer.status_code == 303:
            answer = client.get(answer.headers["location"])
    assert said in answer.text
    assert "<script>x" not in answer.text


def test_of_two_administrators_the_slower_one_is_told(site: pages.Site) -> None:
    text = PEERS + route(destinations="[]")
    with site.client(Role.ADMIN) as client:
        answer = client.submit("/routes/apply", at="/routes", text=text, after="999")
    assert "somebody else changed the configuration meanwhile" in answer.text
    assert "destinations = []" in answer.text, "what was written is not lost"


def test_operators_try_and_administrators_decide(site: pages.Site) -> None:
    version, _, text = live(site.node)
    with site.client(Role.OPERATOR) as client:
        assert "Apply it now" not in client.get("/routes").text
        for path, fields in (
            ("/routes/apply", {"text": text, "after": str(version)}),
            ("/routes/rollback", {"version": "1"}),
        ):
            assert client.submit(path, at="/routes", **fields).status_code == 403
    with site.client(Role.VIEWER) as client:
        shown = client.get("/routes").text
        assert "readonly" in shown
        assert "Try it" not in shown
        assert client.submit("/routes/try", at="/routes", text=text, days="7").status_code == 403
    assert live(site.node)[0] == version
